/**
 * Sessions whose keys and values are on other machines: the model runs here, its attention there.
 *
 * @module
 */

import { BackendUnavailableError, type SignalLike } from "../check/errors.ts";
import { kindOf, readOptions } from "../check/words.ts";
import type { AnyTensor, NumberList, Tensor } from "../tensor/tensor.ts";
import type { Calls } from "./forward/calls.ts";
import { forward, type Heads } from "./forward/forward.ts";
import type { Steps } from "./forward/steps.ts";
import type { LayerWeights } from "./forward/weights.ts";
import type { Resident } from "./load.ts";
import {
  cannot,
  checkSequence,
  chunkTokens,
  clearStayed,
  passNames,
  type PassOptions,
  readStepIds,
  writeLogits,
} from "./session.ts";
import { checkLength, readIds } from "./texts.ts";

/** A cache of all layers whose calls are promises, by what is used of it: `shardedCache()` of `./sharded` makes one. */
export interface LayeredCache {
  /** Its sizes. */
  readonly options: {
    /** Layers of the model. */
    readonly layers: number;
    /** Sequences. */
    readonly batch: number;
    /** Key/value heads. */
    readonly kvHeads: number;
    /** Size of a key. */
    readonly headDim: number;
    /** Size of a value. */
    readonly valueDim: number;
  };
  /** Tokens of each sequence that all layers have. */
  readonly lengths: readonly number[];
  /** Tokens of each sequence in a layer. */
  lengthsOf(layer: number): readonly number[];
  /** Appends to a layer, and attends to it; `out` is f32, `[B, n, Hq, D]`. */
  step(
    layer: number,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    options: {
      readonly layout: "bnhd";
      readonly lengths: readonly number[];
      readonly window: readonly (number | null)[] | undefined;
      readonly scale: number;
      readonly softcap: number | undefined;
      readonly signal: SignalLike | null | undefined;
    },
  ): Promise<{ readonly out: { readonly data: Float32Array } }>;
  /** Keeps the first tokens of a sequence. */
  truncate(sequence: number, length: number): Promise<void>;
  /** Lets another sequence continue from the tokens of one. */
  fork(from: number, to: number): Promise<void>;
}

/** Options of `decoder.session()` with a cache that many machines hold. */
export interface ShardedSessionOptions {
  /** The cache, as `shardedCache()` made it; it stays the caller's. What it has is where the session goes on. */
  readonly cache: LayeredCache;
}

/** Sequences of a decoder whose keys and values are on other machines. */
export interface ShardedSession {
  /** Tokens of each sequence. */
  readonly lengths: readonly number[];
  /**
   * Appends tokens to a sequence, as of `DecoderSession`.
   *
   * @throws {Error} Whatever the cache does; the session is then as it was, or as `restore()` of the cache leaves it.
   */
  prefill(ids: NumberList, sequence?: number, options?: PassOptions): Promise<Float32Array>;
  /** Appends a token to each sequence, as of `DecoderSession`. */
  step(ids: readonly (number | null)[], options?: PassOptions): Promise<Tensor>;
  /** Lets another sequence continue from the tokens of one. */
  fork(from: number, to: number): Promise<void>;
  /** Keeps the first tokens of a sequence. */
  truncate(sequence: number, length: number): Promise<void>;
}

/** Rows of a pass. */
interface Chunk {
  readonly ids: Int32Array;
  readonly positions: Int32Array;
  readonly batch: number;
  /** Rows of each sequence that count. */
  readonly counts: readonly number[];
  readonly signal: SignalLike | null | undefined;
}

function checkCache(cache: LayeredCache, { running: { plan, backend } }: Resident): void {
  const doing = "Cannot begin a session", { layers, kvHeads, headDim } = plan;
  if (backend.name !== "wasm") {
    throw new BackendUnavailableError(
      backend.name,
      'sessions with a `cache` of many machines run on the CPU; make the engine with { backend: "wasm" }',
    );
  }
  if (typeof Object(cache).step !== "function") {
    throw new TypeError(
      `${doing}: \`cache\` must be what \`shardedCache()\` gave, got ${kindOf(cache)}`,
    );
  }
  const wanted = { layers: layers.length, kvHeads, headDim, valueDim: headDim };
  for (const [name, size] of Object.entries(wanted)) {
    const { [name as keyof typeof wanted]: other } = cache.options;
    if (other === size) continue;
    throw new RangeError(`${doing}: the model has ${name} ${size}, the cache ${other}`);
  }
}

/** The session. */
export class RemoteSession implements ShardedSession {
  readonly #resident: Resident;
  readonly #cache: LayeredCache;
  readonly #maxTokens: number;
  readonly #batch: number;

  /** Goes on with what a cache has. */
  constructor(resident: Resident, maxTokens: number, { cache }: ShardedSessionOptions) {
    resident.checkOpen("Cannot begin a session");
    checkCache(cache, resident);
    this.#resident = resident;
    this.#cache = cache;
    this.#maxTokens = maxTokens;
    this.#batch = cache.options.batch;
  }

  get lengths(): readonly number[] {
    return this.#cache.lengths;
  }

