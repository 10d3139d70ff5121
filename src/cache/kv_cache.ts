/**
 * The KV cache: keys and values of the tokens that a model has seen, in the backend's own memory, and
 * attention to them.
 *
 * @module
 */

import {
  type AttentionResult,
  type AttentionResultWithLse,
  runPlan,
  runPlanSync,
} from "../attention.ts";
import type { Backend } from "../backend.ts";
import type { TensorData } from "../dtype.ts";
import { type AttentionPlan, planCached } from "../plan.ts";
import { type AnyTensor, type AnyView, isOnHost, type Tensor } from "../tensor.ts";
import { checkCacheOptions, checkCount, checkSequence, checkTokens } from "../validate/cache.ts";
import { decodeCache, encodeCache } from "./format.ts";
import type { AppendOptions, CacheAttentionOptions, Kept, KvCacheOptions } from "./options.ts";
import { Sequences } from "./sequences.ts";
import type { PagedKeys, PageStore } from "./store.ts";

/**
 * Keys and values of `batch` sequences, each of its own length. Made by `engine.kvCache()`.
 *
 * Tokens lie in pages of one pool, and stay where they are: appending copies nothing but what is
 * appended. Sequences may share pages; a shared page is copied before one of them writes to it.
 */
export class KvCache implements Disposable {
  /** What it was made with, defaults filled in. */
  readonly options: Readonly<Required<Omit<KvCacheOptions, "capacity" | "pages">>>;
  readonly #backend: Backend;
  readonly #store: PageStore;
  readonly #sequences: Sequences;
  readonly #capacity: number;
  #running = 0;
  #freed = false;

