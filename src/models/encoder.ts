/**
 * Encoders: states of texts, and one vector for each.
 *
 * @module
 */

import { type SignalLike, throwIfAborted } from "../check/errors.ts";
import { checkOneOf, isWhole, kindOf, readOptions } from "../check/words.ts";
import type { AnyTensor, Tensor } from "../tensor/tensor.ts";
import type { EmbeddingPlan, Modules, Pooling } from "./architectures/modules.ts";
import type { Calls } from "./forward/calls.ts";
import { forward, type Heads } from "./forward/forward.ts";
import {
  attentionOf,
  type AttentionOfRows,
  linear,
  type LinearWeights,
  means,
  rowsOfTable,
} from "./forward/layers.ts";
import { RelativeBias } from "./forward/relative.ts";
import type { Steps } from "./forward/steps.ts";
import { type LayerWeights, WeightReader } from "./forward/weights.ts";
import { rowsOf } from "./forward/workspace.ts";
import {
  type LoadedModel,
  loadModel,
  loadNames,
  type LoadOptions,
  type ModelSource,
  openModel,
  readLoading,
  readSource,
  type Resident,
  sourceNames,
} from "./load.ts";
import { checkLength, encode, readIds, type Text } from "./texts.ts";
import type { TokenizerLike } from "./tokens/tokenizer.ts";

/** What an encoder is read from. */
export interface EncoderSource extends ModelSource {
  /**
   * What becomes of states, as sentence-transformers' `modules.json` says it: the parsed list, and by path what its entries
   * have. Where it is given, it decides on `pooling` and `normalize`.
   */
  readonly modules?: Modules | undefined;
}

/** Options of `loadEncoder()`. */
export interface LoadEncoderOptions extends LoadOptions {
  /** Whether texts that are too long are cut, the default; `false` refuses them. */
  readonly truncate?: boolean | undefined;
}

/** Options of `encoder.states()`. */
export interface StatesOptions {
  /** Tokens of a pass at most, unless one text has more; 1,024 by default. It changes no result. */
  readonly batchTokens?: number | undefined;
  /** Told how many texts were cut, if any were. */
  readonly onTruncate?: ((texts: number) => void) | undefined;
  /** Ends the call, which then rejects with `signal.reason`. */
  readonly signal?: SignalLike | null | undefined;
}

const statesNames = [
  "batchTokens",
  "onTruncate",
  "signal",
] as const satisfies readonly (keyof StatesOptions)[];

/** Options of `encoder.embed()`. */
export interface EmbedOptions extends StatesOptions {
  /**
   * How a text's states become one: their mean, the default; the first, `"cls"` (BGE); or the last (Qwen3-Embedding). With
   * `modules` these decide.
   */
  readonly pooling?: Pooling | undefined;
  /** Whether vectors are divided by their lengths; true by default. With `modules` these decide. */
  readonly normalize?: boolean | undefined;
}

const embedNames = [
  "pooling",
  "normalize",
  ...statesNames,
] as const satisfies readonly (keyof EmbedOptions)[];

/** A model of texts. Made by `loadEncoder()`. */
export interface Encoder extends LoadedModel {
  /** Numbers of a vector. */
  readonly dimensions: number;
  /**
   * Vectors of texts: the same bits for a text alone and among any others.
   *
   * @param texts Texts, or ids of their tokens.
   * @returns One of `dimensions` numbers for each.
   * @throws {TypeError} When an option is unknown or of a wrong kind.
   * @throws {RangeError} When ids are out of range, a text has no tokens, or too many where none is cut.
   */
  embed(texts: readonly Text[], options?: EmbedOptions): Promise<Float32Array[]>;
  /**
   * The last hidden states of texts.
   *
   * @returns One tensor `[tokens, width]` for each.
   */
  states(texts: readonly Text[], options?: StatesOptions): Promise<Tensor[]>;
}

const cannotLoad = "Cannot load the encoder";

/** Texts of a pass, packed. */
interface Packed {
  readonly ids: Int32Array;
  readonly positions: Int32Array;
  /** Where each begins, and where the last ends. */
  readonly bounds: readonly number[];
}

/** What layers of a pass have in common where they attend. */
interface Attended {
  readonly bounds: Packed["bounds"];
  /** Calls that were read, by windows: all layers have their rows in the same places. */
  readonly known: Map<LayerWeights["window"], AttentionOfRows>;
}

