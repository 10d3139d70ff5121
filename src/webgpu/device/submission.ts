/**
 * Submissions: what a call asks of the device in one go, and what it borrows for that.
 *
 * @module
 */

import { type Binding, type BufferPool, roles, UniformRing, usages } from "./buffers.ts";
import type { Gpu, Refusal } from "./device.ts";
import type { Session } from "./session.ts";

/** What one call has of the device: buffers that it borrows, and what it asks for. */
export class Loan {
  readonly session: Session;
  readonly #buffers = new Set<GPUBuffer>();
  #refusals: Refusal[] = [];
  #isOver = false;

  constructor(session: Session) {
    this.session = session;
  }

  get #pool(): BufferPool {
    return this.session.pool;
  }

  async take(bytes: number, usage: number, label: string): Promise<GPUBuffer> {
    const buffer = await this.#pool.take(bytes, usage, label);
    this.#buffers.add(buffer);
    if (!this.#isOver) return buffer;
    this.end(); // Something else of the call failed meanwhile.
    throw new Error("Cannot attend: the call is over");
  }

  /** Storage of so many bytes: a buffer of the pool may be larger than a binding can be. */
  async room(size: number, label: string): Promise<Binding> {
    return { buffer: await this.take(size, roles.storage, label), offset: 0, size };
  }

  /** Does what the device may refuse; `accepted()` tells. */
  attempt(work: () => void): void {
    this.#refusals.push(this.#pool.gpu.attempt(work)[1]);
  }

  /** Waits for what the device says of all that was not waited for yet. */
  async accepted(cannot: string): Promise<void> {
    for (const refusal of this.#refusals.splice(0)) {
      const error = await refusal;
      if (error) throw new Error(`${cannot}: the GPU refused the call: ${error.message}`);
    }
  }

  /** Gives one back. */
  give(buffer: GPUBuffer): void {
    if (this.#buffers.delete(buffer)) this.#pool.give(buffer);
  }

  /** Leaves all to the garbage collector. */
  leave(): void {
    this.#isOver = true;
    for (const buffer of this.#buffers) this.#pool.forget(buffer);
    this.#buffers.clear();
  }

  /** Gives all back; those that are mapped, or being mapped, are no use any more. */
  end(): void {
    this.#isOver = true;
    for (const buffer of this.#buffers) {
      if (buffer.mapState === "unmapped") this.#pool.give(buffer);
      else this.#pool.drop(buffer);
    }
    this.#buffers.clear();
  }
}

/** A buffer that a caller's result is read back from; none where the caller has the result already. */
export interface Returned extends Binding {
  readonly readBack?: GPUBuffer;
}

/** Workgroups along each axis. */
export type Grid = readonly [x: number, y: number, z: number];

interface Dispatch {
  readonly pipeline: GPUComputePipeline;
  readonly uniforms: Uint8Array<ArrayBuffer>;
  /** By position, after the uniforms; what is `null` is not there. */
  readonly bindings: readonly (Binding | null)[];
  readonly grid: Grid;
}

type Step = Dispatch | ((encoder: GPUCommandEncoder) => void);

/** What is done on the device, in order. Nothing of it happens before it is submitted, or recorded. */
export class Submission {
  readonly #session: Session;
  readonly #label: string;
  #steps: Step[] = [];
  /** Results on their way to the caller, and what takes them there. */
  #returned: [readBack: GPUBuffer, size: number, take: (bytes: ArrayBuffer) => void][] = [];
  #used: GPUBuffer[] = [];

  constructor(session: Session, label: string) {
    this.#session = session;
    this.#label = `FlashTile ${label}`;
  }

  get isEmpty(): boolean {
    return this.#steps.length === 0;
  }

  /** Whether it ends with results at the caller: its end is waited for then. */
  get readsBack(): boolean {
    return this.#returned.length > 0;
  }

  dispatch(
    pipeline: GPUComputePipeline,
    uniforms: Uint8Array<ArrayBuffer>,
    bindings: readonly (Binding | null)[],
    grid: Grid,
  ): void {
    this.#steps.push({ pipeline, uniforms, bindings, grid });
  }

  /** Does next what another one was to do. */
  take(other: Submission): void {
    this.#steps.push(...other.#steps.splice(0));
  }

  clear(buffer: GPUBuffer, at?: number, bytes?: number): void {
    this.#steps.push((encoder) => encoder.clearBuffer(buffer, at, bytes));
  }

  copy(from: GPUBuffer, at: number, to: GPUBuffer, target: number, bytes: number): void {
    this.#steps.push((encoder) => encoder.copyBufferToBuffer(from, at, to, target, bytes));
  }

  /** Has a result brought to the caller by `take`. */
  copyBack({ buffer, offset, size, readBack }: Returned, take: (bytes: ArrayBuffer) => void): void {
    if (readBack === undefined) return;
    this.copy(buffer, offset, readBack, 0, size);
    this.#returned.push([readBack, size, take]);
    this.free(buffer);
  }

  /** Gives a buffer back as soon as this is submitted. */
  free(buffer: GPUBuffer | undefined): void {
    if (buffer) this.#used.push(buffer);
  }

  /**
   * Submits it. Resolves when the device has accepted it, with all else of the loan, and when what is read
   * back is at the caller.
   */
  async submit(loan: Loan, cannot: string): Promise<void> {
    this.send(loan);
    const returned = this.#returned.splice(0).map(async ([readBack, size, take]) => {
      await undefined; // Some stacks compute while they are asked to map: who submits takes the time first.
      await readMapped(this.#session.gpu, readBack, size, take);
      loan.give(readBack);
    });
    await Promise.all([loan.accepted(cannot), ...returned]);
  }

  /** Submits it without waiting: `loan.accepted()` tells what the device says. */
  send(loan: Loan): void {
    loan.attempt(() => this.flush());
    for (const buffer of this.#used.splice(0)) loan.give(buffer);
  }

  /** Records it into a caller's encoder, which the caller submits at some time. */
  async record(encoder: GPUCommandEncoder, loan: Loan, cannot: string): Promise<void> {
    const { device } = this.#session.gpu;
    loan.attempt(() => this.#record(this.#steps, encoder, (block) => ownUniforms(device, block)));
    await loan.accepted(cannot);
  }

  /** Submits it within an attempt of who asks; a slot of the ring must not come round again before. */
  flush(): void {
    const { gpu: { device }, uniforms } = this.#session, steps = this.#steps.splice(0);
    while (steps.length > 0) {
      const encoder = device.createCommandEncoder({ label: this.#label });
      this.#record(steps.splice(0, UniformRing.slots), encoder, (block) => uniforms.write(block));
      device.queue.submit([encoder.finish()]);
    }
  }

  /** Records steps; dispatches that follow each other are in one pass. */
  #record(
    steps: readonly Step[],
    encoder: GPUCommandEncoder,
    write: (block: Uint8Array<ArrayBuffer>) => Binding,
  ): void {
    const { device } = this.#session.gpu;
    let pass: GPUComputePassEncoder | undefined;
    for (const step of steps) {
      if (typeof step === "function") {
        pass?.end();
        pass = undefined;
        step(encoder);
        continue;
      }
      const { pipeline, uniforms, bindings, grid } = step, slot = write(uniforms);
      pass ??= encoder.beginComputePass({ label: this.#label });
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, bindGroup(device, pipeline, [slot, ...bindings]));
      pass.dispatchWorkgroups(...grid);
    }
    pass?.end();
  }
}

/** Reads a buffer once the work that was submitted before is done. */
export async function readMapped(
  { guard }: Gpu,
  buffer: GPUBuffer,
  size: number,
  take: (bytes: ArrayBuffer) => void,
): Promise<void> {
  await guard(buffer.mapAsync(usages.mapRead, 0, size));
  take(buffer.getMappedRange(0, size));
  buffer.unmap();
}

/** Binds by position; what is `null` is not there. */
function bindGroup(
  device: GPUDevice,
  pipeline: GPUComputePipeline,
  bindings: readonly (Binding | null)[],
): GPUBindGroup {
  const entries = bindings.flatMap((one, binding) =>
    one === null ? [] : [{ binding, resource: one }]
  );
  return device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
}

/** Uniforms that nobody writes again: nobody knows when the caller submits. */
function ownUniforms(device: GPUDevice, block: Uint8Array): Binding {
  const buffer = device.createBuffer({
    label: "FlashTile uniforms of a caller's encoder",
    size: block.byteLength,
    usage: roles.uniform,
    mappedAtCreation: true,
  });
  new Uint8Array(buffer.getMappedRange()).set(block);
  buffer.unmap();
  return { buffer, offset: 0, size: block.byteLength };
}
