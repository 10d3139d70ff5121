import { createEngine } from "@flashtile/attention";
import { assertEquals } from "@std/assert";
import { test } from "node:test";
import { backends, type BackendUnderTest } from "../contract/backends.ts";
import { sharedOut, untilWhole } from "../support/share.ts";
import { type Act, acts } from "./acts.ts";
import { everyMoment } from "./harness.ts";
import { type Operation, operations, type Place } from "./operations.ts";

const places: readonly Place[] = ["arrays", "engine memory"];

/**
 * One binary on one thread, which begins at once, the same where a backend is chosen first, two
 * threads, and a GPU.
 */
const tried: readonly BackendUnderTest[] = [
  ...backends.filter(({ name }) => ["wasm simd", "wasm, 2 threads", "webgpu"].includes(name)),
  { name: "auto, one thread", threads: 1, make: () => createEngine({ threads: 1 }) },
];

/** Where the backend has what it needs; the bare functions have an engine of their own: they are tried once. */
function isTried({ bare, sync, needs }: Operation, backend: BackendUnderTest): boolean {
  const lacks = backend.lacks ?? {};
  if (needs !== undefined && lacks[needs] !== undefined) return false;
  return (!bare || backend.name.startsWith("auto")) && (!sync || lacks.attentionSync === undefined);
}

function isMeant(act: Act, operation: Operation, place: Place): boolean {
  if (act.ofCaches && !operation.readsCaches) return false;
  if (act.ofMemory && place !== "engine memory") return false;
  return !(operation.bare && (place === "engine memory" || act.ends));
}

/** What goes wrong where an act meets an operation, whatever holds its inputs. */
async function wrongWith(
  act: Act,
  operation: Operation,
  backend: BackendUnderTest,
  inProgress: boolean,
): Promise<string[]> {
  const wrong: string[] = [];
  for (const place of places) {
    if (place === "engine memory" && backend.lacks?.hostTensors !== undefined) continue;
    if (!isMeant(act, operation, place)) continue;
    const found = await everyMoment({ operation, place, act }, backend, { inProgress });
    wrong.push(...found.map((words) => `${act.name}, inputs in ${place}, ${words}`));
  }
  return wrong;
}

/** Acts that a daily run tries on an operation: a quarter, others in each run. */
const actsOfDay = Math.ceil(acts.length / 4);

function trial(operation: Operation, backend: BackendUnderTest, inProgress: boolean): void {
  const when = inProgress ? "whenever it tells its progress" : "at any moment of it";
  const name = `${operation.name}, ${when}`,
    onCpu = tried.filter((one) => one.name !== "webgpu" && isTried(operation, one));
  const now = sharedOut(onCpu, 1, name);
  const isNow = !onCpu.includes(backend) || now.includes(backend);
  const reason = backend.unavailable ?? (isNow ? undefined : untilWhole);
  test(
    `${operation.name} means what it was called with, whatever happens ${when} (${backend.name})`,
    reason === undefined ? {} : { skip: reason },
    async () => {
      const wrong: string[] = [];
      for (const act of sharedOut(acts, actsOfDay, name)) {
        wrong.push(...await wrongWith(act, operation, backend, inProgress));
      }
      assertEquals(wrong, []);
    },
  );
}

for (const backend of tried) {
  for (const operation of operations) {
    if (!isTried(operation, backend)) continue;
    if (!operation.sync) trial(operation, backend, false);
    if (operation.sync || operation.tells) trial(operation, backend, true);
  }
}
