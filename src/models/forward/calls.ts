/**
 * Calls of a pass: on the CPU each runs to its end, on a GPU they are on their way to be submitted together. A pass is the
 * same on both: it asks for one call after the other, and waits for what a call leaves to be waited for.
 *
 * @module
 */

import type { Backend, Pass } from "../../contract/backend.ts";
import { type Call, runSync } from "../../operations/call.ts";
import { useAll } from "../../tensor/lending.ts";
import { type AnyTensor, sizeOf } from "../../tensor/tensor.ts";
import type { Steps, Waiting } from "./steps.ts";

/** Runs calls whose results have their places. */
export interface Calls {
  run<Plan, Target>(call: Call<Plan, Target, unknown>): Waiting;
  /** Numbers of rows side by side, which are the caller's from now on. */
  read(rows: AnyTensor): Steps<Float32Array<ArrayBuffer>>;
  /** Has all calls so far done before what is asked of memory by others. */
  submit(): void;
  /** Waits for what is still to be said against them. */
  finish(): Waiting;
  /** Gives back what was borrowed. */
  end(): void;
}

/** On the CPU. */
class HostCalls implements Calls {
  readonly #backend: Backend;

  constructor(backend: Backend) {
    this.#backend = backend;
  }

  /** What it uses is the model's: nobody frees it while this runs. */
  run<Plan, Target>(call: Call<Plan, Target, unknown>): void {
    const { operation, plan, target, results } = call;
    if (Object.keys(results).length > 0) runSync(this.#backend, call);
    else this.#backend.runSync!(operation, plan, target({}), {});
  }

  // deno-lint-ignore require-yield -- Nothing is waited for.
  *read({ data, shape, offset = 0 }: AnyTensor): Steps<Float32Array<ArrayBuffer>> {
    return (data as Float32Array<ArrayBuffer>).slice(offset, offset + sizeOf(shape));
  }

  submit(): void {}

  finish(): void {}

  end(): void {}
}

/** On a GPU. */
class DeviceCalls implements Calls {
  readonly #pass: Pass;
  /** Ends the use of what calls read and write: freed meanwhile, it is there until all is submitted. */
  readonly #leave: (() => void)[] = [];

  constructor(pass: Pass) {
    this.#pass = pass;
  }

  run<Plan, Target>({ operation, plan, target }: Call<Plan, Target, unknown>): Promise<void> {
    this.#leave.push(useAll(Object.values(operation.inputs(plan))));
    return this.#pass.run(operation, plan, target({}));
  }

  *read({ data, shape, offset = 0 }: AnyTensor): Steps<Float32Array<ArrayBuffer>> {
    let numbers = new Float32Array(0);
    yield this.#pass.read(data as GPUBuffer, offset, sizeOf(shape)).then((read) => numbers = read);
    return numbers;
  }

  submit(): void {
    this.#pass.submit();
  }

  finish(): Promise<void> {
    return this.#pass.finish();
  }

  end(): void {
    this.#pass.end();
    for (const leave of this.#leave.splice(0)) leave();
  }
}

/** Begins passes on a backend. */
export async function callsOn(backend: Backend): Promise<() => Calls> {
  const begin = await backend.passes?.();
  if (begin !== undefined) return () => new DeviceCalls(begin());
  const calls = new HostCalls(backend);
  return () => calls;
}