/** A linear layer behind pooling. */
interface Dense {
  readonly weights: LinearWeights;
  readonly activation: EmbeddingPlan["dense"][number]["activation"];
}

/** What becomes of states, where `modules` say it. */
interface Finish extends Omit<EmbeddingPlan, "dense"> {
  readonly dense: readonly Dense[];
}

/** Packs texts into passes: as many as fit, in their order. */
function* packed(texts: readonly (readonly number[])[], batchTokens: number): Generator<Packed> {
  for (let from = 0; from < texts.length;) {
    const bounds = [0];
    let to = from;
    do bounds.push(bounds.at(-1)! + texts[to++].length); while (
      to < texts.length && bounds.at(-1)! + texts[to].length <= batchTokens
    );
    const some = texts.slice(from, to), ids = Int32Array.from(some.flat());
    yield { ids, positions: Int32Array.from(some.flatMap((text) => [...text.keys()])), bounds };
    from = to;
  }
}

/** How many last ids two lists have in common. */
function commonEnd(a: ArrayLike<number>, b: ArrayLike<number>): number {
  const most = Math.min(a.length, b.length);
  let count = 0;
  while (count < most && a[a.length - 1 - count] === b[b.length - 1 - count]) count++;
  return count;
}

/** What an encoder knows beside its weights. */
interface About {
  readonly maxTokens: number;
  readonly tokenizer: TokenizerLike | undefined;
  readonly truncate: boolean;
  readonly finish: Finish | undefined;
}

/** Takes the states of a pass, wherever they are. */
type Take = (encoder: LoadedEncoder, calls: Calls, x: () => AnyTensor, pass: Packed) => Steps;

class LoadedEncoder implements Encoder {
  readonly dimensions: number;
  readonly maxTokens: number;
  readonly #resident: Resident;
  readonly #about: About;
  readonly #relative: RelativeBias | undefined;

