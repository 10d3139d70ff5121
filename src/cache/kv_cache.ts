/**
 * The KV cache: keys and values of the tokens that a model has seen, in the backend's own memory, and
 * attention to them.
 *
 * @module
 */

import type { Backend } from "../contract/backend.ts";
import type { PagedKeys, PageStore } from "../contract/pages.ts";
import { runAttention, runAttentionSync } from "../operations/attention/operation.ts";
import type { AttentionOptions, CacheAttentionOptions } from "../operations/attention/options.ts";
import { type AttentionCall, readCached } from "../operations/attention/plan.ts";
import type { Asking, AttentionResult, ResultOf } from "../operations/attention/result.ts";
import type { TensorData } from "../tensor/dtype.ts";
import { bytesInWords, sayOf } from "../tensor/inspect.ts";
import { useAll } from "../tensor/lending.ts";
import type { AnyTensor, AnyView, NumberList, ReadTensor, Tensor } from "../tensor/tensor.ts";
import {
  checkCount,
  type CheckedTokens,
  checkEvicts,
  checkSequence,
  readCacheOptions,
  readKept,
  readOrder,
  readTokens,
} from "./check.ts";
import { decodeCache } from "./format.ts";
import type { AppendOptions, Kept, KvCacheOptions } from "./options.ts";
import { type Change, Sequences } from "./sequences.ts";
import { readStep, type StepOptions, usedBy } from "./step.ts";

/** What `attention()` takes behind queries and keys: values and options, or those for a cache. */
export type AttentionRest<
  Keys extends AnyTensor | KvCache,
  Lse extends boolean | undefined,
  Out extends AnyTensor | undefined,
  More = unknown,
> = Keys extends KvCache ? [options?: Asking<CacheAttentionOptions & More, Lse, Out>]
  : [v: AnyTensor, options?: Asking<AttentionOptions & More, Lse, Out>];

/** What others of the library may do with a cache. */
interface Inside {
  is(value: object): boolean;
  backendOf(cache: KvCache): Backend;
  /** Throws where it cannot be changed now. */
  beginChange(cache: KvCache, doing: string): void;
  sequencesOf(cache: KvCache): Sequences;
  storeOf(cache: KvCache): PageStore;
  loading(cache: KvCache, bytes: Uint8Array, sequence?: number): Loading;
  append(cache: KvCache, tokens: CheckedTokens): void;
  paged(cache: KvCache): PagedKeys;
  lock(cache: KvCache, doing: string): () => void;
  read(
    cache: KvCache,
    q: AnyTensor | ReadTensor,
    options: CacheAttentionOptions,
  ): AttentionCall;
}

let inside: Inside;

/** What would load a cache, and the tokens of each sequence that is replaced. */
export interface Loading extends Change {
  readonly lengths: readonly number[];
}

/** What is loaded at the first step: asking for it again takes some microseconds. */
let stepping: typeof import("./stepping.ts") | undefined;

/** By this, other copies of the library know a cache: they let it attend by itself. */
const attends = Symbol.for("flashtile.KvCache/1");

/**
 * Keys and values of `batch` sequences, each of its own length. Made by `engine.kvCache()`.
 *
 * Tokens lie in pages of one pool, and stay where they are: appending copies nothing but what is
 * appended. Sequences may share pages; a shared page is copied before one of them writes to it.
 */
export class KvCache implements Disposable {
  /** What it was made with, defaults filled in. */
  readonly options:
    & {
      readonly [
        Name in Exclude<keyof KvCacheOptions, "capacity" | "pages" | "keepFirst" | "keepLast">
      ]-?: NonNullable<KvCacheOptions[Name]>;
    }
    & Partial<Kept>;
  readonly #backend: Backend;
  readonly #store: PageStore;
  readonly #sequences: Sequences;
  readonly #capacity: number;
  /** The same as `options`, which nobody keeps callers from replacing. */
  readonly #options: KvCache["options"];
  #running = 0;
  /** Whether one of the calls that run appends, and nothing may be read beside it. */
  #isStepping = false;
  #freed = false;

