/**
 * Loading a model: what it is asked, what is refused before anything is allocated, and its memory.
 *
 * @module
 */

import { BackendUnavailableError, type SignalLike } from "../check/errors.ts";
import type { Backend } from "../contract/backend.ts";
import { checkOneOf, isWhole, kindOf, readOptions } from "../check/words.ts";
import { createEngine, type Engine } from "../engine/engine.ts";
import { machineryFor } from "../functions/default_engine.ts";
import {
  type LinearDType,
  linearDTypes,
  type LinearPrecision,
  linearPrecisions,
} from "../operations/nn/options.ts";
import type { ModelPlan } from "./architectures/model.ts";
import { type OpenedWeights, openWeights, type WeightsGiven } from "./files/open.ts";
import { readModel } from "./architectures/read.ts";
import type { Running } from "./forward/forward.ts";
import { type Calls, callsOn } from "./forward/calls.ts";
import { type Steps, Turns } from "./forward/steps.ts";
import { type Loading, type LoadProgress, readWeights } from "./forward/weights.ts";
import { Workspace } from "./forward/workspace.ts";
import type { TokenizerLike } from "./tokens/tokenizer.ts";

/** What a model is read from. */
export interface ModelSource {
  /** The parsed `config.json`; GGUF and llama2.c files have their own. */
  readonly config?: object | undefined;
  /**
   * The weights: a file's bytes, a `Blob`, a function that reads a range, or shards as `{ index, files }`. Bytes are used
   * where they are, also later, and must stay as they are.
   */
  readonly weights: WeightsGiven;
  /** Turns texts into ids and back; texts may also be given as ids, which need none. A GGUF file may have its own. */
  readonly tokenizer?: TokenizerLike | undefined;
  /** What the weights are; needed for `"llama2.c"` alone. */
  readonly format?: "safetensors" | "gguf" | "llama2.c" | undefined;
}

/** Its fields. */
export const sourceNames = [
  "config",
  "weights",
  "tokenizer",
  "format",
] as const satisfies readonly (keyof ModelSource)[];

/** Options of `loadDecoder()`, and of `loadEncoder()` the first. */
export interface LoadOptions {
  /** Where it runs, with its weights: by default on an engine of its own on the CPU, which is closed with it. */
  readonly engine?: Engine | Engine<GPUBuffer> | undefined;
  /**
   * How linear layers are stored; by default as in the file, of GGUF's blocks as `"int8"`, or as `precision` needs
   * them.
   */
  readonly dtype?: LinearDType | undefined;
  /**
   * How products of linear layers are formed: `"f32"`, the default; on the CPU `"int16"`, as right for every purpose and
   * faster, or `"int8"`.
   */
  readonly precision?: LinearPrecision | undefined;
  /** Tokens of a text, or of a prompt and its continuation, at most; by default as many as the model has positions. */
  readonly maxTokens?: number | undefined;
  /** Told of each tensor that is in place. */
  readonly onProgress?: ((progress: LoadProgress) => void) | undefined;
  /** Ends the loading, which then rejects with `signal.reason`; nothing is kept. */
  readonly signal?: SignalLike | null | undefined;
}

/** Their names. */
export const loadNames = [
  "engine",
  "dtype",
  "precision",
  "maxTokens",
  "onProgress",
  "signal",
] as const satisfies readonly (keyof LoadOptions)[];

/** What a model says of itself. */
export interface LoadedModel extends Disposable {
  /** What its config calls its architecture. */
  readonly architecture: string;
  /** Tokens of a text at most. */
  readonly maxTokens: number;
  /** Numbers of a token's state. */
  readonly width: number;
  /** Tokens that there are. */
  readonly vocabulary: number;
  /** Gives all memory back, and ends what runs; it cannot be used from now on. */
  free(): void;
}

/** How weights are kept, where that goes with how they are multiplied. */
function checkKeeping(
  dtype: LinearDType | undefined,
  precision: LinearPrecision,
  doing: string,
): void {
  checkOneOf("dtype", dtype, linearDTypes, doing);
  checkOneOf("precision", precision, linearPrecisions, doing);
  const fits = dtype === undefined || precision === "f32" || dtype === "int8" ||
    (precision === "int16" && dtype === "int16");
  if (fits) return;
  const needed = precision === "int16" ? '"int16" or "int8"' : '"int8"';
  throw new RangeError(
    `${doing}: \`precision: "${precision}"\` needs \`dtype\` ${needed}, or none, got "${dtype}"`,
  );
}

/** Integers of linear layers are for the CPU, but for bytes that are widened. */
function checkOffered(
  { name }: Backend,
  dtype: LinearDType | undefined,
  precision: LinearPrecision,
): void {
  if (name === "wasm" || (dtype !== "int16" && precision === "f32")) return;
  const asked = precision === "f32" ? 'dtype: "int16"' : `precision: "${precision}"`;
  throw new BackendUnavailableError(
    name,
    `it runs no models with \`${asked}\`; leave that out, or make the engine with { backend: "wasm" }`,
  );
}

