/**
 * Lending: which bytes of an engine's memory callers have as tensors, and which calls use them. What
 * is freed meanwhile goes back when the last of these calls settles.
 *
 * @module
 */

/** Memory that is lent to a caller: a block, or a buffer on the GPU. */
export class Lent {
  readonly #giveBack: () => void;
  #users = 0;
  #isFreed = false;

  /** `giveBack` is called once, when it is freed and nobody uses it any more. */
  constructor(giveBack: () => void) {
    this.#giveBack = giveBack;
  }

  /** Throws where it was freed: somebody else may have it by now. */
  check(): void {
    if (this.#isFreed) throw new TypeError("Cannot use a tensor after `free()`");
  }

  use(): void {
    this.#users++;
  }

  /** Whether the caller has given it back. */
  get isFreed(): boolean {
    return this.#isFreed;
  }

  /** Ends one use. */
  leave(): void {
    if (--this.#users === 0 && this.#isFreed) this.#giveBack();
  }

  /** Ends what the caller has of it. */
  free(): void {
    if (this.#isFreed) return;
    this.#isFreed = true;
    if (this.#users === 0) this.#giveBack();
  }
}

/** A memory that blocks are lent of. */
export interface Lender {
  /** Its buffer by now: a memory that grows has another. */
  readonly buffer: ArrayBufferLike;
  /** What is lent that has all of these bytes; `undefined` where nothing has. */
  lentAt(byteOffset: number, byteLength: number): Lent | undefined;
}

/** By every buffer that a lender has had: old ones of a shared memory still reach its bytes. */
const lenders = new WeakMap<ArrayBufferLike, Lender>();

/** Tells whose a buffer is. */
export function registerBuffer(buffer: ArrayBufferLike, lender: Lender): void {
  lenders.set(buffer, lender);
}

/** Whose memory a buffer is, or was; `undefined` where it is no engine's. */
export function lenderOf(buffer: ArrayBufferLike): Lender | undefined {
  return lenders.get(buffer);
}

/** Buffers on the GPU that are lent. */
const lentBuffers = new WeakMap<GPUBuffer, Lent>();

/** Tells that a buffer on the GPU is lent. */
export function registerLent(buffer: GPUBuffer, lent: Lent): void {
  lentBuffers.set(buffer, lent);
}

/** What has elements: in an array that knows whose memory it is in, or in a buffer. */
type Used = { readonly data: { readonly lent?: Lent } | GPUBuffer } | null;

function lentOf(used: Used): Lent | undefined {
  if (used === null) return undefined;
  const { data } = used;
  return "lent" in data ? data.lent : lentBuffers.get(data as GPUBuffer);
}

/**
 * Begins the use of all that a call reads and writes, or throws and uses nothing.
 *
 * @returns What ends it.
 */
export function useAll(all: readonly Used[]): () => void {
  const used: Lent[] = [];
  for (const one of all) {
    const lent = lentOf(one);
    lent?.check();
    if (lent !== undefined) used.push(lent);
  }
  for (const lent of used) lent.use();
  return () => {
    for (const lent of used) lent.leave();
  };
}
