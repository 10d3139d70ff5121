/**
 * Buffers: a pool of them, so that a call finds what the one before it left, a ring of uniforms, and the
 * parts of buffers that a shader reads and writes.
 *
 * @module
 */

import { blockBytes } from "../shader/parameters.ts";
import type { Gpu } from "./device.ts";

/** `GPUBufferUsage`, which has no name where the GPU comes from a package. */
export const usages = {
  mapRead: 0x1,
  copySource: 0x4,
  copyTarget: 0x8,
  uniform: 0x40,
  storage: 0x80,
} as const;

/** What buffers are for. */
export const roles = {
  /** Read and written by shaders, filled by uploads, copied to be read back. */
  storage: usages.storage | usages.copySource | usages.copyTarget,
  /** Read by the caller. */
  readBack: usages.mapRead | usages.copyTarget,
  uniform: usages.uniform | usages.copyTarget,
} as const;

/** Bytes of buffers that wait to be used again, at most. */
const mostIdleBytes = 64 * 1024 * 1024;

/** Bytes are rounded up to this, or to an eighth of their power of two. */
const smallestBytes = 1024;

/** Sizes that buffers are made in: some, so that one serves calls of nearly the same size. */
export function sizeClass(bytes: number): number {
  if (bytes <= smallestBytes) return smallestBytes;
  const step = 2 ** Math.max(8, Math.floor(Math.log2(bytes)) - 3);
  return Math.ceil(bytes / step) * step;
}

/** Makes a buffer; tells the caller where the device has no room for it. */
export async function createBuffer(
  { device, attempt }: Gpu,
  bytes: number,
  usage: number,
  label: string,
): Promise<GPUBuffer> {
  const most = device.limits.maxBufferSize;
  if (bytes > most) {
    throw new RangeError(
      `Cannot attend: ${bytes} bytes for ${label}, a buffer of this GPU may have ${most}`,
    );
  }
  const [buffer, refusal] = attempt(() =>
    device.createBuffer({ label: `FlashTile ${label}`, size: bytes, usage })
  );
  try {
    const error = await refusal;
    if (error === null) return buffer;
    throw new RangeError(`Cannot attend: no ${bytes} bytes for ${label}: ${error.message}`);
  } catch (error) {
    buffer.destroy();
    throw error;
  }
}

/** Lends buffers and keeps those that come back, up to a bound. */
export class BufferPool {
  readonly gpu: Gpu;
  /** By usage and size, those not lent; the least recently used first. */
  #idle: GPUBuffer[] = [];
  #bytes = 0;
  #closed = false;

  constructor(gpu: Gpu) {
    this.gpu = gpu;
  }

  /** Bytes of all buffers, lent or not. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Lends a buffer of at least so many bytes. What it holds is undefined. */
  async take(bytes: number, usage: number, label: string): Promise<GPUBuffer> {
    const wanted = Math.min(sizeClass(bytes), this.gpu.device.limits.maxBufferSize);
    const size = Math.max(wanted, bytes);
    const found = this.#idle.findLastIndex((one) => one.size === size && one.usage === usage);
    if (found >= 0) return this.#idle.splice(found, 1)[0];
    const buffer = await createBuffer(this.gpu, size, usage, label);
    this.#bytes += size;
    return buffer;
  }

  /** Takes a buffer back. The queue keeps what is under way apart from what comes later. */
  give(buffer: GPUBuffer): void {
    this.#idle.push(buffer);
    let idle = this.#idle.reduce((sum, { size }) => sum + size, 0);
    while (this.#closed ? this.#idle.length > 0 : idle > mostIdleBytes) {
      const oldest = this.#idle.shift()!;
      idle -= oldest.size;
      this.drop(oldest);
    }
  }

  /** Ends a lent buffer. */
  drop(buffer: GPUBuffer): void {
    this.#bytes -= buffer.size;
    buffer.destroy();
  }

  /** Stops counting a lent buffer, which lives on for as long as somebody needs it. */
  forget(buffer: GPUBuffer): void {
    this.#bytes -= buffer.size;
  }