  static {
    (this.prototype as { [attends]?: boolean })[attends] = true;
    inside = {
      is: (value) => #backend in value,
      lock: (cache, doing) => cache.#lock(doing),
      backendOf: (cache) => cache.#backend,
      beginChange: (cache, doing) => cache.#beginChange(doing),
      sequencesOf: (cache) => cache.#sequences,
      storeOf: (cache) => cache.#store,
      loading: (cache, ...given) => cache.#loading(...given),
      append: (cache, tokens) => cache.#append(tokens),
      paged: (cache) => cache.#paged,
      read: (cache, ...given) => cache.#read(...given),
    };
    sayOf(this.prototype, function () {
      return isCache(this) ? this.#inWords() : "KvCache";
    });
  }

  /** For `engine.kvCache()`. */
  constructor(backend: Backend, given: KvCacheOptions) {
    const { batch, capacity, pages, keeping, ...layout } = readCacheOptions(given);
    this.#backend = backend;
    const mostPages = batch * Math.ceil(capacity / layout.pageSize);
    this.#store = backend.createPages(layout, Math.min(pages, mostPages));
    this.#sequences = new Sequences(this.#store, batch, pages, keeping);
    this.#capacity = capacity;
    this.options = this.#options = Object.freeze({ batch, ...layout, ...keeping });
  }

  /** Tokens of each sequence. */
  get lengths(): readonly number[] {
    return this.#sequences.lengths;
  }

  /** Bytes of the pages in use. */
  get bytes(): number {
    return this.#sequences.pageCount * this.#store.bytesPerPage;
  }

  /** Pages in use. */
  get pages(): number {
    return this.#sequences.pageCount;
  }

  /**
   * Appends tokens to every sequence, or to some.
   *
   * @param keys `[B, Hkv, n, D]`, f32, f16 or bf16; B is 1 with `cuSeqlens`.
   * @param values `[B, Hkv, n, Dv]`, likewise.
   * @throws {RangeError} When shapes do not fit, or a sequence, the pool or the memory is full; the
   * cache is as it was then.
   */
  append(keys: AnyTensor, values: AnyTensor, options: AppendOptions = {}): void {
    this.#beginChange("append");
    this.#append(readTokens(keys, values, this.#options, options));
  }

