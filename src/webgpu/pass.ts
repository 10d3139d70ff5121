/**
 * Passes: calls one after the other on buffers, which are submitted together. Loaded by the first model on a GPU.
 *
 * @module
 */

import type { Backend, Pass } from "../contract/backend.ts";
import type { Operation } from "../contract/operation.ts";
import { attention } from "../operations/attention/operation.ts";
import type { AttentionPlan } from "../operations/attention/plan.ts";
import type { Target as AttentionTarget } from "../operations/attention/target.ts";
import { isGpuBuffer } from "../tensor/dtype.ts";
import { recordForward } from "./attention/recorded.ts";
import { roles } from "./device/buffers.ts";
import { Recording } from "./device/recording.ts";
import type { Machine } from "./device/machine.ts";
import { readMapped } from "./device/submission.ts";
import type { WebGpuPages } from "./pages/pages.ts";
import { runners } from "./runners.ts";

const cannot = "Cannot run the model";

/** A pass on a device. */
export class WebGpuPass implements Pass {
  readonly #backend: Backend;
  readonly #machine: Machine;
  readonly #recording: Recording;
  /** Pages that are read: what the device says against them is waited for, too. */
  readonly #pages = new Set<WebGpuPages>();

  constructor(backend: Backend, machine: Machine) {
    this.#backend = backend;
    this.#recording = new Recording(machine.session, "pass");
    this.#machine = { ...machine, recording: this.#recording };
  }

  /** A call with something in arrays runs by itself, behind those before. */
  async run<Plan, Target>(
    operation: Operation<Plan, Target>,
    plan: Plan,
    target: Target,
  ): Promise<void> {
    this.#machine.open();
    const used = Object.values(operation.inputs(plan));
    if (used.some((one) => one !== null && !isGpuBuffer(one.data))) {
      this.submit();
      return await this.#backend.run(operation, plan, target, {});
    }
    if (operation as object === attention) {
      return await this.#attend(plan as AttentionPlan, target as AttentionTarget);
    }
    const runner = await runners.load(operation);
    await runner.run(this.#machine, plan, target, {});
  }

  async #attend(plan: AttentionPlan, target: AttentionTarget): Promise<void> {
    if (plan.kv.kind === "pages") this.#pages.add(plan.kv.store as WebGpuPages);
    await recordForward(this.#recording, plan, target);
  }

  submit(): void {
    this.#recording.submit();
  }

  async read(data: GPUBuffer, first: number, count: number): Promise<Float32Array<ArrayBuffer>> {
    const { loan, submission } = this.#recording,
      { gpu } = this.#machine.session,
      bytes = count * 4;
    const readBack = await loan.take(bytes, roles.readBack, "numbers on their way back");
    submission.copy(data, first * 4, readBack, 0, bytes);
    this.submit();
    let numbers = new Float32Array(0);
    const reading = readMapped(gpu, readBack, bytes, (read) => {
      numbers = new Float32Array(read.slice(0));
    });
    await Promise.all([this.finish(), reading]);
    loan.give(readBack);
    this.#recording.done();
    return numbers;
  }

  async finish(): Promise<void> {
    this.submit();
    await this.#recording.loan.accepted(cannot);
    for (const pages of this.#pages) await pages.finish();
  }

  end(): void {
    this.#recording.loan.end();
  }
}