  /** Ends all that are not lent, and the others when they come back. */
  close(): void {
    this.#closed = true;
    for (const buffer of this.#idle.splice(0)) this.drop(buffer);
  }
}

/**
 * Makes a buffer that many calls use. Those that use one which failed to be made are refused: it is
 * dropped, so that later ones get another.
 */
function createOrDrop(
  { device, attempt }: Gpu,
  descriptor: GPUBufferDescriptor,
  drop: (buffer: GPUBuffer) => void,
): GPUBuffer {
  const [buffer, refusal] = attempt(() => device.createBuffer(descriptor));
  refusal.then((error) => {
    if (error === null) return;
    drop(buffer);
    buffer.destroy();
  }, () => {}); // Lost devices are replaced with all that is theirs.
  return buffer;
}

/**
 * Places for uniforms, used in turn. A slot is written through the queue, after the work that was
 * submitted before: it can be written again as soon as its reader is submitted.
 */
export class UniformRing {
  readonly #gpu: Gpu;
  readonly #slotBytes: number;
  #buffer: GPUBuffer | undefined;
  #next = 0;

  constructor(gpu: Gpu) {
    const alignment = gpu.device.limits.minUniformBufferOffsetAlignment;
    this.#gpu = gpu;
    this.#slotBytes = Math.ceil(blockBytes / alignment) * alignment;
    this.#make();
  }

  #make(): GPUBuffer {
    const descriptor = {
      label: "FlashTile uniforms",
      size: this.#slotBytes * UniformRing.slots,
      usage: roles.uniform,
    };
    const drop = (buffer: GPUBuffer) => {
      if (this.#buffer === buffer) this.#buffer = undefined;
    };
    return this.#buffer = createOrDrop(this.#gpu, descriptor, drop);
  }

  /** Slots, at most as many as dispatches of a submit. */
  static readonly slots = 256;

  get bytes(): number {
    return this.#buffer?.size ?? 0;
  }

  write(block: Uint8Array<ArrayBuffer>): Binding {
    const buffer = this.#buffer ?? this.#make(), offset = this.#next * this.#slotBytes;
    this.#next = (this.#next + 1) % UniformRing.slots;
    this.#gpu.device.queue.writeBuffer(buffer, offset, block);
    return { buffer, offset, size: block.byteLength };
  }

  close(): void {
    this.#buffer?.destroy();
  }
}

/** A place for what is uploaded and read by the next submit; after that it is written again. */
export class Staging {
  readonly #gpu: Gpu;
  #buffer: GPUBuffer | undefined;
  #full: GPUBuffer[] = [];
  #used = 0;

  constructor(gpu: Gpu) {
    this.#gpu = gpu;
  }

  get bytes(): number {
    return this.#buffer?.size ?? 0;
  }

  /** Uploads arrays of whole words one after the other. */
  put(parts: readonly ArrayBufferView<ArrayBuffer>[]): Binding {
    const size = parts.reduce((sum, { byteLength }) => sum + byteLength, 0);
    if (this.#buffer === undefined || this.#used + size > this.#buffer.size) this.#grow(size);
    const buffer = this.#buffer!, offset = this.#used;
    let at = offset;
    for (const part of parts) {
      this.#gpu.device.queue.writeBuffer(buffer, at, part);
      at += part.byteLength;
    }
    // 256 is the widest alignment of bindings.
    this.#used = Math.ceil(at / 256) * 256;
    return { buffer, offset, size };
  }

  /** Told when all that was put here is submitted. */
  reset(): void {
    for (const buffer of this.#full.splice(0)) buffer.destroy();
    this.#used = 0;
  }

  close(): void {
    this.reset();
    this.#buffer?.destroy();
    this.#buffer = undefined;
  }

  #grow(size: number): void {
    if (this.#buffer !== undefined) this.#full.push(this.#buffer);
    const descriptor = {
      label: "FlashTile uploads",
      size: 2 ** Math.ceil(Math.log2(Math.max(size, 2 * this.bytes, 4096))),
      usage: roles.storage,
    };
    this.#buffer = createOrDrop(this.#gpu, descriptor, (buffer) => {
      if (this.#buffer === buffer) this.#buffer = undefined;
    });
    this.#used = 0;
  }
}

/** A part of a buffer. */
export interface Binding {
  readonly buffer: GPUBuffer;
  readonly offset: number;
  readonly size: number;
}
