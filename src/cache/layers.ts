/**
 * A cache of all layers of a model: a cache for each, and what is done to a sequence is done to it in all of
 * them, or in none.
 *
 * @module
 */

import { holdArray } from "../check/tensors.ts";
import { isExtent, kindOf, readOptions } from "../check/words.ts";
import type { Backend } from "../contract/backend.ts";
import type { CacheAttentionOptions } from "../operations/attention/options.ts";
import type { Asking, ResultOf } from "../operations/attention/result.ts";
import { arrayKind, joinBytes } from "../tensor/arrays.ts";
import type { TensorData } from "../tensor/dtype.ts";
import type { AnyTensor, NumberList, Tensor } from "../tensor/tensor.ts";
import {
  cannotMake,
  checkCount,
  checkEvicts,
  checkSequence,
  checkSize,
  optionNames,
  readKept,
  readOrder,
} from "./check.ts";
import { beginChangeOf, KvCache, loadingOf, sequencesOf } from "./kv_cache.ts";
import type { AppendOptions, Kept, KvCacheOptions, LayeredKvCacheOptions } from "./options.ts";
import type { Change } from "./sequences.ts";
import type { StepOptions } from "./step.ts";

/** Layers at most. */
const mostLayers = 1024;

const magic = 0x4c4b5446; // "FTKL"
const cannotLoad = "Cannot load a cache";

/**
 * A cache for each layer of a model, made by `engine.kvCache({ layers, ... })`. Layers are appended to one by
 * one; what changes sequences changes those of all layers, which must have the same tokens then.
 *
 * ```ts
 * import { createEngine, tensor } from "@flashtile/attention";
 *
 * const engine = await createEngine({ backend: "wasm" });
 * const cache = engine.kvCache({ layers: 4, batch: 2, kvHeads: 2, headDim: 64 });
 * const q = tensor(new Float32Array(8 * 10 * 64), [1, 8, 10, 64]);
 * const k = tensor(new Float32Array(2 * 10 * 64), [1, 2, 10, 64]);
 * for (let layer = 0; layer < 4; layer++) {
 *   await cache.step(layer, q, k, k, { causal: true, sequences: [0], rope: {} });
 * }
 * cache.fork(0, 1);
 * cache.truncate(1, 7);
 * console.log(cache.lengths); // [10, 7]
 * await engine.close();
 * ```
 */
export class LayeredKvCache implements Disposable {
  /** What it was made with, defaults filled in. */
  readonly options: KvCache["options"] & { readonly layers: number };
  readonly #layers: readonly KvCache[];
  #isFreed = false;

  /** For `engine.kvCache()`. */
  constructor(backend: Backend, layers: number, given: KvCacheOptions) {
    const caches: KvCache[] = [];
    try {
      for (let layer = 0; layer < layers; layer++) caches.push(new KvCache(backend, given));
    } catch (error) {
      for (const cache of caches) cache.free();
      throw error;
    }
    this.#layers = caches;
    this.options = Object.freeze({ layers, ...caches[0].options });
  }

  /** Tokens of each sequence that all layers have. */
  get lengths(): readonly number[] {
    const all = this.#layers.map(({ lengths }) => lengths);
    return all[0].map((_, at) => Math.min(...all.map((lengths) => lengths[at])));
  }

