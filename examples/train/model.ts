/**
 * The Llama there and back: windows of text in, their loss out, and the gradients of all weights.
 *
 * It is the same model as `loadDecoder()` makes, which continues texts and remembers them in caches;
 * this one reads whole windows and remembers what its gradients need.
 *
 * @module
 */

import type { LlamaConfig } from "./config.ts";
import type { LayerWeights, LlamaWeights } from "./weights.ts";
import type { Engine } from "@flashtile/attention";
import type { Attention } from "./attention.ts";
import { crossEntropy } from "./cross_entropy.ts";
import { type Differentiable, type Learned, sum } from "./differentiable.ts";
import { Layers } from "./layers.ts";
import type { Parameters } from "./parameters.ts";
import { Rotary } from "./rotary.ts";
import type { Windows } from "./windows.ts";

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
  readonly #layers: Layers;
  readonly #rotary: Rotary;

  /**
   * @param config The model's sizes.
   * @param parameters Its weights, and where the gradients with respect to them are added up.
   * @param attention Does its attention.
   * @param engine Does all else; the caller closes it.
   */
  constructor(
    config: LlamaConfig,
    { weight, gradient }: Learned<Parameters>,
    attention: Pick<Attention, "attend">,
    engine: Engine,
  ) {
    this.config = config;
    this.#weight = weight.weights;
    this.#gradient = gradient.weights;
    this.#attention = attention;
    this.#layers = new Layers(engine);
    this.#rotary = new Rotary(config);
  }

  /**
   * Predicts every token of windows from those before it.
   *
   * @param windows Windows as long as the context.
   */
  async forward({ tokens, targets }: Windows): Promise<WindowsLoss> {
    const embedded = await this.#layers.embed(tokens, this.#learned(({ embedding }) => embedding));
    const blocks: Differentiable[] = [];
    let stream = embedded.out;
    for (const layer of this.#weight.layers.keys()) {
      for (const block of [this.#attentionBlock, this.#swigluBlock]) {
        const made = await block.call(this, stream, this.#layer(layer));
        stream = made.out;
        blocks.push(made);
      }
    }
    const head = await this.#head(stream);
    const { loss, dLogits } = crossEntropy(head.out, targets);
    const backward = async (): Promise<void> => {
      let gradient = await head.backward(dLogits);
      for (const block of blocks.reverse()) gradient = await block.backward(gradient);
      await embedded.backward(gradient);
    };
    return { loss, backward };
  }

  async #attentionBlock(stream: Float32Array, layer: LearnedLayer): Promise<Differentiable> {
    const { heads, kvHeads } = this.config, layers = this.#layers;
    const normed = await this.#norm(stream, layer("attentionNorm"));
    const query = await layers.linear(normed.out, layer("query"));
    const key = await layers.linear(normed.out, layer("key"));
    const value = await layers.linear(normed.out, layer("value"));
    this.#rotary.turn(query.out, heads);
    this.#rotary.turn(key.out, kvHeads);
    const attended = await this.#attention.attend(query.out, key.out, value.out);
    const change = await layers.linear(attended.out, layer("output"), stream);
    const backward = async (dOut: Float32Array): Promise<Float32Array> => {
      const { dQueries, dKeys, dValues } = await attended.backward(await change.backward(dOut));
      this.#rotary.turnBack(dQueries, heads);
      this.#rotary.turnBack(dKeys, kvHeads);
      const byQueries = await query.backward(dQueries), byKeys = await key.backward(dKeys);
      const dNormed = sum(byQueries, byKeys, await value.backward(dValues));
      return sum(dOut, await normed.backward(dNormed));
    };
    return { out: change.out, backward };
  }

  async #swigluBlock(stream: Float32Array, layer: LearnedLayer): Promise<Differentiable> {
    const layers = this.#layers, normed = await this.#norm(stream, layer("mlpNorm"));
    const gate = await layers.linear(normed.out, layer("gate"));
    const up = await layers.linear(normed.out, layer("up"));
    const gated = await layers.swiglu(gate.out, up.out);
    const change = await layers.linear(gated.out, layer("down"), stream);
    const backward = async (dOut: Float32Array): Promise<Float32Array> => {
      const { dGate, dUp } = await gated.backward(await change.backward(dOut));
      const dNormed = sum(await gate.backward(dGate), await up.backward(dUp));
      return sum(dOut, await normed.backward(dNormed));
    };
    return { out: change.out, backward };
  }

  /** The logits of all rows. */
  async #head(stream: Float32Array): Promise<Differentiable> {
    const normed = await this.#norm(stream, this.#learned(({ norm }) => norm));
    const logits = await this.#layers.linear(normed.out, this.#learned(({ head }) => head));
    const backward = async (dOut: Float32Array): Promise<Float32Array> =>
      await normed.backward(await logits.backward(dOut));
    return { out: logits.out, backward };
  }

  async #norm(stream: Float32Array, gain: Learned<Float32Array>): Promise<Differentiable> {
    return await this.#layers.rmsNorm(stream, gain, this.config.normEpsilon);
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