/** Reads options that encoders and decoders have. */
export function readLoading<Options extends LoadOptions>(
  given: Options,
  names: readonly (keyof Options & string)[],
  doing: string,
): Options & { readonly precision: LinearPrecision } {
  const options = readOptions(given, names, doing), { engine, maxTokens, onProgress } = options;
  const { dtype, precision = "f32" } = options;
  checkKeeping(dtype, precision, doing);
  if (maxTokens !== undefined && !(isWhole(maxTokens) && maxTokens >= 1)) {
    throw new RangeError(
      `${doing}: \`maxTokens\` must be a whole number of at least 1, got ${kindOf(maxTokens)}`,
    );
  }
  if (onProgress !== undefined && typeof onProgress !== "function") {
    throw new TypeError(`${doing}: \`onProgress\` must be a function, got ${kindOf(onProgress)}`);
  }
  const machinery = machineryFor(engine, doing);
  if (machinery !== undefined) checkOffered(machinery.own, dtype, precision);
  return { ...options, precision };
}

/** Reads what a model is read from. */
export function readSource<Source extends ModelSource>(
  given: Source,
  names: readonly (keyof Source & string)[],
  doing: string,
): Source {
  const source = readOptions(given, names, doing), { tokenizer } = source;
  if (tokenizer !== undefined && typeof Object(tokenizer).encode !== "function") {
    throw new TypeError(
      `${doing}: \`tokenizer\` must have \`encode(text)\` and \`decode(ids)\`, got ${
        kindOf(tokenizer)
      }`,
    );
  }
  return source;
}

/** A model as its files say it is. */
export interface OpenedModel {
  readonly file: OpenedWeights;
  readonly plan: ModelPlan;
  readonly maxTokens: number;
}

/** Opens a model: its head is read and checked, and no weight. */
export async function openModel(
  { config, weights, format }: ModelSource,
  { maxTokens }: LoadOptions,
  withoutHead: boolean,
  doing: string,
): Promise<OpenedModel> {
  const file = await openWeights(weights, format);
  const plan = await readModel(config, file, { withoutHead, length: maxTokens });
  if (maxTokens !== undefined && maxTokens > plan.maxTokens) {
    throw new RangeError(
      `${doing}: \`maxTokens\` must be at most ${plan.maxTokens}, the model's positions, got ${maxTokens}`,
    );
  }
  return { file, plan, maxTokens: maxTokens ?? plan.maxTokens };
}

/** A model in an engine's memory, and everything that is to be given back. */
export class Resident {
  readonly running: Running;
  readonly #turns: Turns;
  readonly #rest: Set<() => void>;
  #isFree = false;

  /** @param rest What is given back with it. */
  constructor(running: Running, rest: readonly (() => void)[]) {
    this.running = running;
    this.#rest = new Set([() => running.space.free(), ...rest]);
    this.#turns = new Turns(() => this.checkOpen());
  }

  /** Runs a pass, once those before have ended. */
  async run<Result>(
    pass: (calls: Calls) => Steps<Result>,
    signal: SignalLike | null | undefined,
  ): Promise<Result> {
    return await this.#turns.run(() => this.#steps(pass), signal);
  }

  *#steps<Result>(pass: (calls: Calls) => Steps<Result>): Steps<Result> {
    const calls = this.running.begin();
    try {
      const result = yield* pass(calls);
      yield calls.finish();
      return result;
    } finally {
      calls.end();
    }
  }

  /** Throws where it was freed, or its engine was closed. */
  checkOpen(doing = "Cannot run the model"): void {
    if (this.#isFree) throw new Error(`${doing}: it was freed`);
    this.running.backend.checkOpen();
  }

  /** Has something given back with the model. @returns What forgets it. */
  keep(free: () => void): () => void {
    this.#rest.add(free);
    return () => void this.#rest.delete(free);
  }

  free(): void {
    this.#isFree = true;
    const all = [...this.#rest];
    this.#rest.clear();
    for (const free of all) free();
  }
}

/** Brings a model's weights into an engine's memory. */
export async function loadModel(
  { file, plan, maxTokens }: OpenedModel,
  { engine: given, dtype, precision = "f32", onProgress, signal }: LoadOptions,
  doing: string,
): Promise<Resident> {
  const engine = (given ?? await createEngine({ backend: "wasm" })) as Engine;
  const close = given === undefined ? [() => void engine.close()] : [];
  let begin: (() => Calls) | undefined;
  try {
    const backend = machineryFor(engine, doing)!.own;
    begin = await callsOn(backend);
    const turns = plan.layers.some(({ rope }) => rope !== undefined);
    const rotations = turns ? (await import("./forward/rotations.ts")).Rotations : undefined;
    const loading: Loading = { engine, dtype, precision, onProgress, signal };
    const { weights, free } = await readWeights(plan, file, maxTokens, loading);
    const space = new Workspace(plan, engine);
    const running = { plan, weights, space, engine, backend, precision, rotations, begin };
    return new Resident(running, [free, ...close]);
  } catch (error) {
    for (const end of close) end();
    // What is said where a device was lost follows from that.
    if (given !== undefined) begin?.().end();
    throw error;
  }
}
