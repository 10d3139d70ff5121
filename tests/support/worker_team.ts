/**
 * Teams of the calling thread and workers, and a call that they run.
 *
 * @module
 */

import { assert } from "@std/assert";
import { planAttention, type TensorPlan } from "../../src/operations/attention/plan.ts";
import { type View, viewOf } from "../../src/tensor/tensor.ts";
import { forward } from "../../src/wasm/attention/forward.ts";
import { initialPages, maximumPages } from "../../src/wasm/binary/binaries.gen.ts";
import type { Kernels } from "../../src/wasm/binary/kernels.gen.ts";
import { compileBinary, instantiate } from "../../src/wasm/binary/module.ts";
import { Arena } from "../../src/wasm/memory/arena.ts";
import type { Machine } from "../../src/wasm/team/machine.ts";
import type { Batch } from "../../src/wasm/team/team.ts";
import type { TeamParts } from "../../src/wasm/team/threads/crew.ts";
import { WorkerTeam } from "../../src/wasm/team/threads/team.ts";
import { once } from "./once.ts";
import { inputsOf, randomProblem, sizesOf } from "./problem.ts";

/** What a call says that lost a worker. */
export const lost = "Cannot attend: a worker thread ended while the call ran; call again";

const inputs = inputsOf(randomProblem(sizesOf({ Hq: 4, Nq: 300, D: 64 }), 1));
const plan = planAttention(inputs.q, inputs.k, inputs.v) as TensorPlan<View>;

/** A team, and a call whose batches it runs. */
export interface Fixture {
  readonly team: WorkerTeam;
  readonly arena: Arena;
  /** The bytes of its memory that are not the arena's: what the binary brings. */
  staticBytes(): Uint8Array;
  /** Runs the call; `change` stands between it and the team. */
  run(change?: (batch: Batch) => Batch): Promise<Float32Array>;
  runSync(change?: (batch: Batch) => Batch): Float32Array;
}

const same = (batch: Batch): Batch => batch;

/** The kernel that runs a job. */
export type Forward = Kernels["run"];

/** Makes a team; `around` stands between it and the kernel of the calling thread. */
export async function makeTeam(
  parts: Partial<TeamParts> = {},
  around: (forward: Forward) => Forward = (forward) => forward,
): Promise<Fixture> {
  const module = await compileBinary("simd", true);
  const memory = new WebAssembly.Memory({
    initial: initialPages,
    maximum: maximumPages,
    shared: true,
  });
  const kernels = instantiate<Kernels>(module, memory);
  const arena = new Arena(memory, kernels.heapBase() >>> 0, maximumPages * 65536);
  const watched = { ...kernels, run: around(kernels.run) };
  const programs = [{ kernels: watched, module }];
  const team = new WorkerTeam({ programs, memory, threads: 2, ...parts });
  const machine: Machine = { kernels, arena, threads: team.threads, splats: 0, programs };
  const target = () => {
    const out = { data: new Float32Array(inputs.q.data.length), shape: inputs.q.shape };
    return { out: viewOf(out, "bhnd"), lse: null };
  };
  return {
    team,
    arena,
    staticBytes: () => new Uint8Array(memory.buffer, 0, kernels.callRecord() >>> 0).slice(),
    async run(change = same) {
      const { out, lse } = target();
      for (const { batch } of forward(machine, plan, { out, lse })) await team.run(change(batch));
      return out.data.now() as Float32Array;
    },
    runSync(change = same) {
      const { out, lse } = target();
      for (const { batch } of forward(machine, plan, { out, lse })) team.runSync(change(batch));
      return out.data.now() as Float32Array;
    },
  };
}

/** What every run must give. */
export const expectedOfRun = once(async () => {
  const { team, runSync } = await makeTeam({ threads: 1 });
  const out = runSync();
  await team.close();
  return out;
});

/** Waits until something holds. */
export async function until(
  holds: () => boolean | Promise<boolean>,
  what: string,
): Promise<void> {
  const start = performance.now();
  while (!await holds()) {
    assert(performance.now() - start < 10_000, `10 s without ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** The part of node:worker_threads that is used. */
export interface WorkerThreads {
  Worker: new (source: string, options: object) => {
    on(event: string, listener: () => void): void;
    terminate(): Promise<number>;
  };
}

/** Of the global `process`. */
export interface Modules {
  getBuiltinModule(name: string): WorkerThreads;
}