  /** Bytes of the pages in use. */
  get bytes(): number {
    return this.#layers.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** Pages in use. */
  get pages(): number {
    return this.#layers.reduce((sum, { pages }) => sum + pages, 0);
  }

  /**
   * The cache of a layer, for what takes one.
   *
   * @throws {RangeError} When there is no such layer.
   */
  layer(layer: number): KvCache {
    if (isExtent(layer) && layer < this.#layers.length) return this.#layers[layer];
    throw new RangeError(
      `Cannot find a layer: it must be a whole number from 0 to ${this.#layers.length - 1}, ` +
        `got ${kindOf(layer)}`,
    );
  }

  /** Appends tokens to a layer, as {@linkcode KvCache.append}. */
  append(layer: number, keys: AnyTensor, values: AnyTensor, options?: AppendOptions): void {
    this.layer(layer).append(keys, values, options);
  }

  /** Attends to a layer, as {@linkcode KvCache.attend}. */
  async attend<
    Data extends TensorData,
    Lse extends boolean | undefined = boolean | undefined,
    Out extends AnyTensor | undefined = undefined,
  >(
    layer: number,
    q: Tensor<Data>,
    options?: Asking<CacheAttentionOptions, Lse, Out>,
  ): Promise<ResultOf<Data, Lse, Out>> {
    return await this.layer(layer).attend(q, options);
  }

  /** The same without a promise. Wasm only. */
  attendSync<
    Data extends TensorData,
    Lse extends boolean | undefined = boolean | undefined,
    Out extends AnyTensor | undefined = undefined,
  >(
    layer: number,
    q: Tensor<Data>,
    options?: Asking<CacheAttentionOptions, Lse, Out>,
  ): ResultOf<Data, Lse, Out> {
    return this.layer(layer).attendSync(q, options);
  }

  /** Turns, appends and attends in a layer, as {@linkcode KvCache.step}. */
  async step<
    Data extends TensorData,
    Lse extends boolean | undefined = boolean | undefined,
    Out extends AnyTensor | undefined = undefined,
  >(
    layer: number,
    q: Tensor<Data>,
    k: AnyTensor,
    v: AnyTensor,
    options?: Asking<StepOptions, Lse, Out>,
  ): Promise<ResultOf<Data, Lse, Out>> {
    return await this.layer(layer).step(q, k, v, options);
  }

  /**
   * Keeps the first `length` tokens of a sequence in all layers, also where some of them have more than
   * others: what a pass that failed has appended is forgotten so.
   */
  truncate(sequence: number, length: number): void {
    this.#begin("truncate");
    this.#check(sequence);
    checkCount("length", length, this.lengths[sequence]);
    const all = this.#layers.map(sequencesOf);
    for (const one of all) one.checkThere("truncate", sequence, length, true);
    for (const one of all) one.truncate(sequence, length);
  }

  /** Keeps some of a sequence's newest tokens, as {@linkcode KvCache.keep}. */
  keep(sequence: number, indices: NumberList): void {
    this.#begin("keep tokens");
    this.#check(sequence);
    const kept = readKept(indices, this.lengths[sequence]);
    this.#beginTogether("keep tokens");
    this.#change((one) => sequencesOf(one).keep(sequence, kept));
  }

  /** Forgets all tokens of a sequence. */
  free(sequence: number): void;
  /** Frees the cache: its pages go back to the engine. */
  free(): void;
  free(sequence?: number): void {
    if (sequence !== undefined) return this.truncate(sequence, 0);
    if (this.#isFreed) throw new Error("Cannot free: the cache was freed");
    // Where a call still reads one, those before it are free the next time.
    for (const one of this.#layers) one[Symbol.dispose]();
    this.#isFreed = true;
  }

  /** As `free()`, unless that was called. */
  [Symbol.dispose](): void {
    if (!this.#isFreed) this.free();
  }

  /** Lets another sequence continue from the tokens of this one, as {@linkcode KvCache.fork}. */
  fork(from: number, to: number = this.lengths.indexOf(0)): number {
    this.#beginTogether("fork");
    for (const one of this.#layers) to = one.fork(from, to);
    return to;
  }

  /** Lets every sequence continue from the tokens that another one had, as {@linkcode KvCache.reorder}. */
  reorder(indices: NumberList): void {
    this.#begin("reorder");
    const from = readOrder(indices, this.options.batch);
    this.#beginTogether("reorder");
    for (const one of this.#layers) sequencesOf(one).reorder(from);
  }

  /** Forgets the tokens between the first and the last ones, as {@linkcode KvCache.evict}. */
  evict(kept: Kept, sequence?: number): void {
    this.#begin("evict");
    checkEvicts(sequencesOf(this.#layers[0]).keeping);
    const { keepFirst, keepLast } = Object(kept) as Kept;
    checkCount("keepFirst", keepFirst);
    checkCount("keepLast", keepLast);
    if (sequence !== undefined) this.#check(sequence);
    this.#beginTogether("evict");
    const all = sequence === undefined ? [...this.lengths.keys()] : [sequence];
    this.#change((one) => sequencesOf(one).evict(all, keepFirst, keepLast));
  }

  /** All sequences, or one, of all layers as bytes. */
  async save(sequence?: number): Promise<Uint8Array<ArrayBuffer>> {
    this.#checkTogether("save");
    const saved = await Promise.all(this.#layers.map((one) => one.save(sequence)));
    const head = Uint32Array.of(magic, saved.length, ...saved.map(({ length }) => length));
    return joinBytes([new Uint8Array(head.buffer), ...saved]);
  }

  /**
   * Replaces all sequences, or one, by what `save()` gave.
   *
   * @throws {RangeError} When the bytes are damaged, or of a cache of other sizes; nothing has changed.
   */
  load(bytes: Uint8Array, sequence?: number): void {
    this.#begin("load");
    const parts = splitLayers(bytes, this.#layers.length);
    let first: readonly number[] | undefined;
    this.#change((one, layer) => {
      const loading = loadingOf(one, parts[layer], sequence);
      first ??= loading.lengths;
      if (`${loading.lengths}` === `${first}`) return loading;
      loading.drop();
      throw new RangeError(
        `${cannotLoad}: layer ${layer} has ${loading.lengths} tokens where layer 0 has ${first}`,
      );
    });
  }

  /** Makes a change in all layers, or in none. */
  #change(of: (cache: KvCache, layer: number) => Change): void {
    const changes: Change[] = [];
    try {
      for (const [layer, one] of this.#layers.entries()) changes.push(of(one, layer));
    } catch (error) {
      for (const change of changes) change.drop();
      throw error;
    }
    for (const change of changes) change.make();
  }

  #check(sequence: number): void {
    checkSequence(sequence, this.options.batch);
  }

  #begin(doing: string): void {
    for (const one of this.#layers) beginChangeOf(one, doing);
  }

  /** The same, of what needs the same tokens in all layers. */
  #beginTogether(doing: string): void {
    this.#begin(doing);
    this.#checkTogether(doing);
  }

  #checkTogether(doing: string): void {
    const [first, ...others] = this.#layers.map(({ lengths }) => `${lengths}`);
    const other = others.findIndex((lengths) => lengths !== first);
    if (other < 0) return;
    throw new RangeError(
      `Cannot ${doing}: layer ${other + 1} has ${
        others[other]
      } tokens where layer 0 has ${first}; ` +
        "append to all layers, or `truncate()` what only some have",
    );
  }
}

/** The bytes of each layer, of bytes that `save()` gave. */
function splitLayers(given: Uint8Array, layers: number): readonly Uint8Array[] {
  const cannot = cannotLoad;
  if (arrayKind(given) !== "Uint8Array") {
    throw new TypeError(`${cannot}: \`bytes\` must be a Uint8Array`);
  }
  const held = holdArray("bytes", given, cannot), head = (2 + layers) * 4;
  held.lent?.check();
  const bytes = held.now().slice();
  const words = new Uint32Array(bytes.buffer, 0, Math.floor(Math.min(bytes.length, head) / 4));
  if (words[0] !== magic) {
    throw new RangeError(`${cannot}: the bytes are no saved cache of layers`);
  }
  if (words[1] !== layers) {
    throw new RangeError(
      `${cannot}: it was saved with layers = ${words[1]}, this one has ${layers}`,
    );
  }
  let end = head;
  const parts = Array.from(words.subarray(2), (length) => bytes.slice(end, end += length));
  if (parts.length === layers && end === bytes.length) return parts;
  throw new RangeError(`${cannot}: its layers do not fill the ${bytes.length} bytes`);
}

/** Makes a cache, or one of all layers. */
export function makeCache(
  backend: Backend,
  options: KvCacheOptions | LayeredKvCacheOptions,
): KvCache | LayeredKvCache {
  const { layers, ...given } = readOptions(
    options as LayeredKvCacheOptions,
    [...optionNames, "layers"],
    cannotMake,
  );
  if (layers === undefined) return new KvCache(backend, given);
  checkSize("layers", layers);
  if (layers > mostLayers) {
    throw new RangeError(`${cannotMake}: \`layers\` must be at most ${mostLayers}, got ${layers}`);
  }
  return new LayeredKvCache(backend, layers, given);
}
