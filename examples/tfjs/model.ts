/**
 * One layer of attention that learns to copy: random letters, then the same letters again. To tell a
 * letter of the second half, a head must look back by the length of the first.
 *
 * @module
 */

import type * as tfjs from "@tensorflow/tfjs";
import type { TensorFlow } from "./attention.ts";

/** Sizes of the task and of the model. */
export const sizes = {
  /** Letters that there are. */
  letters: 8,
  /** Letters that are copied. */
  length: 12,
  /** Sequences of a step. */
  batch: 16,
  heads: 2,
  headDim: 16,
} as const;

/** Causal attention, `[B, H, N, D]`. */
export type Attention = (q: tfjs.Tensor, k: tfjs.Tensor, v: tfjs.Tensor) => tfjs.Tensor;

const { letters, length, batch, heads, headDim } = sizes;
const width = heads * headDim, context = 2 * length - 1;

/** The model: weights, and what they compute. */
export class CopyModel {
  readonly #tf: TensorFlow;
  readonly #attention: Attention;
  /** What is learned. */
  readonly weights: { readonly [Name in keyof ReturnType<typeof shapes>]: tfjs.Variable };

  /** The same seed gives the same weights. */
  constructor(tf: TensorFlow, attention: Attention, seed: number) {
    this.#tf = tf;
    this.#attention = attention;
    const made = Object.entries(shapes()).map(([name, { shape, spread }], at) => {
      const values = tf.randomNormal(shape, 0, spread, "float32", seed + at);
      return [name, tf.variable(values)] as const;
    });
    this.weights = Object.fromEntries(made) as CopyModel["weights"];
  }

  /** Scores `[B, length, letters]` of the letters of the second half, from `[B, length]` letters. */
  predict(copied: tfjs.Tensor): tfjs.Tensor {
    const tf = this.#tf, { letter, position, query, key, value, output, guess } = this.weights;
    const all = tf.slice(tf.concat([copied, copied], 1), [0, 0], [-1, context]);
    const seen = this.#product(tf.oneHot(tf.cast(all, "int32"), letters), letter);
    const x = tf.add(seen, position);
    const [q, k, v] = [query, key, value].map((weight) => this.#heads(this.#product(x, weight)));
    const attended = tf.transpose(this.#attention(q, k, v), [0, 2, 1, 3]);
    const rows = tf.reshape(attended, [-1, context, width]);
    const y = tf.add(x, this.#product(rows, output));
    return this.#product(tf.slice(y, [0, length - 1, 0]), guess);
  }

  /** Frees the weights. */
  dispose(): void {
    this.#tf.dispose(this.weights);
  }

  /** Rows times a matrix. */
  #product(rows: tfjs.Tensor, matrix: tfjs.Tensor): tfjs.Tensor {
    const tf = this.#tf, [inner, columns] = matrix.shape;
    const flat = tf.reshape(tf.cast(rows, "float32"), [-1, inner]);
    return tf.reshape(tf.matMul(flat, matrix), [...rows.shape.slice(0, -1), columns]);
  }

  /** `[B, N, H * D]` as `[B, H, N, D]`. */
  #heads(rows: tfjs.Tensor): tfjs.Tensor {
    const tf = this.#tf, [batch, count] = rows.shape;
    return tf.transpose(tf.reshape(rows, [batch, count, heads, headDim]), [0, 2, 1, 3]);
  }
}

/** Shapes of the weights, and how widely they are spread at first. */
function shapes() {
  const spread = 1 / Math.sqrt(width), square = [width, width];
  return {
    letter: { shape: [letters, width], spread: 1 },
    position: { shape: [context, width], spread: 1 },
    query: { shape: square, spread },
    key: { shape: square, spread },
    value: { shape: square, spread },
    output: { shape: square, spread },
    guess: { shape: [width, letters], spread },
  };
}

/** Random letters, `[batch, length]`. */
export function randomLetters(tf: TensorFlow, seed: number): tfjs.Tensor {
  return tf.randomUniform([batch, length], 0, letters, "int32", seed);
}

/** Trains a model, step after step; gives the losses. Draws other letters at each step. */
export function* training(
  tf: TensorFlow,
  model: CopyModel,
  { steps, seed }: { readonly steps: number; readonly seed: number },
): Generator<number> {
  const optimizer = tf.train.adam(0.01);
  try {
    for (let step = 0; step < steps; step++) {
      yield tf.tidy(() => {
        const copied = randomLetters(tf, seed + step), labels = tf.oneHot(copied, letters);
        const loss = (): tfjs.Scalar =>
          tf.losses.softmaxCrossEntropy(labels, model.predict(copied)).asScalar();
        const cost = optimizer.minimize(loss, true, Object.values(model.weights));
        return cost!.dataSync()[0];
      });
    }
  } finally {
    optimizer.dispose();
  }
}

/** The part of letters that a model tells rightly, of some that it has not seen. */
export function accuracy(tf: TensorFlow, model: CopyModel, seed: number): number {
  return tf.tidy(() => {
    const copied = randomLetters(tf, seed);
    const right = tf.equal(tf.argMax(model.predict(copied), -1), copied);
    return tf.mean(tf.cast(right, "float32")).dataSync()[0];
  });
}
