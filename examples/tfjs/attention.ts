/**
 * FlashTile's attention as an operation of TensorFlow.js, with its gradient.
 *
 * @module
 */

import type { AttentionOptions, Engine, Tensor } from "@flashtile/attention";
import type * as tfjs from "@tensorflow/tfjs";

/** TensorFlow.js itself: the caller's own, of which there may be only one. */
export type TensorFlow = typeof tfjs;

/** Options of `attention()`, without those that `tf.customGrad` would give no gradient for. */
export type FlashAttentionOptions = Omit<
  AttentionOptions,
  "bias" | "sinks" | "lse" | "out" | "encoder"
>;

/**
 * Scaled dot-product attention, which `tf.grad` and optimizers can differentiate.
 *
 * Tensors are read by `dataSync()`, since gradient functions of TensorFlow.js cannot wait. There is no
 * second derivative: gradients are numbers to the tape.
 *
 * @param engine On Wasm, after `await engine.warmup({ gradients: true })`.
 * @param q Queries, float32 `[B, Hq, Nq, D]`.
 * @param k Keys, float32 `[B, Hkv, Nk, D]`.
 * @param v Values, float32 `[B, Hkv, Nk, Dv]`.
 * @returns `[B, Hq, Nq, Dv]`.
 * @throws {TypeError} When a tensor is not float32.
 */
export function flashAttention(
  tf: TensorFlow,
  engine: Engine,
  q: tfjs.Tensor,
  k: tfjs.Tensor,
  v: tfjs.Tensor,
  options: FlashAttentionOptions = {},
): tfjs.Tensor {
  checkFloats({ q, k, v });
  const attend = tf.customGrad((...inputs) => {
    // The types say less than the documentation: the last argument is what saves.
    const [q, k, v, save] = inputs as [tfjs.Tensor, tfjs.Tensor, tfjs.Tensor, tfjs.GradSaveFunc];
    const { out, lse } = engine.attentionSync(read(q), read(k), read(v), { ...options, lse: true });
    const value = write(tf, out);
    // Kept until the gradient is asked for, and not at all where nobody can ask.
    save([q, k, v, value, write(tf, lse)]);
    return { value, gradFunc: (dOut, saved) => gradients(tf, engine, dOut, saved, options) };
  });
  return attend(q, k, v);
}

/** Gradients with respect to q, k and v, from that with respect to the result and from what was saved. */
function gradients(
  tf: TensorFlow,
  engine: Engine,
  dOut: tfjs.Tensor,
  saved: tfjs.Tensor[],
  options: FlashAttentionOptions,
): tfjs.Tensor[] {
  const [q, k, v, out, lse] = saved.map(read);
  const passed = { ...options, out, lse };
  const { dq, dk, dv } = engine.attentionBackwardSync(read(dOut), q, k, v, passed);
  return [dq, dk, dv].map((gradient) => write(tf, gradient));
}

function checkFloats(tensors: Readonly<Record<string, tfjs.Tensor>>): void {
  for (const [name, { dtype }] of Object.entries(tensors)) {
    if (dtype === "float32") continue;
    throw new TypeError(
      `Cannot attend: \`${name}\` must be float32, got ${dtype}; use tf.cast(${name}, "float32")`,
    );
  }
}

function read(tensor: tfjs.Tensor): Tensor {
  return { data: tensor.dataSync<"float32">(), shape: tensor.shape };
}

function write(tf: TensorFlow, { data, shape }: Tensor): tfjs.Tensor {
  return tf.tensor(data, [...shape], "float32");
}
