/**
 * Operations on devices that fail: at any call of theirs, in any way.
 *
 * @module
 */

import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import { createEngine, DeviceLostError, type Engine, type Tensor } from "@flashtile/attention";
import { assertSameBits } from "./bits.ts";
import { sharedDevice } from "./device.ts";
import { type Decide, type Fault, flaky, gpuOf, refusable } from "./flaky.ts";
import { normals, seeded } from "./random.ts";

/** Uses an engine, and gives all that it was given. */
export type Operation = (engine: Engine<GPUBuffer>) => Promise<ArrayBufferView[]>;

/** Rows of eight columns. */
export function rows(heads: number, count: number, seed: number): Tensor<Float32Array> {
  return { data: normals(heads * count * 8, seeded(seed)), shape: [1, heads, count, 8] };
}

/** As much as an operation has calls: a run without a fault for each, then with one. */
async function forEachCall(
  isCounted: (name: string) => boolean,
  run: (decide: Decide) => Promise<void>,
  fault: Fault,
): Promise<number> {
  let calls = 0;
  await run((name) => void (calls += Number(isCounted(name))));
  for (let at = 0; at < calls; at++) {
    let call = 0;
    await run((name) => isCounted(name) && call++ === at ? fault : undefined);
  }
  return calls;
}

/** Longer than any stack compiles; far shorter than for ever. */
const patience = 120_000;

/** The result, or what it was rejected with; an error where it does not settle. */
async function settled<T>(call: Promise<T>): Promise<T | Error> {
  let timer: number | undefined;
  const hung = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error("the call hangs")), patience) as unknown as number;
  });
  try {
    return await Promise.race([call.catch((error: Error) => error), hung]);
  } finally {
    clearTimeout(timer);
  }
}

function assertSame(got: readonly ArrayBufferView[], expected: readonly ArrayBufferView[]): void {
  assertEquals(got.length, expected.length);
  for (const [at, one] of got.entries()) {
    assertSameBits(one as Uint8Array, expected[at] as Uint8Array, `result ${at}`);
  }
}

/** An operation is right or rejects, whatever the device refuses; the engine goes on, nothing is left. */
export async function assertRightOrRefused(operate: Operation): Promise<void> {
  const real = await sharedDevice();
  let expected: ArrayBufferView[] | undefined;
  for (const refused of refusable) {
    const run = async (decide: Decide) => {
      let isArmed = false;
      const { device, living } = flaky(real, (call) => isArmed ? decide(call) : undefined);
      const engine = await createEngine({ backend: "webgpu", device });
      isArmed = true;
      const result = await settled(operate(engine));
      isArmed = false;
      if (result instanceof Error) {
        assert(
          /^Cannot (attend|step|merge|rotate|diff|compile|compute|pack|run)/.test(result.message),
          result.message,
        );
        // The engine goes on.
        assertSame(await operate(engine), expected!);
      } else assertSame(result, expected ??= result);
      await engine.close();
      assertEquals(living.size, 0, `${refused}: buffers that live on`);
    };
    assert(await forEachCall((call) => call === refused, run, "refuse") > 0, refused);
  }
}

/** Runs an operation on a device that fails, then on the one that is asked for in its place. */
function runsOf(
  operate: Operation,
  realOf: () => Promise<GPUDevice>,
): (decide: Decide) => Promise<void> {
  let expected: ArrayBufferView[] | undefined;
  return async (decide) => {
    let isArmed = false;
    const real = await realOf(), second = await sharedDevice();
    const devices = [flaky(real, (call) => isArmed ? decide(call) : undefined)];
    const next = () => {
      if (isArmed) devices.push(flaky(second, () => undefined));
      return devices.at(-1)!.device;
    };
    const engine = await createEngine({ backend: "webgpu", gpu: gpuOf(real, next) });
    isArmed = true;
    const result = await settled(operate(engine));
    if (result instanceof Error) {
      assertInstanceOf(result, DeviceLostError);
      const again = await settled(operate(engine));
      // A cache can only be made once the engine knows of the new device.
      const last = again instanceof DeviceLostError ? await renewed(engine, operate) : again;
      if (last instanceof Error) throw last;
      assertSame(last, expected!);
    } else assertSame(result, expected ??= result);
    await engine.close();
    assertEquals(devices.at(-1)!.isDestroyed, true);
    if (real !== second) real.destroy();
  };
}

/** What can be lost at: the others say only how. */
const isWork = (call: string) => !/ErrorScope|destroy/.test(call);

/**
 * An operation ends with its device, at whichever call that is lost, and is done by the next. `realOf`
 * gives the device that is lost.
 */
export async function assertEndsWithDevice(
  operate: Operation,
  faults: readonly Fault[],
  realOf: () => Promise<GPUDevice> = sharedDevice,
): Promise<void> {
  const run = runsOf(operate, realOf);
  for (const fault of faults) assert(await forEachCall(isWork, run, fault) > 0);
}

/** Has a lost device replaced, by a call, and operates then. */
async function renewed(
  engine: Engine<GPUBuffer>,
  operate: Operation,
): Promise<ArrayBufferView[] | Error> {
  await settled(engine.rope(rows(1, 1, 1)));
  return await settled(operate(engine));
}