  constructor(resident: Resident, about: About) {
    const { plan, weights: { relative }, engine } = resident.running;
    this.#resident = resident;
    this.#about = about;
    this.maxTokens = about.maxTokens;
    this.dimensions = about.finish?.dimensions ?? plan.width;
    if (relative !== undefined) {
      this.#relative = new RelativeBias(relative, plan.heads, engine);
      resident.keep(() => this.#relative!.free());
    }
  }

  get architecture(): string {
    return this.#resident.running.plan.architecture;
  }

  get width(): number {
    return this.#resident.running.plan.width;
  }

  get vocabulary(): number {
    return this.#resident.running.plan.vocabulary;
  }

  async embed(texts: readonly Text[], options: EmbedOptions = {}): Promise<Float32Array[]> {
    const doing = "Cannot embed", read = this.#read(texts, options, embedNames, doing);
    const { finish } = this.#about, { pooling = "mean", normalize = true } = read.options;
    checkOneOf("pooling", pooling, ["mean", "cls", "last"], doing);
    checkOneOf("normalize", normalize, [true, false], doing);
    if (finish !== undefined && (read.options.pooling ?? read.options.normalize) !== undefined) {
      throw new TypeError(
        `${doing}: \`pooling\` and \`normalize\` are decided by \`modules\`, leave them out`,
      );
    }
    const vectors: Float32Array[] = [], chosen = finish ?? { pooling, normalize, dense: [] };
    await this.#run(read, function* (encoder, calls, x, { bounds }) {
      const rows = yield* encoder.#pool(calls, x, bounds, chosen.pooling);
      const pooled = yield* encoder.#dense(calls, rows, chosen.dense), { dimensions } = encoder;
      for (let at = 0; at + 1 < bounds.length; at++) {
        const vector = pooled.slice(at * dimensions, (at + 1) * dimensions);
        vectors.push(chosen.normalize ? normalised(vector) : vector);
      }
    });
    return vectors;
  }

  async states(texts: readonly Text[], options: StatesOptions = {}): Promise<Tensor[]> {
    const read = this.#read(texts, options, statesNames, "Cannot give states"), { width } = this;
    const states: Tensor[] = [];
    await this.#run(read, function* (_, calls, x, { bounds }) {
      const data = yield* calls.read(x());
      for (let at = 0; at + 1 < bounds.length; at++) {
        const rows = data.slice(bounds[at] * width, bounds[at + 1] * width);
        states.push({ data: rows, shape: [bounds[at + 1] - bounds[at], width] });
      }
    });
    return states;
  }

  free(): void {
    this.#resident.free();
  }

  [Symbol.dispose](): void {
    this.free();
  }

  /** Reads texts and options, once. */
  #read<Options extends StatesOptions>(
    texts: unknown,
    given: Options,
    names: readonly (keyof Options & string)[],
    doing: string,
  ) {
    this.#resident.checkOpen(doing);
    const options = readOptions(given, names, doing), { batchTokens = 1024, onTruncate } = options;
    if (!(isWhole(batchTokens) && batchTokens >= 1)) {
      throw new RangeError(
        `${doing}: \`batchTokens\` must be a whole number of at least 1, got ${
          kindOf(batchTokens)
        }`,
      );
    }
    if (onTruncate !== undefined && typeof onTruncate !== "function") {
      throw new TypeError(`${doing}: \`onTruncate\` must be a function, got ${kindOf(onTruncate)}`);
    }
    if (!Array.isArray(texts)) {
      throw new TypeError(`${doing}: \`texts\` must be an array of texts, got ${kindOf(texts)}`);
    }
    const ids = texts.map((text, at) => this.#idsOf(text, `texts[${at}]`, doing));
    const { maxTokens } = this, cut = ids.filter(({ all }) => all.length > maxTokens).length;
    if (cut > 0) onTruncate?.(cut);
    return { options, batchTokens, ids: ids.map(({ all, last }) => cutTo(maxTokens, all, last)) };
  }

  /** Ids of a text, and how many of the last ones are the tokenizer's own sign of its end. */
  #idsOf(text: unknown, name: string, doing: string): { all: readonly number[]; last: number } {
    const { tokenizer, truncate } = this.#about;
    const given = typeof text === "string" ? encode(text, tokenizer, name, doing) : text;
    const all = readIds(given, this.vocabulary, name, doing), isLong = all.length > this.maxTokens;
    if (!truncate) checkLength(all.length, this.maxTokens, name, doing);
    const last = isLong && typeof text === "string"
      ? commonEnd(all, encode("", tokenizer, name, doing))
      : 0;
    return { all, last: Math.min(last, this.maxTokens) };
  }

  /** Runs passes of texts; `take` is told where the states of each are. */
  async #run(
    { ids, batchTokens, options: { signal } }: {
      ids: readonly (readonly number[])[];
      batchTokens: number;
      options: StatesOptions;
    },
    take: Take,
  ): Promise<void> {
    const passes = packed(ids, batchTokens);
    await this.#resident.run((calls) => this.#passes(passes, take, calls), signal);
  }

  *#passes(passes: Iterable<Packed>, take: Take, calls: Calls): Steps {
    for (const pass of passes) {
      const { ids, positions, bounds } = pass;
      if (this.#relative !== undefined) {
        const lengths = bounds.slice(1).map((end, at) => end - bounds[at]);
        yield* this.#relative.reserve(Math.max(...lengths), calls);
      }
      const known = new Map<LayerWeights["window"], AttentionOfRows>();
      const attend = (heads: () => Heads, layer: LayerWeights) =>
        this.#attend(calls, heads, layer, { bounds, known });
      const x = yield* forward(this.#resident.running, { calls, ids, positions, attend });
      yield* take(this, calls, x, pass);
      calls.submit();
    }
  }

  *#attend(
    calls: Calls,
    heads: () => Heads,
    { window }: LayerWeights,
    { bounds, known }: Attended,
  ): Steps {
    const { plan: { scale, softcap, isCausal: causal } } = this.#resident.running;
    const options = { causal, window, scale, softcap, layout: "bnhd" } as const;
    if (this.#relative === undefined) {
      let call = known.get(window);
      if (call === undefined) {
        const { out, ...rows } = heads();
        known.set(window, call = attentionOf(rows, { ...options, out, cuSeqlens: bounds }));
      }
      yield calls.run(call);
      return;
    }
    // A bias over all texts would have the square of their tokens.
    for (let at = 0; at + 1 < bounds.length; at++) {
      const from = bounds[at], tokens = bounds[at + 1] - from;
      const { out, ...rows } = textOf(heads(), from, tokens);
      yield calls.run(attentionOf(rows, { ...options, out, bias: this.#relative.of(tokens) }));
    }
  }

  /** A row for each text. */
  *#pool(
    calls: Calls,
    x: () => AnyTensor,
    bounds: readonly number[],
    pooling: Pooling,
  ): Steps<Float32Array> {
    const { width } = this, { space } = this.#resident.running, count = bounds.length - 1;
    const to = () => rowsOf(space.get("h"), count, width);
    if (pooling === "mean") yield means(calls, x(), bounds, to());
    else {
      const row = (_: unknown, at: number) => pooling === "cls" ? bounds[at] : bounds[at + 1] - 1;
      yield rowsOfTable(calls, Int32Array.from({ length: count }, row), x(), to());
    }
    return yield* calls.read(to());
  }

  /** What layers behind pooling make of rows. */
  *#dense(calls: Calls, rows: Float32Array, layers: readonly Dense[]): Steps<Float32Array> {
    const { precision } = this.#resident.running;
    for (const { weights, activation } of layers) {
      const { inputs, outputs } = weights.packed, count = rows.length / inputs;
      const made = new Float32Array(count * outputs);
      yield linear(
        calls,
        { data: rows, shape: [count, inputs] },
        weights,
        { data: made, shape: [count, outputs] },
        { precision, activation },
      );
      rows = made;
    }
    return rows;
  }
}

