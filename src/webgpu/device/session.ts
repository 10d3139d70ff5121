/**
 * A session: a device with everything that lives as long as it does.
 *
 * @module
 */

import { BufferPool, Staging, UniformRing } from "./buffers.ts";
import type { Gpu } from "./device.ts";

/** Multiply-adds of a first submit: some 50 ms of a slow device. */
const firstWork = 2 ** 26;

/** Multiply-adds of a submit at least. */
const leastWork = 2 ** 22;

/** Multiply-adds of a submit at most. */
const mostWork = 2 ** 42;

/**
 * A submit should take so long: systems reset a device that is busy for seconds, and pages draw in
 * between.
 */
const submitMilliseconds = 50;

/** Arrays of at most so many bytes are uploaded whole, others part by part. */
const mostWholeBytes = 512 * 1024 * 1024;

/** What bounds the pieces that a call is cut into. */
export interface Bounds {
  /** Bytes that a shader can be given of a buffer. */
  readonly bindingBytes: number;
  /** Bytes of a buffer that an array is uploaded into whole. */
  readonly wholeBytes: number;
}

/** A device in use. */
export class Session {
  readonly gpu: Gpu;
  readonly bounds: Bounds;
  readonly pool: BufferPool;
  readonly uniforms: UniformRing;
  readonly staging: Staging;
  /** Bindings begin at multiples of so many bytes. */
  readonly alignment: number;
  /** Multiply-adds that a submit may have; learned from those before. */
  work = firstWork;

  /** Tests pass bounds of their own, to cut small calls as large ones are cut. */
  constructor(gpu: Gpu, bounds: Partial<Bounds> = {}) {
    const { maxBufferSize, maxStorageBufferBindingSize } = gpu.device.limits;
    this.alignment = gpu.device.limits.minStorageBufferOffsetAlignment;
    this.gpu = gpu;
    const bindingBytes = Math.min(maxBufferSize, maxStorageBufferBindingSize);
    this.bounds = {
      bindingBytes,
      wholeBytes: Math.min(bindingBytes, mostWholeBytes),
      ...bounds,
    };
    this.pool = new BufferPool(gpu);
    this.uniforms = new UniformRing(gpu);
    this.staging = new Staging(gpu);
  }

  get bytes(): number {
    return this.pool.bytes + this.uniforms.bytes + this.staging.bytes;
  }

  /** Learns from a submit: up or down at most eightfold, since single times say little. */
  learn(work: number, milliseconds: number): void {
    if (work < this.work / 4) return; // Too small to tell the device's speed from its latency.
    const factor = submitMilliseconds / Math.max(milliseconds, 1);
    const next = this.work * Math.min(8, Math.max(1 / 8, factor));
    this.work = Math.min(mostWork, Math.max(leastWork, next));
  }

  close(): void {
    this.pool.close();
    this.uniforms.close();
    this.staging.close();
  }
}
