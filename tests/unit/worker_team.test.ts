import { assert, assertEquals } from "@std/assert";
import { test } from "node:test";
import { type Batch, LateTeam, Solo } from "../../src/wasm/team/team.ts";
import { cells, firstState } from "../../src/wasm/team/threads/control.ts";
import { spawn, type WorkerData, type WorkerHandle } from "../../src/wasm/team/threads/spawn.ts";
import { assertSameBits } from "../support/bits.ts";
import { assertRefused, errorOf } from "../support/errors.ts";
import { withStub } from "../support/stub.ts";
import {
  expectedOfRun,
  type Forward,
  lost,
  makeTeam,
  type Modules,
  until,
} from "../support/worker_team.ts";
import { longTest } from "../support/share.ts";

const expected = await expectedOfRun();

/** Blocks this thread until something holds, 0.2 s at most. */
function blockUntil(holds: () => boolean): void {
  const start = performance.now();
  while (!holds() && performance.now() - start < 200);
}

/** A `spawn` that starts real workers and keeps what it did. */
function watchedSpawn() {
  const seen = { handles: [] as WorkerHandle[], ended: 0 };
  const start: typeof spawn = (data, onEnd) => {
    const handle = spawn(data, () => {
      seen.ended++;
      onEnd("it ends");
    });
    seen.handles.push(handle);
    return handle;
  };
  return { seen, start };
}