/** So many ids: the first ones, and behind them the last ones that are kept. */
function cutTo(most: number, ids: readonly number[], last: number): readonly number[] {
  if (ids.length <= most) return ids;
  return [...ids.slice(0, most - last), ...ids.slice(ids.length - last)];
}

/** One text's rows of packed ones. */
function textOf({ q, k, v, out }: Heads, from: number, tokens: number): Heads {
  const part = (rows: AnyTensor): AnyTensor => {
    const [batch, , heads, columns] = rows.shape, [, step] = rows.strides!;
    return { ...rows, shape: [batch, tokens, heads, columns], offset: rows.offset! + from * step };
  };
  return { q: part(q), k: part(k), v: part(v), out: part(out) };
}

/** A vector by its length, which is summed in double precision. */
function normalised(vector: Float32Array): Float32Array {
  const length = Math.sqrt(vector.reduce((sum, one) => sum + one * one, 0));
  return length === 0 ? vector : vector.map((one) => one / length);
}

/** Brings what is behind pooling into the engine's memory. */
async function loadFinish(
  { dense, ...rest }: EmbeddingPlan,
  resident: Resident,
  { dtype, precision = "f32", onProgress, signal }: LoadOptions,
): Promise<Finish> {
  const { engine } = resident.running, loaded: Dense[] = [];
  for (const { linear, activation, file } of dense) {
    const reader = new WeightReader(file, { engine, dtype, precision, onProgress, signal });
    resident.keep(() => reader.free());
    loaded.push({ weights: await reader.linear([linear]), activation });
  }
  return { ...rest, dense: loaded };
}

/**
 * Loads an encoder: BERT and its kin (MiniLM, BGE, GTE, E5), RoBERTa and XLM-R, DistilBERT, MPNet, ModernBERT, Nomic BERT,
 * EmbeddingGemma; and decoders whose states are wanted (Qwen3-Embedding).
 *
 * @param source Its config, weights, tokenizer and modules.
 * @param options See {@linkcode LoadEncoderOptions}.
 * @throws {TypeError} When something is of a wrong kind, or an option is unknown.
 * @throws {RangeError} When files are damaged, tensors are missing, or the model is not supported: before anything is
 * allocated.
 * @throws {BackendUnavailableError} When a webgpu engine is asked for integers that are multiplied, or no backend can serve.
 * @throws `signal.reason` when the signal aborts.
 */
export async function loadEncoder(
  source: EncoderSource,
  options: LoadEncoderOptions = {},
): Promise<Encoder> {
  const from = readSource(source, [...sourceNames, "modules"], cannotLoad);
  const loading = readLoading(options, [...loadNames, "truncate"], cannotLoad);
  const { truncate = true, signal } = loading, { tokenizer, modules } = from;
  checkOneOf("truncate", truncate, [true, false], cannotLoad);
  throwIfAborted(signal);
  const opened = await openModel(from, loading, true, cannotLoad), { plan, maxTokens } = opened;
  const finishing = modules &&
    await (await import("./architectures/modules.ts")).readModules(modules, plan.width);
  const resident = await loadModel(opened, loading, cannotLoad);
  try {
    const finish = finishing && await loadFinish(finishing, resident, loading);
    return new LoadedEncoder(resident, { maxTokens, tokenizer, truncate, finish });
  } catch (error) {
    resident.free();
    throw error;
  }
}
