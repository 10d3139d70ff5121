/**
 * Training: step after step, windows of the text are predicted and the weights changed.
 *
 * @module
 */

import type { Engine } from "@flashtile/attention";
import { loadDecoder } from "@flashtile/attention/models";
import { formatConfig, type LlamaConfig } from "./config.ts";
import { InputError } from "../llama/error.ts";
import { losses, mean } from "../llama/loss.ts";
import { createRandom } from "../llama/random.ts";
import { AdamW, clip, type Moments } from "./adamw.ts";
import { Attention } from "./attention.ts";
import { initialize } from "./initial.ts";
import { TrainableLlama } from "./model.ts";
import { createParameters, type Parameters } from "./parameters.ts";
import { rateAt, type Schedule } from "./schedule.ts";
import { formatSafetensors } from "./safetensors_writer.ts";
import { drawWindows } from "./windows.ts";

/** How a training goes. */
export interface TrainOptions extends Schedule {
  /** Windows of a step. */
  readonly batch: number;
  /** Start of the random numbers: the same seed gives the same weights. */
  readonly seed: number;
}

/** What a step has shown. */
export interface Step {
  /** Number of the step, from 1. */
  readonly step: number;
  /** Mean loss of its windows before the weights were changed, in nats per byte. */
  readonly loss: number;
  /** Mean loss on the text that was held out, after it; of every 50th step and of the last. */
  readonly heldOut?: number;
}

/** Where a training stands: with the same text and options, all that it goes on from. */
export interface Standing {
  /** The weights, in their order. */
  readonly weights: Float32Array;
  /** What the optimizer remembers. */
  readonly moments: Moments;
}

/** Steps between two looks at the text that was held out. */
export const LOOK = 50;

/** Windows of the text's end that are held out. */
const HELD_OUT = 32;

/** Longest gradient of all weights together: an odd window does not throw the model off. */
const LONGEST_GRADIENT = 1;

/** A model in training. */
export class Training {
  /** The model's sizes. */
  readonly config: LlamaConfig;
  /** The weights. */
  readonly parameters: Parameters;
  readonly #text: Uint8Array;
  readonly #heldOut: Uint8Array;
  readonly #attention: Attention;
  readonly #options: TrainOptions;
  readonly #engine: Engine;
  #optimizer?: AdamW;

  /**
   * @param config The model's sizes.
   * @param text What to learn; its end is held out.
   * @param engine Does the attention; the caller closes it.
   * @param options How it goes.
   * @throws {InputError} When the text is too short.
   */
  constructor(config: LlamaConfig, text: Uint8Array, engine: Engine, options: TrainOptions) {
    const heldOut = HELD_OUT * config.context + 1;
    const least = heldOut + config.context + 1;
    if (text.length < least) {
      throw new InputError(
        `The text has ${text.length} bytes, but ${least} are needed, ${heldOut} of them to test ` +
          "on: name a longer one by --text, or a smaller max_position_embeddings by --config",
      );
    }
    this.config = config;
    this.parameters = createParameters(config);
    this.#text = text.subarray(0, text.length - heldOut);
    this.#heldOut = text.subarray(text.length - heldOut);
    this.#attention = new Attention(config, engine);
    this.#engine = engine;
    this.#options = options;
  }

  /** Time spent in the library for the steps, in milliseconds. */
  get attentionMs(): number {
    return this.#attention.ms;
  }

  /** Where it stands after a step: arrays that the next one changes. */
  get standing(): Standing {
    if (this.#optimizer === undefined) throw new Error("No step has been taken");
    return { weights: this.parameters.all, moments: this.#optimizer.moments };
  }

  /**
   * Trains. The weights are drawn first, so that it can be done again.
   *
   * @param from Where it stood, of the same text and options: what follows has the same bits as if it
   * had never been stopped.
   * @throws {InputError} When the weights have grown out of all bounds.
   */
  async *steps(from?: Standing): AsyncGenerator<Step> {
    const { config, parameters } = this, { steps, batch, seed } = this.#options;
    const random = createRandom(seed);
    const draw = () => drawWindows(this.#text, batch, config.context, random);
    initialize(parameters, config, random);
    const learned = { weight: parameters, gradient: createParameters(config) };
    const model = new TrainableLlama(config, learned, this.#attention, this.#engine);
    const optimizer = this.#optimizer = new AdamW(learned, from?.moments);
    if (from) parameters.all.set(from.weights);
    const done = from?.moments.steps ?? 0;
    // Random numbers are drawn as before, so that the next ones are the next ones.
    for (let step = 1; step <= done; step++) draw();
    for (let step = done + 1; step <= steps; step++) {
      const windows = draw();
      const { loss, backward } = await model.forward(windows);
      requireFinite(loss, step);
      await backward();
      clip(learned.gradient.all, LONGEST_GRADIENT);
      optimizer.step(rateAt(step - 1, this.#options));
      const look = step % LOOK === 0 || step === steps;
      yield { step, loss, ...(look && { heldOut: await this.#test() }) };
    }
  }

  /** The model that continues texts, with these weights, reads what was held out. */
  async #test(): Promise<number> {
    const weights = formatSafetensors(this.parameters.tensors), engine = this.#engine;
    using decoder = await loadDecoder({ config: formatConfig(this.config), weights }, { engine });
    return mean(await losses(decoder, this.#heldOut));
  }
}

function requireFinite(loss: number, step: number): void {
  if (Number.isFinite(loss)) return;
  throw new InputError(`The loss is ${loss} at step ${step}: choose a smaller --rate`);
}
