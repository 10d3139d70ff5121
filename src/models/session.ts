/**
 * A decoder's sessions: sequences that grow token by token, with what attention needs of them in caches.
 *
 * @module
 */

import type { LayeredKvCache } from "../cache/layers.ts";
import type { SignalLike } from "../check/errors.ts";
import { isExtent, kindOf, readOptions } from "../check/words.ts";
import type { CacheDType } from "../contract/pages.ts";
import type { Calls } from "./forward/calls.ts";
import { CacheStep } from "./forward/cache_step.ts";
import { forward, type Heads } from "./forward/forward.ts";
import { linear } from "./forward/layers.ts";
import type { Steps } from "./forward/steps.ts";
import type { LayerWeights } from "./forward/weights.ts";
import type { Resident } from "./load.ts";
import { checkLength, readIds } from "./texts.ts";
import type { AnyTensor, NumberList, Tensor } from "../tensor/tensor.ts";

/** Options of `decoder.session()`. */
export interface SessionOptions {
  /** Sequences; 1 by default. */
  readonly batch?: number | undefined;
  /** How keys and values are stored; f32 by default. */
  readonly dtype?: CacheDType | undefined;
}

const sessionNames = ["batch", "dtype"] as const satisfies readonly (keyof SessionOptions)[];

/** Options of what a session does. */
export interface PassOptions {
  /** Ends the call, which then rejects with `signal.reason`; the session is as it was. */
  readonly signal?: SignalLike | null | undefined;
}

/** All of them, by name. */
export const passNames = ["signal"] as const satisfies readonly (keyof PassOptions)[];

/** Sequences of a decoder, each of its own length. */
export interface DecoderSession extends Disposable {
  /** Tokens of each sequence. */
  readonly lengths: readonly number[];
  /** Bytes that keys and values take. */
  readonly bytes: number;
  /**
   * Appends tokens to a sequence: a prompt, or a part of one.
   *
   * @param ids At least one.
   * @param sequence Which; the first by default.
   * @returns Logits of what follows them.
   * @throws {RangeError} When ids are out of range, or there would be more tokens than the model takes.
   */
  prefill(ids: NumberList, sequence?: number, options?: PassOptions): Promise<Float32Array>;
  /**
   * Appends a token to each sequence.
   *
   * @param ids One for each sequence; `null` for one that stays as it is.
   * @returns Logits `[batch, vocabulary]`; those of a sequence that stayed are 0.
   */
  step(ids: readonly (number | null)[], options?: PassOptions): Promise<Tensor>;
  /**
   * Lets another sequence continue from the tokens of one: the memory is shared until one of them grows.
   *
   * @throws {Error} While a pass of the session runs, as all of these.
   */
  fork(from: number, to: number): void;
  /** Keeps the first tokens of a sequence. */
  truncate(sequence: number, length: number): void;
  /** All sequences as bytes. */
  save(): Promise<Uint8Array<ArrayBuffer>>;
  /**
   * Replaces all sequences by those that `save()` gave of a session of the same sizes.
   *
   * @throws {RangeError} When the bytes are of another one, or damaged: the session is as it was.
   */
  load(bytes: Uint8Array): void;
  /** Gives the memory back. */
  free(): void;
}

/** What messages of errors begin with. */
export const cannot = "Cannot continue";

/** Tokens of a pass: more than that, and nothing becomes faster. */
export const chunkTokens = 256;

/** What rows of a pass belong to: B sequences of N rows, of which some may not count. */
interface Chunk {
  readonly ids: Int32Array;
  readonly positions: Int32Array;
  readonly batch: number;
  /** Rows of each sequence of the cache that count. */
  readonly counts: readonly number[];
}

/** Keys and values of all layers. */
export class Session implements DecoderSession {
  readonly #resident: Resident;
  readonly #cache: LayeredKvCache;
  readonly #batch: number;
  readonly #maxTokens: number;
  readonly #forget: () => void;
  /** Passes that run, or wait. */
  #running = 0;