  /** For `engine.kvCache()`. */
  constructor(backend: Backend, given: KvCacheOptions) {
    const { batch, capacity, pages, ...layout } = checkCacheOptions(given);
    this.#backend = backend;
    const mostPages = batch * Math.ceil(capacity / layout.pageSize);
    this.#store = backend.createPages(layout, Math.min(pages, mostPages));
    this.#sequences = new Sequences(this.#store, batch, pages);
    this.#capacity = capacity;
    this.options = Object.freeze({ batch, ...layout });
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
   * Appends tokens to every sequence.
   *
   * @param keys `[B, Hkv, n, D]`, f32, f16 or bf16.
   * @param values `[B, Hkv, n, Dv]`, likewise.
   * @throws {RangeError} When shapes do not fit, or a sequence, the pool or the memory is full; the
   * cache is as it was then.
   */
  append(keys: AnyTensor, values: AnyTensor, options: AppendOptions = {}): void {
    this.#beginChange("append");
    const tokens = checkTokens(keys, values, this.options, options);
    this.#backend.checkReadable?.("Cannot append", [tokens.k, tokens.v]);
    const before = this.lengths;
    this.#checkCapacity("append", tokens.counts.map((count, at) => before[at] + count));
    // Arrays of the engine's own memory are made anew where it grows.
    const follow = (view: AnyView) => isOnHost(view) ? this.#backend.follow(view) : () => view;
    const [kNow, vNow] = [follow(tokens.k), follow(tokens.v)];
    this.#sequences.reserve(tokens.counts);
    const k = kNow(), v = vNow();
    try {
      for (const [batch, to] of tokens.counts.entries()) {
        if (to > 0) this.#sequences.write(batch, { k, v, batch, from: 0, to });
      }
      this.#store.settle?.();
    } catch (error) {
      for (const [at, length] of before.entries()) this.#sequences.truncate(at, length);
      throw error;
    }
  }

  /** Keeps the first `length` tokens of a sequence. */
  truncate(sequence: number, length: number): void {
    this.#beginChange("truncate");
    this.#check(sequence);
    checkCount("length", length, this.lengths[sequence]);
    this.#sequences.truncate(sequence, length);
  }

  /** Forgets all tokens of a sequence. */
  free(sequence: number): void;
  /** Frees the cache: its pages go back to the engine. */
  free(): void;
  free(sequence?: number): void {
    this.#beginChange("free");
    if (sequence !== undefined) return this.truncate(sequence, 0);
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
  fork(from: number, to: number = this.lengths.indexOf(0)): number {
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
   * Forgets the tokens between the first and the last ones (StreamingLLM, arXiv 2309.17453); those
   * behind move up, so that positions count what is left.
   *
   * @param sequence Which; all by default.
   */
  evict(kept: Kept, sequence?: number): void {
    this.#beginChange("evict");
    const { keepFirst, keepLast } = Object(kept) as Kept;
    checkCount("keepFirst", keepFirst);
    checkCount("keepLast", keepLast);
    if (sequence !== undefined) this.#check(sequence);
    const all = sequence === undefined ? [...this.lengths.keys()] : [sequence];
    this.#sequences.evict(all, keepFirst, keepLast);
  }

  /** All sequences as bytes, with a header that says what they are, and a checksum. */
  async save(): Promise<Uint8Array<ArrayBuffer>> {
    this.#open("save");
    this.#running++;
    try {
      return await encodeCache(this.#store, this.lengths, this.#sequences.pages);
    } finally {
      this.#running--;
    }
  }

  /**
   * Replaces all sequences by those that `save()` gave.
   *
   * @throws {RangeError} When the bytes are damaged, or of a cache of other sizes; nothing has changed.
   */
  load(bytes: Uint8Array): void {
    this.#beginChange("load");
    const saved = decodeCache(bytes, this.#store, this.options.batch);
    this.#checkCapacity("load", saved.lengths);
    this.#sequences.replace(saved.lengths);
    for (const [at, pages] of this.#sequences.pages.entries()) {
      for (const [index, page] of pages.entries()) {
        this.#store.restore(page, saved.pageOf(at, index));
      }
    }
  }

  /**
   * Attention to the cache, as `attention()`: causal means against each sequence's own length, so that
   * the last query sees its last token.
   *
   * @param q Queries, `[B, Hq, Nq, D]`; any Nq: one token, a few of speculative decoding, a chunk of a
   * prompt. Append their keys first.
   */
  attend<Data extends TensorData>(
    q: Tensor<Data>,
    options: CacheAttentionOptions & { readonly lse: true },
  ): Promise<AttentionResultWithLse<Data>>;
  /** The same without `lse`. */
  attend<Data extends TensorData>(
    q: Tensor<Data>,
    options?: CacheAttentionOptions,
  ): Promise<AttentionResult<Data>>;
  async attend<Data extends TensorData>(
    q: Tensor<Data>,
    options: CacheAttentionOptions = {},
  ): Promise<AttentionResult<Data>> {
    const plan = this.#plan(q, options);
    this.#running++;
    try {
      return await runPlan(this.#backend, plan, q, options);
    } finally {
      this.#running--;
    }
  }

  /** The same without a promise. Wasm only. */
  attendSync<Data extends TensorData>(
    q: Tensor<Data>,
    options: CacheAttentionOptions & { readonly lse: true },
  ): AttentionResultWithLse<Data>;
  /** The same without `lse`. */
  attendSync<Data extends TensorData>(
    q: Tensor<Data>,
    options?: CacheAttentionOptions,
  ): AttentionResult<Data>;
  attendSync<Data extends TensorData>(
    q: Tensor<Data>,
    options: CacheAttentionOptions = {},
  ): AttentionResult<Data> {
    const plan = this.#plan(q, options);
    this.#running++;
    try {
      return runPlanSync(this.#backend, plan, q, options);
    } finally {
      this.#running--;
    }
  }

  #plan(q: AnyTensor, options: CacheAttentionOptions): AttentionPlan {
    this.#open("attend");
    const paged: PagedKeys = { store: this.#store, pages: this.#sequences.pages };
    return planCached(q, paged, this.lengths, options);
  }

  #checkCapacity(doing: string, lengths: readonly number[]): void {
    const full = lengths.findIndex((length) => length > this.#capacity);
    if (full < 0) return;
    throw new RangeError(
      `Cannot ${doing}: sequence ${full} has ${this.lengths[full]} tokens and would have ` +
        `${lengths[full]}, \`capacity\` is ${this.#capacity}`,
    );
  }

  #check(sequence: number): void {
    checkSequence(sequence, this.options.batch);
  }

  #open(doing: string): void {
    if (this.#freed) throw new Error(`Cannot ${doing}: the cache was freed`);
  }

  /** Nothing may change under a call that reads it. */
  #beginChange(doing: string): void {
    this.#open(doing);
    if (this.#running > 0) {
      throw new Error(`Cannot ${doing}: a call reads the cache, wait for it first`);
    }
  }
}
