/**
 * The Llama there and back: windows of text in, their loss out, and the gradients of all weights.
 *
 * It is the same model as `../llama/model.ts`, which continues texts and remembers them in caches;
 * this one reads whole windows and remembers what its gradients need.
 *
 * @module
 */

import type { LlamaConfig } from "../llama/config.ts";
import type { LayerWeights, LlamaWeights } from "../llama/weights.ts";
import type { Attention } from "./attention.ts";
import { crossEntropy } from "./cross_entropy.ts";
import { type Differentiable, type Learned, sum } from "./differentiable.ts";
import { embed, rmsNorm, swiglu } from "./layers.ts";
import { linear } from "./linear.ts";
import type { Parameters } from "./parameters.ts";
import { Rotary } from "./rotary.ts";
import type { Windows } from "./windows.ts";

/** A block of the residual stream; its attention is worth waiting for. */
interface Block {
  readonly out: Float32Array;
  backward(dOut: Float32Array): Promise<Float32Array>;
}

/** How badly windows were predicted. */
export interface WindowsLoss {
  /** Mean loss of their tokens, in nats. */
  readonly loss: number;
  /** Adds the gradients of the loss to those that are there. Once. */
  backward(): Promise<void>;
}

/** A Llama with its weights and the gradients with respect to them. */
export class TrainableLlama {
  /** The model's sizes. */
  readonly config: LlamaConfig;
  readonly #weight: LlamaWeights;
  readonly #gradient: LlamaWeights;
  readonly #attention: Pick<Attention, "attend">;
  readonly #rotary: Rotary;

  /**
   * @param config The model's sizes.
   * @param parameters Its weights, and where the gradients with respect to them are added up.
   * @param attention Does its attention.
   */
  constructor(
    config: LlamaConfig,
    { weight, gradient }: Learned<Parameters>,
    attention: Pick<Attention, "attend">,
  ) {
    this.config = config;
    this.#weight = weight.weights;
    this.#gradient = gradient.weights;
    this.#attention = attention;
    this.#rotary = new Rotary(config);
  }

  /**
   * Predicts every token of windows from those before it.
   *
   * @param windows Windows as long as the context.
   */
  async forward({ tokens, targets }: Windows): Promise<WindowsLoss> {
    const embedded = embed(tokens, this.#learned(({ embedding }) => embedding));
    const blocks: Block[] = [];
    let stream = embedded.out;
    for (const layer of this.#weight.layers.keys()) {
      for (const block of [this.#attentionBlock, this.#swigluBlock]) {
        const made = await block.call(this, stream, this.#layer(layer));
        stream = made.out;
        blocks.push(made);
      }
    }
    const head = this.#head(stream);
    const { loss, dLogits } = crossEntropy(head.out, targets);
    const backward = async (): Promise<void> => {
      let gradient = head.backward(dLogits);
      for (const block of blocks.reverse()) gradient = await block.backward(gradient);
      embedded.backward(gradient);
    };
    return { loss, backward };
  }

  async #attentionBlock(stream: Float32Array, layer: LearnedLayer): Promise<Block> {
    const { heads, kvHeads } = this.config;
    const normed = this.#norm(stream, layer("attentionNorm"));
    const rows = this.#rowsOf(stream);
    const query = linear(normed.out, rows, layer("query"));
    const key = linear(normed.out, rows, layer("key"));
    const value = linear(normed.out, rows, layer("value"));
    this.#rotary.turn(query.out, heads);
    this.#rotary.turn(key.out, kvHeads);
    const attended = await this.#attention.attend(query.out, key.out, value.out);
    const change = linear(attended.out, rows, layer("output"));
    const backward = async (dOut: Float32Array): Promise<Float32Array> => {
      const { dQueries, dKeys, dValues } = await attended.backward(change.backward(dOut));
      this.#rotary.turnBack(dQueries, heads);
      this.#rotary.turnBack(dKeys, kvHeads);
      const dNormed = sum(query.backward(dQueries), key.backward(dKeys), value.backward(dValues));
      return sum(dOut, normed.backward(dNormed));
    };
    return { out: sum(stream, change.out), backward };
  }

  #swigluBlock(stream: Float32Array, layer: LearnedLayer): Promise<Block> {
    const normed = this.#norm(stream, layer("mlpNorm"));
    const rows = this.#rowsOf(stream);
    const gate = linear(normed.out, rows, layer("gate"));
    const up = linear(normed.out, rows, layer("up"));
    const gated = swiglu(gate.out, up.out);
    const change = linear(gated.out, rows, layer("down"));
    const backward = (dOut: Float32Array): Promise<Float32Array> => {
      const { dGate, dUp } = gated.backward(change.backward(dOut));
      const dNormed = sum(gate.backward(dGate), up.backward(dUp));
      return Promise.resolve(sum(dOut, normed.backward(dNormed)));
    };
    return Promise.resolve({ out: sum(stream, change.out), backward });
  }

  /** The logits of all rows. */
  #head(stream: Float32Array): Differentiable {
    const normed = this.#norm(stream, this.#learned(({ norm }) => norm));
    const logits = linear(normed.out, this.#rowsOf(stream), this.#learned(({ head }) => head));
    return { out: logits.out, backward: (dOut) => normed.backward(logits.backward(dOut)) };
  }

  #norm(stream: Float32Array, gain: Learned<Float32Array>): Differentiable {
    return rmsNorm(stream, this.#rowsOf(stream), gain, this.config.normEpsilon);
  }

  #rowsOf(stream: Float32Array): number {
    return stream.length / this.config.hiddenSize;
  }

  #layer(index: number): LearnedLayer {
    return (name) => this.#learned(({ layers }) => layers[index][name]);
  }

  #learned<T>(choose: (weights: LlamaWeights) => T): Learned<T> {
    return { weight: choose(this.#weight), gradient: choose(this.#gradient) };
  }
}

/** Gives a weight of a layer by its name, with the gradient with respect to it. */
type LearnedLayer = <Name extends keyof LayerWeights>(name: Name) => Learned<LayerWeights[Name]>;