  /** What was read may have been a function of the caller's, that frees what was read before it. */
  #append(tokens: CheckedTokens): void {
    this.#beginChange("append");
    useAll([tokens.k, tokens.v])();
    this.#store.checkReadable?.([tokens.k, tokens.v]);
    this.#checkCapacity("append", this.#lengthsWith(tokens));
    this.#put(tokens, true);
  }

  /** Tokens of each sequence when some more are there. */
  #lengthsWith({ rows: { sequences, counts } }: CheckedTokens): readonly number[] {
    const { lengths } = this.#sequences;
    for (const [part, at] of sequences.entries()) lengths[at] += counts[part];
    return lengths;
  }

  /**
   * Writes tokens behind those of their sequences, or changes nothing.
   *
   * @param flushes Whether that is all; else what comes from them is read by the same call.
   */
  #put(tokens: CheckedTokens, flushes: boolean): void {
    const { k, v, rows: { sequences, packed, firsts, counts } } = tokens;
    const before = this.#sequences.lengths, after = this.#lengthsWith(tokens);
    this.#sequences.reserve(after.map((length, at) => length - before[at]));
    try {
      for (const [part, at] of sequences.entries()) {
        const batch = packed ? 0 : part, from = firsts[part], to = from + counts[part];
        if (to > from) this.#sequences.write(at, { k, v, batch, from, to });
      }
      if (flushes) this.#store.flush?.();
    } catch (error) {
      this.#restore(before);
      throw error;
    }
  }

  /** Forgets what was appended since. */
  #restore(lengths: readonly number[]): void {
    for (const [at, length] of lengths.entries()) this.#sequences.truncate(at, length);
  }

  /**
   * Keeps the first `length` tokens of a sequence.
   *
   * @throws {RangeError} When there are not as many, or, with `keepLast`, the last of them was dropped.
   */
  truncate(sequence: number, length: number): void {
    this.#beginChange("truncate");
    this.#check(sequence);
    checkCount("length", length, this.#sequences.lengths[sequence]);
    this.#sequences.checkThere("truncate", sequence, length, true);
    this.#sequences.truncate(sequence, length);
  }

  /**
   * Keeps some of a sequence's newest tokens: those of a draft that were accepted (see `parents` of
   * `attend()`). The others from the first of these on are forgotten, and those behind them move up.
   *
   * @param indices Which tokens of the sequence, counted from its first, in ascending order; all before
   * the first of them stay.
   * @throws {RangeError} When there are none of them, or they are out of range or order, or a shared page has to
   * be copied and there is no room; nothing has changed then.
   */
  keep(sequence: number, indices: NumberList): void {
    this.#beginChange("keep tokens");
    this.#check(sequence);
    const kept = readKept(indices, this.#sequences.lengths[sequence]);
    this.#beginChange("keep tokens");
    this.#sequences.keep(sequence, kept).make();
  }

  /** Forgets all tokens of a sequence. */
  free(sequence: number): void;
  /** Frees the cache: its pages go back to the engine. */
  free(): void;
  free(sequence?: number): void {
    if (sequence !== undefined) {
      this.#beginChange("free");
      this.#check(sequence);
      return this.#sequences.truncate(sequence, 0);
    }
    this.#checkNotFreed("free");
    // What calls of a closed engine still read goes to nobody else.
    if (this.#isOpen()) this.#checkIdle("free");
    this.#freed = true;
    this.#sequences.clear();
    this.#store.free();
  }

  /** As `free()`, unless that was called. */
  [Symbol.dispose](): void {
    if (!this.#freed) this.free();
  }

  /**
   * Lets another sequence continue from the tokens of this one: both share their pages until one of
   * them writes.
   *
   * @param from Sequence whose tokens are shared.
   * @param to Sequence that gets them in place of its own; the first empty one by default.
   * @returns `to`.
   * @throws {RangeError} When no sequence is empty.
   */
  fork(from: number, to: number = this.#sequences.lengths.indexOf(0)): number {
    this.#beginChange("fork");
    this.#check(from);
    if (to < 0) {
      throw new RangeError("Cannot fork: no sequence is empty, free one or say which is replaced");
    }
    this.#check(to);
    if (from !== to) this.#sequences.fork(from, to);
    return to;
  }

  /**
   * Lets every sequence continue from the tokens that another one had: beams that were chosen. Pages are
   * shared until somebody writes to them, so that nothing is copied here.
   *
   * @param indices Of each sequence, which one it continues from: `[B]`; each may be there more than once.
   * @throws {RangeError} When they are not as many as sequences, or one is no sequence.
   */
  reorder(indices: NumberList): void {
    this.#beginChange("reorder");
    const from = readOrder(indices, this.#options.batch);
    this.#beginChange("reorder");
    this.#sequences.reorder(from);
  }

  /**
   * Forgets the tokens between the first and the last ones (StreamingLLM, arXiv 2309.17453); those
   * behind move up, so that positions count what is left. A cache with `keepLast` does that by itself, without
   * moving positions, and cannot be evicted from.
   *
   * @param sequence Which; all by default.
   */
  evict(kept: Kept, sequence?: number): void {
    this.#beginChange("evict");
    checkEvicts(this.#sequences.keeping);
    const { keepFirst, keepLast } = Object(kept) as Kept;
    this.#beginChange("evict");
    checkCount("keepFirst", keepFirst);
    checkCount("keepLast", keepLast);
    if (sequence !== undefined) this.#check(sequence);
    const all = sequence === undefined ? [...this.#sequences.lengths.keys()] : [sequence];
    this.#sequences.evict(all, keepFirst, keepLast).make();
  }

  /**
   * All sequences as bytes, with a header that says what they are, and a checksum; what no token uses
   * of a page takes nothing.
   *
   * @param sequence Which one alone; all by default.
   */
  async save(sequence?: number): Promise<Uint8Array<ArrayBuffer>> {
    this.#checkOpen("save");
    if (sequence !== undefined) this.#check(sequence);
    const unlock = this.#lock("save"), { lengths, pages, keeping, dropped } = this.#sequences;
    const which = sequence === undefined ? [...lengths.keys()] : [sequence];
    try {
      const { encodeCache } = await import("./encode.ts");
      return await encodeCache(
        this.#store,
        keeping,
        which.map((at) => ({
          ...{ length: lengths[at], pages: pages[at], dropped: dropped[at] },
        })),
      );
    } finally {
      unlock();
    }
  }

  /**
   * Replaces all sequences by those that `save()` gave, of this version or one before.
   *
   * @param sequence Which is replaced alone, by the only one that was saved; all by default.
   * @throws {RangeError} When the bytes are damaged, or of a cache of other sizes; nothing has changed.
   */
  load(bytes: Uint8Array, sequence?: number): void {
    this.#beginChange("load");
    this.#loading(bytes, sequence).make();
  }

  #loading(bytes: Uint8Array, sequence?: number): Loading {
    const { batch } = this.#options;
    if (sequence !== undefined) this.#check(sequence);
    const which = sequence === undefined ? [...this.#sequences.lengths.keys()] : [sequence];
    const { keeping } = this.#sequences, count = sequence === undefined ? batch : 1;
    const saved = decodeCache(bytes, this.#store, keeping, count);
    const after = this.#sequences.lengths;
    which.forEach((at, nth) => after[at] = saved.lengths[nth]);
    this.#checkCapacity("load", after);
    const { make, drop } = this.#sequences.replace(which, saved.lengths, saved.dropped);
    const restore = () => {
      const { pages } = this.#sequences;
      for (const [nth, at] of which.entries()) {
        for (const [index, page] of pages[at].entries()) {
          this.#store.restore(page, saved.pageOf(nth, index), saved.version);
        }
      }
    };
    return {
      lengths: saved.lengths,
      make() {
        make();
        restore();
      },
      drop,
    };
  }

  /**
   * Attention to the cache, as `attention()`: causal means against each sequence's own length, so that
   * the last query sees its last token; where sequences have different numbers of queries, say these as
   * `lengths`. The cache cannot be changed until the call settles.
   *
   * @param q Queries, `[B, Hq, Nq, D]`; any Nq: one token, a few of speculative decoding, a chunk of a
   * prompt. Append their keys first.
   * @param options Those of `attention()` but for what says where keys are, and `lengths`.
   * @throws {TypeError} When an argument is of a wrong kind, or an option is unknown.
   * @throws {RangeError} When shapes or values do not fit, memory is short, or, with `causal` and neither
   * `lengths` nor `offset`, there are more queries than tokens of a sequence that has some.
   * @throws `signal.reason` when the signal aborts.
   */
  async attend<
    Data extends TensorData,
    Lse extends boolean | undefined = boolean | undefined,
    Out extends AnyTensor | undefined = undefined,
  >(
    q: Tensor<Data>,
    options: Asking<CacheAttentionOptions, Lse, Out> = {},
  ): Promise<ResultOf<Data, Lse, Out>> {
    return await attendTo(this, q, options) as ResultOf<Data, Lse, Out>;
  }

  /** The same without a promise. Wasm only. */
  attendSync<
    Data extends TensorData,
    Lse extends boolean | undefined = boolean | undefined,
    Out extends AnyTensor | undefined = undefined,
  >(
    q: Tensor<Data>,
    options: Asking<CacheAttentionOptions, Lse, Out> = {},
  ): ResultOf<Data, Lse, Out> {
    const unlock = this.#lock("attend");
    try {
      const call = this.#read(q, options);
      return runAttentionSync<Data>(this.#backend, call) as ResultOf<Data, Lse, Out>;
    } finally {
      unlock();
    }
  }

  /**
   * Turns queries and keys by their positions, appends keys and values, and attends: what `rope()`,
   * `append()` and `attend()` do one after the other, with the same bits, in one call, which is one
   * submission on a GPU. `q` and `k` stay as they are. Where it fails or is aborted, the cache is as it
   * was. Nothing else can use the cache meanwhile.
   *
   * ```ts
   * import { createEngine, tensor } from "@flashtile/attention";
   *
   * const engine = await createEngine({ backend: "wasm" });
   * const cache = engine.kvCache({ kvHeads: 2, headDim: 64 });
   * const q = tensor(new Float32Array(8 * 64).fill(0.1), [1, 8, 1, 64]); // one token
   * const k = tensor(new Float32Array(2 * 64).fill(0.2), [1, 2, 1, 64]);
   * const { out } = await cache.step(q, k, k, { causal: true, rope: { theta: 500_000 } });
   * console.log(cache.lengths, out.shape); // [1] [1, 8, 1, 64]
   * await engine.close();
   * ```
   *
   * @param q Queries of the tokens that are appended, `[B, Hq, n, D]`.
   * @param k Their keys, `[B, Hkv, n, D]`.
   * @param v Their values, `[B, Hkv, n, Dv]`.
   * @param options Those of `attend()`, of which `append()` has some too, and `rope`.
   * @throws {TypeError} As these three; the cache is as it was then.
   * @throws {RangeError} Likewise.
   * @throws `signal.reason` when the signal aborts.
   */
  async step<
    Data extends TensorData,
    Lse extends boolean | undefined = boolean | undefined,
    Out extends AnyTensor | undefined = undefined,
  >(
    q: Tensor<Data>,
    k: AnyTensor,
    v: AnyTensor,
    options: Asking<StepOptions, Lse, Out> = {},
  ): Promise<ResultOf<Data, Lse, Out>> {
    this.#beginChange("step");
    const before = this.#sequences.lengths;
    const call = readStep([q, k, v], this.#options, this.#paged, before, options);
    this.#beginChange("step");
    const { tokens } = call;
    this.#store.checkReadable?.([tokens.k, tokens.v]);
    this.#checkCapacity("step", this.#lengthsWith(tokens));
    const leave = useAll(usedBy(call)), unlock = this.#lock("step");
    this.#isStepping = true;
    try {
      stepping ??= await import("./stepping.ts");
      const append = (keys: AnyView) => this.#put({ ...tokens, k: keys }, false);
      const result = await stepping.runStep<Data>(this.#backend, this.#store, call, append);
      return result as ResultOf<Data, Lse, Out>;
    } catch (error) {
      if (!this.#freed) this.#restore(before);
      throw error;
    } finally {
      this.#isStepping = false;
      unlock();
      leave();
    }
  }

  get #paged(): PagedKeys {
    const { pages, kept } = this.#sequences;
    return { store: this.#store, pages, kept };
  }

  #read(
    q: AnyTensor | ReadTensor,
    options: CacheAttentionOptions,
  ): AttentionCall {
    return readCached(q, this.#paged, this.#sequences.lengths, options);
  }

  /** Nothing may change the cache until what this gives is called. */
  #lock(doing: string): () => void {
    this.#checkOpen(doing);
    if (this.#isStepping) {
      throw new Error(`Cannot ${doing}: a step of the cache runs, wait for it first`);
    }
    this.#running++;
    return () => void this.#running--;
  }

  #inWords(): string {
    if (this.#freed) return "KvCache, freed";
    const { dtype, kvHeads, headDim } = this.#options, { lengths } = this;
    const shown = lengths.slice(0, 8).join(", ") + (lengths.length > 8 ? ", ..." : "");
    const pages = `${this.pages} page${this.pages === 1 ? "" : "s"}`;
    return `KvCache of ${dtype}, Hkv = ${kvHeads}, D = ${headDim}, tokens [${shown}], ` +
      `${bytesInWords(this.bytes)} in ${pages}`;
  }

  #isOpen(): boolean {
    try {
      this.#backend.checkOpen();
      return true;
    } catch {
      return false;
    }
  }

  #checkCapacity(doing: string, lengths: readonly number[]): void {
    const full = lengths.findIndex((length) => length > this.#capacity);
    if (full < 0) return;
    throw new RangeError(
      `Cannot ${doing}: sequence ${full} has ${
        this.#sequences.lengths[full]
      } tokens and would have ` +
        `${lengths[full]}, \`capacity\` is ${this.#capacity}`,
    );
  }

  #check(sequence: number): void {
    checkSequence(sequence, this.#options.batch);
  }

  #checkNotFreed(doing: string): void {
    if (this.#freed) throw new Error(`Cannot ${doing}: the cache was freed`);
  }

  #checkOpen(doing: string): void {
    this.#checkNotFreed(doing);
    this.#backend.checkOpen();
  }

  /** Nothing may change under a call that reads it. */
  #checkIdle(doing: string): void {
    if (this.#running === 0) return;
    throw new Error(`Cannot ${doing}: a call reads the cache, wait for it first`);
  }

  /** Says what cannot be changed now: before what is asked is read, and after it. */
  #beginChange(doing: string): void {
    this.#checkOpen(doing);
    this.#checkIdle(doing);
  }
}

/** Whether a value is a cache of another copy of the library. */
export function isOthersCache(value: unknown): value is KvCache {
  return !(value instanceof KvCache) &&
    (Object(value) as { [attends]?: unknown })[attends] === true;
}

/** Whether a value is a cache, and not only of its prototype. */
export function isCache(value: unknown): value is KvCache {
  return typeof value === "object" && value !== null && inside.is(value);
}

/** Whether a value is a cache of this or of another copy: each attends by itself. */
export function isAnyCache(value: unknown): value is KvCache {
  return isCache(value) || isOthersCache(value);
}

/** Keeps a cache as it is until what this gives is called. */
export function lockCache(cache: KvCache, doing: string): () => void {
  return inside.lock(cache, doing);
}

/** Throws where a cache cannot be changed now. */
export function beginChangeOf(cache: KvCache, doing: string): void {
  inside.beginChange(cache, doing);
}

/** The sequences of a cache, for who changes those of several together. */
export function sequencesOf(cache: KvCache): Sequences {
  return inside.sequencesOf(cache);
}

/** The pages of a cache. */
export function storeOf(cache: KvCache): PageStore {
  return inside.storeOf(cache);
}

/** What would load a cache, which nothing keeps from doing so any more. */
export function loadingOf(cache: KvCache, bytes: Uint8Array, sequence?: number): Loading {
  return inside.loading(cache, bytes, sequence);
}

/** The backend whose memory a cache is in. */
export function backendOf(cache: KvCache): Backend {
  return inside.backendOf(cache);
}

/** Appends tokens that were read, for this cache or one of the same sizes. */
export function appendRead(cache: KvCache, tokens: CheckedTokens): void {
  inside.append(cache, tokens);
}

/** The pages of a cache that is locked. */
export function pagedOf(cache: KvCache): PagedKeys {
  return inside.paged(cache);
}

/** Reads a call against a cache that is locked. */
export function readCacheCall(
  cache: KvCache,
  q: AnyTensor | ReadTensor,
  options: CacheAttentionOptions,
): AttentionCall {
  return inside.read(cache, q, options);
}

/** Attends to a cache, which nothing may change meanwhile. */
export async function attendTo<Data extends TensorData>(
  cache: KvCache,
  q: Tensor<Data>,
  options: CacheAttentionOptions,
): Promise<AttentionResult<Data>> {
  const unlock = inside.lock(cache, "attend");
  try {
    const call = inside.read(cache, q, options);
    return await runAttention<Data>(inside.backendOf(cache), call);
  } finally {
    unlock();
  }
}