  /** Makes the cache of a model. */
  constructor(resident: Resident, maxTokens: number, options: SessionOptions = {}) {
    const { batch = 1, dtype } = readOptions(options, sessionNames, "Cannot begin a session");
    resident.checkOpen("Cannot begin a session");
    const { plan: { kvHeads, headDim, layers: { length: layers } }, engine } = resident.running;
    this.#resident = resident;
    this.#batch = batch;
    this.#maxTokens = maxTokens;
    const sizes = { layers, batch, kvHeads, headDim, dtype, capacity: maxTokens };
    this.#cache = engine.kvCache(sizes);
    this.#forget = resident.keep(() => this.#cache[Symbol.dispose]());
  }

  get lengths(): readonly number[] {
    return this.#cache.lengths;
  }

  get bytes(): number {
    return this.#cache.bytes;
  }

  async prefill(
    given: NumberList,
    sequence = 0,
    options: PassOptions = {},
  ): Promise<Float32Array> {
    const { signal } = readOptions(options, passNames, cannot), { plan } = this.#resident.running;
    const ids = readIds(given, plan.vocabulary, "ids", cannot);
    this.#checkSequence(sequence);
    const logits = new Float32Array(plan.vocabulary);
    await this.#run(function* (session: Session, calls: Calls) {
      session.#checkRoom(sequence, ids.length);
      yield* session.append(calls, ids, sequence, function* (x, first, rows) {
        const last = ids.length - 1 - first;
        if (last < rows) yield* session.#writeLogits(calls, x, last, 1, logits);
      });
    }, signal);
    return logits;
  }

  async step(given: readonly (number | null)[], options: PassOptions = {}): Promise<Tensor> {
    const { signal } = readOptions(options, passNames, cannot);
    const { vocabulary } = this.#resident.running.plan, batch = this.#batch;
    const { ids, counts } = readStepIds(given, batch, vocabulary);
    const logits = new Float32Array(batch * vocabulary);
    await this.#run(function* (session: Session, calls: Calls) {
      counts.forEach((count, at) => session.#checkRoom(at, count));
      const positions = Int32Array.from(session.lengths);
      const x = yield* session.#pass(calls, { ids, positions, batch, counts });
      yield* session.#writeLogits(calls, x, 0, batch, logits);
    }, signal);
    clearStayed(logits, counts);
    return { data: logits, shape: [batch, vocabulary] };
  }

  /** Appends tokens chunk by chunk; `take` is told where the states of each are. */
  *append(
    calls: Calls,
    ids: readonly number[],
    sequence: number,
    take: (x: () => AnyTensor, first: number, rows: number) => Steps,
  ): Steps {
    const before = this.lengths[sequence];
    for (let first = 0; first < ids.length; first += chunkTokens) {
      const some = Int32Array.from(ids.slice(first, first + chunkTokens)), { length } = some;
      const positions = Int32Array.from(some, (_, at) => before + first + at);
      const counts = this.lengths.map((_, at) => at === sequence ? length : 0);
      const x = yield* this.#pass(calls, { ids: some, positions, batch: 1, counts });
      yield* take(x, first, length);
      calls.submit();
    }
  }

  fork(from: number, to: number): void {
    this.#checkIdle("fork");
    this.#checkSequence(from);
    this.#checkSequence(to);
    this.#cache.fork(from, to);
  }

  truncate(sequence: number, length: number): void {
    this.#checkIdle("truncate");
    this.#checkSequence(sequence);
    this.#cache.truncate(sequence, length);
  }

  async save(): Promise<Uint8Array<ArrayBuffer>> {
    this.#checkIdle("save");
    return await this.#cache.save();
  }

  load(bytes: Uint8Array): void {
    this.#checkIdle("load");
    this.#cache.load(bytes);
  }

  free(): void {
    this.#forget();
    this.#cache[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    this.free();
  }

  /** Runs a pass; where it fails the sequences are as they were. */
  async #run(
    pass: (session: Session, calls: Calls) => Steps,
    signal: SignalLike | null | undefined,
  ) {
    this.#running++;
    try {
      await this.#resident.run((calls) => this.#undone(pass, calls), signal);
    } finally {
      this.#running--;
    }
  }

  *#undone(pass: (session: Session, calls: Calls) => Steps, calls: Calls): Steps {
    const before = this.lengths;
    let isDone = false;
    try {
      yield* pass(this, calls);
      yield calls.finish();
      isDone = true;
    } finally {
      if (!isDone) this.#undo(before);
    }
  }

  /** A model that was freed meanwhile has no sequences any more. */
  #undo(before: readonly number[]): void {
    try {
      this.#resident.checkOpen();
    } catch {
      return;
    }
    before.forEach((length, at) => this.#cache.truncate(at, length));
  }

  *#pass(calls: Calls, { ids, positions, batch, counts }: Chunk): Steps<() => AnyTensor> {
    // A step has a row of each sequence, of which some may not count; what is appended else is of one.
    const step = new CacheStep(
      calls,
      batch === this.#batch
        ? { lengths: counts }
        : { sequences: [counts.findIndex((count) => count > 0)] },
    );
    const attend = (heads: () => Heads, layer: LayerWeights, at: number) =>
      this.#attend(step, heads, layer, at);
    return yield* forward(this.#resident.running, { calls, ids, positions, batch, attend });
  }

  *#attend(step: CacheStep, heads: () => Heads, { window }: LayerWeights, at: number): Steps {
    const { scale, softcap, isCausal: causal } = this.#resident.running.plan;
    yield step.run(this.#cache.layer(at), heads, { causal, window, scale, softcap });
  }

  /** Logits of some rows of states. */
  *#writeLogits(
    calls: Calls,
    x: () => AnyTensor,
    first: number,
    rows: number,
    to: Float32Array,
  ): Steps {
    yield* writeLogits(this.#resident, calls, x(), { first, rows }, to);
  }

  /** Layers must not change between one and the next. */
  #checkIdle(doing: string): void {
    this.#resident.checkOpen(`Cannot ${doing}`);
    if (this.#running === 0) return;
    throw new Error(`Cannot ${doing}: a pass of the session runs, wait for it first`);
  }

  #checkSequence(sequence: number): void {
    checkSequence(sequence, this.#batch);
  }

  #checkRoom(sequence: number, more: number): void {
    checkLength(this.lengths[sequence] + more, this.#maxTokens, "ids", cannot);
  }
}