test("WorkerTeam shares jobs with its workers, and gives the bits of one thread", async () => {
  let ours = 0, all = 0;
  const slow = (forward: Forward): Forward => (record, scratch) => {
    ours++;
    const start = performance.now();
    while (performance.now() - start < 3);
    forward(record, scratch);
  };
  const nobody: typeof spawn = () => ({ terminate: () => Promise.resolve() });
  const alone = await makeTeam({ threads: 3, spawn: nobody }, (forward) => (...given) => {
    all++;
    forward(...given);
  });
  assertSameBits(await alone.run(), expected);
  const { team, run, runSync } = await makeTeam({ threads: 3 }, slow);
  for (const way of [run, runSync]) {
    let shared = false;
    for (let time = 0; time < 200 && !shared; time++) {
      ours = 0;
      assertSameBits(await way(), expected);
      shared = ours < all;
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    assert(shared, `${ours} of ${all} jobs were done by the calling thread`);
  }
  await alone.team.close();
  await team.close();
});

longTest(
  "WorkerTeam starts its workers once, and none for a batch of one thread",
  async () => {
    const { seen, start } = watchedSpawn();
    const { team, run, runSync } = await makeTeam({ threads: 3, spawn: start });
    await team.run({ threads: 1, records: 0, count: 0, scratch: 0, scratchStride: 0 });
    assertEquals(seen.handles.length, 0);
    for (let time = 0; time < 5; time++) {
      assertSameBits(await run(), expected);
      assertSameBits(runSync(), expected);
    }
    assertEquals(seen.handles.length, 2);
    await team.close();
  },
);

test("WorkerTeam.close() ends the workers", async () => {
  const { seen, start } = watchedSpawn();
  const { team, run } = await makeTeam({ threads: 3, spawn: start });
  await run();
  await team.close();
  await until(() => seen.ended >= 2, "ended workers");
});

test("WorkerTeam ends its workers where a script has taken shared memory away", async () => {
  const { seen, start } = watchedSpawn();
  const { team, run } = await makeTeam({ threads: 2, spawn: start });
  assertSameBits(await run(), expected);
  await withStub(globalThis, "SharedArrayBuffer", undefined, () => team.close());
  await until(() => seen.ended === 1, "an ended worker");
});

test("WorkerTeam.close() waits for the batch under way", async () => {
  const { team, run } = await makeTeam({ threads: 3 });
  await run();
  const order: string[] = [];
  const running = run().then((out) => {
    order.push("run");
    return out;
  });
  const closing = team.close().then(() => order.push("close"));
  assertSameBits(await running, expected);
  await closing;
  assertEquals(order, ["run", "close"]);
});

test("WorkerTeam does without workers that fail at their start", async () => {
  let started = 0;
  const broken: typeof spawn = (_, onEnd) => {
    started++;
    const { process } = globalThis as unknown as { process: Modules };
    const { Worker } = process.getBuiltinModule("node:worker_threads");
    const worker = new Worker("process.exit(1)", { eval: true });
    worker.on("exit", () => onEnd("it exits"));
    return { terminate: async () => void await worker.terminate() };
  };
  const { team, run, runSync } = await makeTeam({ spawn: broken });
  assertSameBits(await run(), expected);
  await until(() => team.alone === "no worker can begin: it exits", "the worker's end");
  const before = started;
  for (let time = 0; time < 3; time++) {
    assertSameBits(await run(), expected);
    assertSameBits(runSync(), expected);
  }
  assertEquals(started, before); // Others would end as this one did.
  await team.close();
});

test("WorkerTeam does without workers that are refused at once", async () => {
  let asked = 0;
  const refuse: typeof spawn = () => {
    asked++;
    throw new TypeError("no workers here");
  };
  const { team, run, runSync } = await makeTeam({ spawn: refuse, threads: 3 });
  for (let time = 0; time < 3; time++) {
    assertSameBits(await run(), expected);
    assertSameBits(runSync(), expected);
  }
  assertEquals([asked, team.alone], [1, "no worker can begin: no workers here"]);
  await team.close();
});

/** Ends without a job, or takes one and ends without doing it. `gate` is ready, orders, taken. */
const orders = { wait: 0, desert: 1, leave: 2 } as const;
const deserter = `
const { control, gate, index } = process.getBuiltinModule("node:worker_threads").workerData;
Atomics.store(control, ${firstState} + index, 2);
Atomics.add(control, ${cells.started}, 1);
Atomics.store(gate, 0, 1);
Atomics.wait(gate, 1, ${orders.wait});
while (Atomics.load(gate, 1) === ${orders.desert}) {
  const job = Atomics.load(control, ${cells.next}), limit = Atomics.load(control, ${cells.limit});
  if (Atomics.load(control, ${cells.closed}) === 1) break;
  if (job === limit) Atomics.wait(control, ${cells.limit}, limit, 10);
  else if (Atomics.compareExchange(control, ${cells.next}, job, job + 1 | 0) === job) {
    Atomics.store(control, ${firstState} + index, 3);
    break;
  }
}
Atomics.store(gate, 2, 1);
`;

/** A team whose first worker does as it is ordered; the others, and later ones, are real. */
async function teamWithDeserter(patienceMilliseconds: number, threads = 2) {
  const gate = new Int32Array(new SharedArrayBuffer(12));
  let started = 0, ended = 0;
  const start: typeof spawn = (data: WorkerData, onEnd) => {
    if (started++ > 0) return spawn(data, onEnd);
    const { process } = globalThis as unknown as { process: Modules };
    const { Worker } = process.getBuiltinModule("node:worker_threads");
    const { control, index } = data;
    const worker = new Worker(deserter, { eval: true, workerData: { control, gate, index } });
    worker.on("exit", () => {
      ended++;
      onEnd("it deserts");
    });
    return { isCertain: true, terminate: () => worker.terminate() };
  };
  // While it is armed, this thread waits until the worker has a job.
  const patient = (forward: Forward): Forward => (record, scratch) => {
    if (Atomics.load(gate, 1) === orders.desert) blockUntil(() => Atomics.load(gate, 2) === 1);
    forward(record, scratch);
  };
  const fixture = await makeTeam({ spawn: start, patienceMilliseconds, threads }, patient);
  const order = async (what: keyof typeof orders) => {
    assertSameBits(await fixture.run(), expected);
    await until(() => Atomics.load(gate, 0) === 1, "a worker that is ready");
    Atomics.store(gate, 1, orders[what]);
    Atomics.notify(gate, 1);
  };
  const taken = () => Atomics.load(gate, 2) === 1;
  return { ...fixture, order, taken, started: () => started, ended: () => ended };
}

test("WorkerTeam.run() rejects when a worker ends with a job, and works again", async () => {
  const { team, arena, run, runSync, order, taken, started } = await teamWithDeserter(10_000);
  await order("desert");
  await assertRefused(run, Error, lost);
  assert(taken());
  assertEquals(arena.usedBytes, 0);
  for (let time = 0; time < 3; time++) {
    assertSameBits(await run(), expected);
    assertSameBits(runSync(), expected);
  }
  assertEquals(started(), 2);
  await team.close();
});

longTest(
  "WorkerTeam gives right answers after it has given up live workers too",
  async () => {
    const { team, run, runSync, order, taken, started } = await teamWithDeserter(10_000, 4);
    await order("desert");
    let error: unknown;
    for (let time = 0; time < 30 && !taken(); time++) {
      // The others may have taken all jobs before it comes to one.
      await run().catch((reason: unknown) => error = reason);
    }
    assertEquals((error as Error).message, lost);
    for (let time = 0; time < 10; time++) {
      assertSameBits(await run(), expected);
      assertSameBits(runSync(), expected);
    }
    assertEquals(started(), 6);
    await team.close();
  },
);

longTest(
  "WorkerTeam replaces a worker that ended while idle, unseen",
  async () => {
    for (const name of ["run", "runSync"] as const) {
      const { order, started, ended, team, ...ways } = await teamWithDeserter(10_000);
      await order("leave");
      await until(() => ended() === 1, "the worker's end");
      for (let time = 0; time < 3; time++) assertSameBits(await ways[name](), expected);
      assertEquals(started(), 2);
      await team.close();
    }
  },
);

test("WorkerTeam.runSync() throws when a worker ends with a job, and works again", async () => {
  const { team, arena, run, runSync, order, taken, started } = await teamWithDeserter(50);
  await order("desert");
  await assertRefused(runSync, Error, lost);
  assert(taken());
  assertEquals(arena.usedBytes, 0);
  assertSameBits(runSync(), expected); // Its workers are not gone yet: on this thread alone.
  assertSameBits(await run(), expected);
  assertSameBits(runSync(), expected);
  assertEquals(started(), 2);
  await team.close();
});

test("WorkerTeam is not disturbed by a worker that finishes after it was given up", async () => {
  // Some runtimes say that a worker has ended while it still runs: the job it had is done later.
  let control: Int32Array = new Int32Array(), late = false;
  const start: typeof spawn = (data) => {
    control = data.control;
    return { terminate: () => Promise.resolve() };
  };
  const taking = (forward: Forward): Forward => (record, scratch) => {
    if (!late) Atomics.add(control, cells.next, 1); // As if a worker took the job behind this one.
    late = true;
    forward(record, scratch);
  };
  const { team, run, runSync } = await makeTeam({ spawn: start, patienceMilliseconds: 50 }, taking);
  await assertRefused(runSync, Error, lost);
  await new Promise((resolve) => setTimeout(resolve, 10));
  Atomics.add(control, cells.done, 1); // It is done now.
  let over = false;
  const running = run().then((out) => {
    over = true;
    return out;
  });
  const since = performance.now();
  while (!over && performance.now() - since < 2000) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  const hung = !over;
  if (hung) Atomics.store(control, cells.done, Atomics.load(control, cells.limit)); // Let it end.
  const out = await running;
  assert(!hung, "the next call did not end within 2 s");
  assertSameBits(out, expected);
  await team.close();
});

test("WorkerTeam does once what is to be done while a batch runs", async () => {
  const { team, run, runSync } = await makeTeam();
  for (const way of [run, runSync]) {
    let batches = 0, begun = 0;
    const change = (batch: Batch): Batch => {
      batches++;
      return { ...batch, meanwhile: () => begun++ };
    };
    assertSameBits(await way(change), expected);
    assert(begun > 0);
    assertEquals(begun, batches);
  }
  await team.close();
});

test("WorkerTeam finishes a batch before it tells what went wrong meanwhile", async () => {
  let control: Int32Array = new Int32Array();
  const start: typeof spawn = (data, onEnd) => {
    control = data.control;
    return spawn(data, onEnd);
  };
  const { team, arena, run, runSync } = await makeTeam({ spawn: start });
  const mistake = new Error("mine");
  const meanwhile = () => {
    throw mistake;
  };
  for (const way of [run, runSync]) {
    assert(await errorOf(() => way((batch) => ({ ...batch, meanwhile }))) === mistake);
    assertEquals(Atomics.load(control, cells.done), Atomics.load(control, cells.limit));
    assertEquals(arena.usedBytes, 0);
    assertSameBits(await way(), expected);
  }
  await team.close();
});

test("WorkerTeam tells of a kernel that traps, and works again", async () => {
  let broken = true;
  const trapping = (forward: Forward): Forward => (record, scratch) => {
    if (broken) throw new WebAssembly.RuntimeError("unreachable");
    forward(record, scratch);
  };
  const { team, run, runSync } = await makeTeam({}, trapping);
  const message = "Cannot attend: a kernel trapped";
  for (const way of [run, runSync]) {
    await until(async () => {
      try {
        assertSameBits(await way(), expected); // The workers, whose kernel is whole, took all jobs.
        return false;
      } catch (error) {
        assertEquals((error as Error).message, message);
        return true;
      }
    }, "a job of the calling thread");
  }
  broken = false;
  assertSameBits(await run(), expected);
  assertSameBits(runSync(), expected);
  await team.close();
});

test("WorkerTeam runs batches of several calls one at a time", async () => {
  const { team, run, runSync } = await makeTeam({ threads: 3 });
  const runs = Array.from({ length: 8 }, () => run());
  assertSameBits(runSync(), expected);
  for (const out of await Promise.all(runs)) assertSameBits(out, expected);
  await team.close();
});

test("WorkerTeam goes on where the numbers of its jobs leave 32 bits", async () => {
  let control: Int32Array = new Int32Array();
  const start: typeof spawn = (data, onEnd) => {
    control = data.control;
    // As after two thousand million jobs: before anyone looks at them.
    for (const cell of [cells.next, cells.limit, cells.done]) {
      Atomics.store(control, cell, 2 ** 31 - 3);
    }
    return spawn(data, onEnd);
  };
  const { team, run, runSync } = await makeTeam({ spawn: start });
  for (let time = 0; time < 4; time++) {
    assertSameBits(await run(), expected);
    assertSameBits(runSync(), expected);
  }
  assert(Atomics.load(control, cells.limit) < 0);
  await team.close();
});

/** A batch of three jobs, and the jobs that the calling thread has done. */
function threeJobs() {
  const done: number[] = [];
  const module = undefined as unknown as WebAssembly.Module; // Nobody makes kernels of it.
  const programs = [{ kernels: { run: (record: number) => void done.push(record) }, module }];
  const batch: Batch = { threads: 2, records: 0, count: 3, scratch: 0, scratchStride: 0 };
  return { done, programs, batch };
}

test("LateTeam is loaded once, by the first batch for more than the calling thread", async () => {
  const { done, programs, batch } = threeJobs();
  let loaded = 0, closed = 0;
  const inner = Object.assign(new Solo(programs), {
    close: () => Promise.resolve(void closed++),
  });
  const late = new LateTeam(programs, 2, () => Promise.resolve((loaded++, inner)));
  await late.run({ ...batch, threads: 1 });
  await late.run({ ...batch, count: 1 });
  late.runSync(batch);
  assertEquals([loaded, done.length, late.alone], [0, 7, undefined]);
  await Promise.all([late.run(batch), late.run(batch)]);
  assertEquals([loaded, done.length], [1, 13]);
  await late.close();
  assertEquals(closed, 1);
});

test("LateTeam does without a team that cannot be loaded, and says so", async () => {
  const { done, programs, batch } = threeJobs();
  const late = new LateTeam(programs, 2, () => Promise.reject(new Error("no such chunk")));
  await late.run(batch);
  await late.run(batch);
  late.runSync(batch);
  assertEquals(done.length, 9);
  assertEquals(late.alone, "threads cannot be loaded: no such chunk");
  await late.close();
});