  async prefill(
    given: NumberList,
    sequence = 0,
    options: PassOptions = {},
  ): Promise<Float32Array> {
    const { signal } = readOptions(options, passNames, cannot);
    const { vocabulary } = this.#resident.running.plan;
    const ids = readIds(given, vocabulary, "ids", cannot), logits = new Float32Array(vocabulary);
    checkSequence(sequence, this.#batch);
    await this.#run(function* (session: RemoteSession, calls: Calls) {
      const before = session.lengths[sequence];
      checkLength(before + ids.length, session.#maxTokens, "ids", cannot);
      for (let first = 0; first < ids.length; first += chunkTokens) {
        const some = Int32Array.from(ids.slice(first, first + chunkTokens));
        const positions = some.map((_, at) => before + first + at);
        const counts = session.#each((at) => at === sequence ? some.length : 0);
        const x = yield* session.#pass(calls, { ids: some, positions, batch: 1, counts, signal });
        const isLast = first + chunkTokens >= ids.length,
          rows = { first: some.length - 1, rows: 1 };
        if (isLast) yield* writeLogits(session.#resident, calls, x(), rows, logits);
        calls.submit();
      }
    }, signal);
    return logits;
  }

  async step(given: readonly (number | null)[], options: PassOptions = {}): Promise<Tensor> {
    const { signal } = readOptions(options, passNames, cannot), batch = this.#batch;
    const { vocabulary } = this.#resident.running.plan;
    const { ids, counts } = readStepIds(given, batch, vocabulary);
    const logits = new Float32Array(batch * vocabulary);
    await this.#run(function* (session: RemoteSession, calls: Calls) {
      const { lengths } = session;
      counts.forEach((count, at) =>
        checkLength(lengths[at] + count, session.#maxTokens, "ids", cannot)
      );
      const positions = Int32Array.from(lengths);
      const x = yield* session.#pass(calls, { ids, positions, batch, counts, signal });
      yield* writeLogits(session.#resident, calls, x(), { first: 0, rows: batch }, logits);
    }, signal);
    clearStayed(logits, counts);
    return { data: logits, shape: [batch, vocabulary] };
  }

  async fork(from: number, to: number): Promise<void> {
    await this.#cache.fork(from, to);
  }

  async truncate(sequence: number, length: number): Promise<void> {
    await this.#cache.truncate(sequence, length);
  }

  /** Runs a pass; where it fails the sequences are as they were. */
  async #run(
    pass: (session: RemoteSession, calls: Calls) => Steps,
    signal: SignalLike | null | undefined,
  ): Promise<void> {
    let before: readonly number[] = [];
    const whole = function* (session: RemoteSession, calls: Calls): Steps {
      before = session.lengths;
      yield* pass(session, calls);
      yield calls.finish();
    };
    try {
      await this.#resident.run((calls) => whole(this, calls), signal);
    } catch (error) {
      await this.#undo(before);
      throw error;
    }
  }

  /** Layers must not differ; where the cache cannot do that now, `restore()` does it. */
  async #undo(before: readonly number[]): Promise<void> {
    const layers = Array.from({ length: this.#cache.options.layers }, (_, layer) => layer);
    try {
      for (const [sequence, length] of before.entries()) {
        const most = Math.max(...layers.map((layer) => this.#cache.lengthsOf(layer)[sequence]));
        if (most > length) await this.#cache.truncate(sequence, length);
      }
    } catch {
      // The caller is told what went wrong first.
    }
  }

  #each<T>(make: (sequence: number) => T): T[] {
    return Array.from({ length: this.#batch }, (_, at) => make(at));
  }

  *#pass(calls: Calls, { counts, signal, ...rows }: Chunk): Steps<() => AnyTensor> {
    const attend = (heads: () => Heads, layer: LayerWeights, at: number) =>
      this.#attend(heads, layer, at, counts, signal);
    return yield* forward(this.#resident.running, { ...rows, calls, attend });
  }

  *#attend(
    heads: () => Heads,
    layer: LayerWeights,
    at: number,
    counts: readonly number[],
    signal: SignalLike | null | undefined,
  ): Steps {
    yield this.#ask(heads, layer, at, counts, signal);
  }

  /** While others attend, memory may grow: what is in it is looked up after that. */
  async #ask(
    heads: () => Heads,
    { window }: LayerWeights,
    layer: number,
    counts: readonly number[],
    signal: SignalLike | null | undefined,
  ): Promise<void> {
    const { scale, softcap } = this.#resident.running.plan, { q, k, v } = heads();
    const asked = { window, scale, softcap, lengths: counts, layout: "bnhd", signal } as const;
    const [all, keys, values] = [q, k, v].map((rows) => this.#forAll(rows as Tensor));
    const given = await this.#cache.step(layer, all, keys, values, asked);
    const { data } = given.out, size = data.length / this.#batch, out = heads().out as Tensor;
    const isAll = q.shape[0] === this.#batch, at = isAll ? 0 : counts.findIndex((n) => n > 0);
    out.data.set(isAll ? data : data.subarray(at * size, (at + 1) * size), out.offset);
  }

  /** Rows of one sequence as those of each, of which none of the others counts. */
  #forAll(rows: Tensor): Tensor {
    const { shape: [batch, ...shape], strides } = rows;
    if (batch === this.#batch) return rows;
    return { ...rows, shape: [this.#batch, ...shape], strides: [0, ...strides!.slice(1)] };
  }
}