/** Checks the number of a sequence. */
export function checkSequence(sequence: number, batch: number): void {
  if (isExtent(sequence) && sequence < batch) return;
  throw new RangeError(
    `${cannot}: the sequence must be a whole number from 0 to ${batch - 1}, got ${
      kindOf(sequence)
    }`,
  );
}

/** Reads the ids of a step, and which of the sequences have one. */
export function readStepIds(
  given: readonly (number | null)[],
  batch: number,
  vocabulary: number,
): { readonly ids: Int32Array; readonly counts: readonly number[] } {
  if (!Array.isArray(given) || given.length !== batch) {
    throw new RangeError(
      `${cannot}: \`ids\` must be ${batch}, one for each sequence, or null, got ${
        Array.isArray(given) ? given.length : kindOf(given)
      }`,
    );
  }
  const idOf = (id: number | null, at: number) =>
    id === null ? 0 : readIds([id], vocabulary, `ids[${at}]`, cannot)[0];
  return { counts: given.map((id) => Number(id !== null)), ids: Int32Array.from(given, idOf) };
}

/** Logits of sequences that stayed as they were are 0. */
export function clearStayed(logits: Float32Array, counts: readonly number[]): void {
  const vocabulary = logits.length / counts.length;
  for (const [at, count] of counts.entries()) {
    if (count === 0) logits.fill(0, at * vocabulary, (at + 1) * vocabulary);
  }
}

/** Logits of some rows of states, of which each is `[vocabulary]`. */
export function* writeLogits(
  { running }: Resident,
  calls: Calls,
  { data, dtype, shape: [, width], offset = 0 }: AnyTensor,
  { first, rows }: { readonly first: number; readonly rows: number },
  to: Float32Array,
): Steps {
  const { weights: { head }, plan: { vocabulary, logitSoftcap: cap }, precision } = running;
  const x = { data, dtype, shape: [rows, width], offset: offset + first * width };
  yield linear(calls, x, head!, { data: to, shape: [rows, vocabulary] }, { precision });
  if (cap === undefined) return;
  for (let at = 0; at < to.length; at++) to[at] = cap * Math.tanh(to[at] / cap);
}
