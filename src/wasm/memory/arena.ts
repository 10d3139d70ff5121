/**
 * The arena: who owns which bytes of linear memory.
 *
 * First fit over a list of free spans in address order, neighbours joined when one is freed, so that
 * calls of mixed shapes settle on the memory that the largest of them needs.
 *
 * @module
 */

import { type Lender, Lent, registerBuffer } from "../../tensor/lending.ts";

/** Bytes of a page of Wasm memory. */
export const pageBytes = 65536;

/** Alignment of every block: a cache line. */
const alignment = 64;

/**
 * Bytes behind each block that belong to it but not to its owner: kernels read vectors of four
 * columns and may look past the end of a last row.
 */
const slack = 16;

/** Pages asked for at once, so that many small blocks do not each grow the memory. */
const growthPages = 16;

/** Bytes that the system provides at the first write to one of them. */
const systemPageBytes = 4096;

interface Span {
  at: number;
  bytes: number;
}

/** A block that a caller has. */
interface LentBlock {
  readonly lent: Lent;
  readonly bytes: number;
}

/** For tests: so many bytes before and behind each block, and who is told of blocks. */
export const watch: {
  around: number;
  /** A block `at` of `wanted` bytes was taken; all bytes of `span` are its. */
  taken?(memory: WebAssembly.Memory, at: number, wanted: number, span: Span): void;
  /** It is given back. */
  given?(memory: WebAssembly.Memory, at: number): void;
} = { around: 0 };

/** Allocates blocks of a Wasm memory above `base`. */
export class Arena implements Lender {
  readonly memory: WebAssembly.Memory;
  readonly #maximumBytes: number;
  readonly #blocks = new Map<number, Span>();
  /** Those that callers have as tensors, by address. */
  readonly #lent = new Map<number, LentBlock>();
  #free: Span[];
  /** Up to here bytes may have been written; above, fresh memory is zero. */
  #touched: number;
  /** Up to here the system has provided memory. */
  #provided = 0;

  constructor(memory: WebAssembly.Memory, base: number, maximumBytes: number) {
    this.memory = memory;
    this.#maximumBytes = maximumBytes;
    const at = roundUp(base, alignment);
    this.#free = [{ at, bytes: memory.buffer.byteLength - at }];
    this.#touched = at;
    registerBuffer(memory.buffer, this);
  }

  get buffer(): ArrayBufferLike {
    return this.memory.buffer;
  }

  /** Bytes reserved from the system. */
  get reservedBytes(): number {
    return this.memory.buffer.byteLength;
  }

  /** Bytes in blocks that are not freed. */
  get usedBytes(): number {
    let used = 0;
    for (const { bytes } of this.#blocks.values()) used += bytes;
    return used;
  }

  /**
   * Takes a block, growing the memory when no free span is large enough.
   *
   * @throws {RangeError} When the memory cannot grow as far; nothing has changed then.
   */
  allocate(bytes: number): number {
    const { around } = watch;
    const size = roundUp(bytes + slack + around, alignment) + around;
    const span = this.#free.find((free) => free.bytes >= size) ?? this.#grow(size, bytes);
    const block = { at: span.at, bytes: size }, at = span.at + around;
    span.at += size;
    span.bytes -= size;
    if (span.bytes === 0) this.#free.splice(this.#free.indexOf(span), 1);
    this.#blocks.set(at, block);
    this.#touched = Math.max(this.#touched, span.at);
    watch.taken?.(this.memory, at, bytes, block);
    return at;
  }

  /** The same, with every byte 0; only memory that was used before is written. */
  allocateZeroed(bytes: number): number {
    const touched = this.#touched;
    const at = this.allocate(bytes);
    const used = Math.min(bytes, touched - at);
    if (used > 0) new Uint8Array(this.memory.buffer, at, used).fill(0);
    return at;
  }

  /** Lends a block of zeros, which comes back when it is freed and nobody uses it any more. */
  lend(bytes: number): { readonly at: number; readonly lent: Lent } {
    const at = this.allocateZeroed(bytes);
    const lent = new Lent(() => {
      this.#lent.delete(at);
      this.free(at);
    });
    this.#lent.set(at, { lent, bytes });
    return { at, lent };
  }

  lentAt(at: number, bytes: number): Lent | undefined {
    const exact = this.#lent.get(at);
    if (exact !== undefined && bytes <= exact.bytes) return exact.lent;
    for (const [from, block] of this.#lent) {
      if (from <= at && at + bytes <= from + block.bytes) return block.lent;
    }
    return undefined;
  }

  /**
   * Has the system provide `bytes` more of the memory that no block has had yet, up to `ahead` of it:
   * its first write to 4 KiB costs microseconds, which the call that takes a large block would spend at
   * once. Where the memory cannot grow, nothing happens.
   */
  provide(bytes: number, ahead: number): void {
    const end = Math.min(this.#touched + ahead, this.#maximumBytes);
    const from = Math.max(this.#provided, this.#touched), to = Math.min(from + bytes, end);
    if (to <= from) return;
    const missing = Math.ceil((end - this.reservedBytes) / pageBytes);
    if (missing > 0 && !this.#extend(missing)) return;
    const memory = new Uint8Array(this.memory.buffer);
    for (let at = from; at < to; at += systemPageBytes) memory[at] = 0;
    this.#provided = to;
  }

  /** Gives a block back. */
  free(at: number): void {
    const block = this.#blocks.get(at);
    if (block === undefined) return;
    this.#blocks.delete(at);
    watch.given?.(this.memory, at);
    this.#insert(block);
  }

  #insert(span: Span): void {
    const next = this.#free.findIndex((free) => free.at > span.at);
    const index = next < 0 ? this.#free.length : next;
    this.#free.splice(index, 0, span);
    this.#join(index);
    if (index > 0) this.#join(index - 1);
  }

  /** Joins a span with the one behind it when they touch. */
  #join(index: number): void {
    const [span, next] = [this.#free[index], this.#free[index + 1]];
    if (next === undefined || span.at + span.bytes !== next.at) return;
    span.bytes += next.bytes;
    this.#free.splice(index + 1, 1);
  }

  /** Grows the memory until its last free span holds `size` bytes, and returns that span. */
  #grow(size: number, wanted: number): Span {
    const end = this.reservedBytes;
    const last = this.#free.at(-1);
    const atEnd = last !== undefined && last.at + last.bytes === end ? last.bytes : 0;
    if (!this.#extend(Math.ceil((size - atEnd) / pageBytes))) {
      throw new RangeError(
        `Cannot allocate ${wanted} bytes of Wasm memory: ${this.usedBytes} are in use, ` +
          `the memory may have ${this.#maximumBytes}`,
      );
    }
    return this.#free.at(-1)!;
  }

  /** Grows by some pages more than are needed, or by only those when the system has no more. */
  #extend(needed: number): boolean {
    const end = this.reservedBytes, most = Math.floor((this.#maximumBytes - end) / pageBytes);
    if (needed > most) return false;
    for (const count of new Set([Math.min(roundUp(needed, growthPages), most), needed])) {
      try {
        this.memory.grow(count);
        registerBuffer(this.memory.buffer, this);
        this.#insert({ at: end, bytes: this.reservedBytes - end });
        return true;
      } catch {
        // The system refused; a smaller step may still go.
      }
    }
    return false;
  }
}

/** The smallest multiple of `unit` that is not below `value`. */
export function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}
