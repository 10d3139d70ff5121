import { createEngine } from "@flashtile/attention";
import { assert, assertEquals } from "@std/assert";
import { test } from "node:test";
import type { Operation } from "../../src/contract/operation.ts";
import { Runners } from "../../src/contract/runners.ts";
import { machineryOf } from "../../src/engine/engine.ts";
import { type Call, run, runSync } from "../../src/operations/call.ts";
import { HeldArray } from "../../src/tensor/arrays.ts";
import type { Tensor } from "../../src/tensor/tensor.ts";
import type { Machine } from "../../src/wasm/team/machine.ts";
import { runners } from "../../src/wasm/runners.ts";
import type { Step } from "../../src/wasm/team/steps.ts";
import { assertRefused, errorOf } from "../support/errors.ts";

/** Numbers to be doubled. */
interface Plan {
  readonly x: { readonly data: HeldArray<Float32Array> };
}

/** A toy: doubles numbers, one a step. */
const doubling: Operation<Plan, Float32Array> = {
  name: "double",
  cannot: "Cannot double",
  inputs: ({ x }) => ({ x }),
  work: () => 0,
  rows: ({ x }) => x.data.length,
};

/** The same for who has it loaded when it is asked for. */
const tripling: Operation<Plan, Float32Array> = {
  ...doubling,
  name: "triple",
  cannot: "Cannot triple",
};

/** Nobody does it. */
const halving: Operation<Plan, Float32Array> = {
  ...doubling,
  name: "halve",
  cannot: "Cannot halve",
};

function* times(factor: number, { x }: Plan, target: Float32Array): Generator<Step> {
  for (const [at, value] of x.data.now().entries()) {
    target[at] = factor * value;
    yield { batch: { records: 0, count: 0, threads: 1, scratch: 0, scratchStride: 0 }, rows: 1 };
  }
}

runners
  .add(doubling, { run: (_machine, plan, target) => times(2, plan, target) })
  .add(tripling, async () => {
    await Promise.resolve();
    return { run: (_machine: Machine, plan: Plan, target: Float32Array) => times(3, plan, target) };
  });

function callOf(
  operation: Operation<Plan, Float32Array>,
  numbers: readonly number[],
  control: Call<Plan, Float32Array, unknown>["control"] = {},
): Call<Plan, Float32Array, number[]> {
  const data = new HeldArray<Float32Array>(Float32Array.from(numbers));
  return {
    ...{ operation, plan: { x: { data } }, control },
    results: { y: { dtype: "f32", like: data, shape: [numbers.length] } },
    target: ({ y }) => y.data as Float32Array,
    finish: ({ y }) => Array.from((y as Tensor<Float32Array>).data),
  };
}

async function withMachinery(
  use: (machinery: NonNullable<ReturnType<typeof machineryOf>>) => Promise<void>,
): Promise<void> {
  const engine = await createEngine({ backend: "wasm" });
  try {
    await use(machineryOf(engine)!);
  } finally {
    await engine.close();
  }
}

test("an operation of two lines runs, and runs to its end at once", () =>
  withMachinery(async (machinery) => {
    const progress: number[] = [];
    const onProgress = ({ done }: { readonly done: number }) => void progress.push(done);
    assertEquals(await run(machinery, callOf(doubling, [1, 2, 3], { onProgress })), [2, 4, 6]);
    assertEquals(progress.at(-1), 3);
    assertEquals(runSync(machinery.own, callOf(doubling, [4, 5])), [8, 10]);
  }));

test("an operation stops with the reason of its signal", () =>
  withMachinery(async (machinery) => {
    const controller = new AbortController(), reason = new Error("enough");
    const control = { signal: controller.signal, onProgress: () => controller.abort(reason) };
    const error = await errorOf(() => run(machinery, callOf(doubling, [1, 2, 3], control)));
    assert(error === reason);
    assert(await errorOf(() => runSync(machinery.own, callOf(doubling, [1], control))) === reason);
    assertEquals(await run(machinery, callOf(doubling, [1])), [2]);
  }));

test("a runner that is loaded later runs, and to its end at once from then on", () =>
  withMachinery(async (machinery) => {
    const refusal = "Cannot triple: `triple()` is not loaded yet, which takes a promise; ";
    const error = await errorOf(() => runSync(machinery.own, callOf(tripling, [1])));
    assert((error as Error).message.startsWith(refusal), `${error}`);
    assertEquals(await run(machinery, callOf(tripling, [1, 2])), [3, 6]);
    assertEquals(runSync(machinery.own, callOf(tripling, [5])), [15]);
  }));

test("a backend refuses what it has no runner for, before it makes anything", () =>
  withMachinery(async (machinery) => {
    const call = callOf(halving, [1]);
    const message = "Cannot halve: the wasm backend has no `halve()`";
    const never = {
      ...call,
      target: () => {
        throw new Error("too late");
      },
    };
    await assertRefused(() => run(machinery, never), Error, message);
    await assertRefused(() => runSync(machinery.own, never), Error, message);
    const none = new Runners<Machine, Promise<void>>("webgpu");
    await assertRefused(
      () => none.check(doubling, call.plan, {}),
      Error,
      "Cannot double: the webgpu backend has no `double()`",
    );
  }));

test("an operation is refused by a closed engine, and by a backend that cannot read its inputs", async () => {
  await withMachinery(async (machinery) => {
    const buffer = { mapAsync() {}, usage: 0x80, size: 16 } as unknown as GPUBuffer;
    const call = callOf(doubling, [1]);
    const onGpu = { ...call, plan: { x: { data: buffer } } as unknown as Plan };
    await assertRefused(
      () => run(machinery, onGpu),
      TypeError,
      "Cannot double: `x` is a GPUBuffer, which the wasm backend cannot read; " +
        'make the engine with { backend: "webgpu", device }',
    );
    await machinery.close();
    await assertRefused(
      () => run(machinery, call),
      Error,
      "Cannot use an engine after `close()`",
    );
  });
});
