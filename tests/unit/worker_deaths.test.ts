import { createEngine } from "@flashtile/attention";
import { assert, assertEquals } from "@std/assert";
import { test } from "node:test";
import { cells, firstState, left } from "../../src/wasm/team/threads/control.ts";
import { spawn, type WorkerData } from "../../src/wasm/team/threads/spawn.ts";
import { assertSameBits } from "../support/bits.ts";
import { longTest, sharedOut, untilWhole } from "../support/share.ts";
import {
  expectedOfRun,
  type Fixture,
  type Forward,
  lost,
  makeTeam,
  type Modules,
  until,
  type WorkerThreads,
} from "../support/worker_team.ts";

const expected = await expectedOfRun();

type Start = typeof spawn;
type RawWorker = InstanceType<WorkerThreads["Worker"]>;

const globals = globalThis as unknown as { process: Modules };

const sleep = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Has the library start its workers on a script that is changed; returns what ends that. */
function change(
  script: (source: string) => string,
  began: (worker: RawWorker) => void = () => {},
): () => void {
  const { process } = globals, original = process.getBuiltinModule;
  const { Worker } = original.call(process, "node:worker_threads");
  const changed = function (source: string, options: object): RawWorker {
    const worker = new Worker(script(source), options);
    began(worker);
    return worker;
  };
  const threads = { Worker: changed as unknown as typeof Worker };
  process.getBuiltinModule = () => threads;
  return () => process.getBuiltinModule = original;
}

/**
 * Starts a real worker as the library does, on a script that is changed, and tells which one it is:
 * what the runtime says about its end goes the library's own way.
 */
function startChanged(...given: Parameters<typeof change>): Start {
  return (data, onEnd) => {
    const restore = change(...given);
    try {
      return spawn(data, onEnd);
    } finally {
      restore();
    }
  };
}

/** Puts a piece into the workers' script, where it must fit. */
function put(place: string, piece: string, behind = false): (source: string) => string {
  return (source) => {
    assertEquals(source.split(place).length, 2, `the script has no single "${place}"`);
    return "let jobsBegun = 0;\n" +
      source.replace(place, () => behind ? place + piece : piece + place);
  };
}

/** With a job in hand, before it runs. */
const atWork = (piece: string) => put("const record =", piece);
/** Once it is done. */
const afterWork = (piece: string) => put(`Atomics.notify(control, ${cells.done});`, piece, true);

/** How workers are started, and what is done when the calling thread begins a job. */
interface Death {
  readonly start: Start;
  readonly onJob?: (job: number) => void;
  /** Whether calls may be lost: where a worker can end that has a job. */
  readonly mayLose?: boolean;
}

/** Ends all workers, as somebody outside would, when the calling thread begins job `k`, each time. */
function terminatedAt(k: number): Death {
  const workers = new Set<RawWorker>();
  return {
    mayLose: true,
    start: startChanged((source) => source, (worker) => workers.add(worker)),
    onJob(job) {
      if (job % 40 !== k) return;
      for (const worker of workers) void worker.terminate();
      workers.clear();
    },
  };
}

/** Says that workers ended which work on. */
function declaredDeadAt(k: number): Death {
  const ends = new Set<() => void>();
  return {
    mayLose: true,
    start(data, onEnd) {
      ends.add(() => onEnd("an error"));
      return spawn(data, onEnd);
    },
    onJob(job) {
      if (job % 40 !== k) return;
      for (const end of ends) end();
      ends.clear();
    },
  };
}

/** Every kind of end, anew each time. */
const deaths: Record<string, () => Death> = {
  "exit before they begin": () => ({ start: startChanged(() => "process.exit(1)") }),
  ...Object.fromEntries(
    ["null", "undefined", "'words'", "new Error('')", "{ message: 1 }"].map((thrown) => [
      `throw ${thrown} before they begin`,
      (): Death => ({ start: startChanged(() => `throw ${thrown}`) }),
    ]),
  ),
  "do not parse": () => ({ start: startChanged(() => "}") }),
  "cannot make their instance": () => ({
    start: ({ memory, control, index }, onEnd) =>
      spawn({ memory, control, index } as unknown as WorkerData, onEnd),
  }),
  "are refused with null": () => ({
    start() {
      throw null;
    },
  }),
  "are terminated as they begin": () => ({
    start: startChanged((source) => source, (worker) => void worker.terminate()),
  }),
  "are declared dead as they begin": () => ({
    start(data, onEnd) {
      onEnd("an error");
      return spawn(data, onEnd);
    },
  }),
  "never begin": () => ({ start: () => ({ terminate: () => Promise.resolve() }) }),
  "begin late": () => ({
    start(data, onEnd) {
      const handle = sleep(30).then(() => spawn(data, onEnd));
      return { terminate: async () => await (await handle).terminate() };
    },
  }),
  ...Object.fromEntries([1, 2, 7].flatMap((k) => [
    [`exit with job ${k}`, (): Death => ({
      mayLose: true,
      start: startChanged(atWork(`if (++jobsBegun === ${k}) process.exit(1);`)),
    })],
    [`throw null with job ${k}`, (): Death => ({
      mayLose: true,
      start: startChanged(atWork(`if (++jobsBegun === ${k}) throw null;`)),
    })],
    [`exit after job ${k}`, (): Death => ({
      mayLose: true,
      start: startChanged(afterWork(`if (++jobsBegun === ${k}) process.exit(1);`)),
    })],
    [`are terminated at job ${k}`, () => terminatedAt(k)],
    [`are declared dead at job ${k}`, () => declaredDeadAt(k)],
  ])),
};

/** A team of three whose workers end, with the jobs that the calling thread has begun counted. */
async function teamOf({ start, onJob, mayLose = true }: Death): Promise<Fixture> {
  let jobs = 0;
  const counted = (forward: Forward): Forward => (record, scratch) => {
    onJob?.(++jobs);
    forward(record, scratch);
  };
  // A worker that works on has time to, on a busy machine too: nothing may be lost then.
  const [patienceMilliseconds, graceMilliseconds] = mayLose ? [500, 200] : [10_000, 10_000];
  const patience = { patienceMilliseconds, graceMilliseconds };
  return await makeTeam({ threads: 3, spawn: start, ...patience }, counted);
}

/** Runs a call that gives the right bits, or says that it lost a worker; returns whether it did. */
async function isLost(run: () => unknown): Promise<boolean> {
  let out: Float32Array;
  try {
    out = await run() as Float32Array;
  } catch (error) {
    assertEquals((error as Error).message, lost);
    return true;
  }
  assertSameBits(out, expected);
  return false;
}

const triedNow = sharedOut(Object.keys(deaths), 4, "deaths");

for (const [name, make] of Object.entries(deaths)) {
  const options = triedNow.includes(name) ? {} : { skip: untilWhole };
  test(
    `WorkerTeam gives right answers, or says that it has none, when workers ${name}`,
    options,
    async () => {
      const death = { mayLose: false, ...make() };
      const fixture = await teamOf(death), { arena } = fixture;
      const blocks = [1, 2, 3].map(() => arena.allocate(4096));
      const bytesOf = (at: number) => new Uint8Array(arena.memory.buffer, at, 4096);
      for (const at of blocks) bytesOf(at).fill(at >> 6);
      arena.free(blocks[1]); // Calls have this place, and others behind the last.
      let losses = 0;
      for (let call = 0; call < 8; call++) {
        if (await isLost(fixture.run)) losses++;
        if (call % 4 === 3 && await isLost(fixture.runSync)) losses++;
        if (call % 2 === 1) await sleep(15); // Events come, and workers begin.
      }
      assert(losses <= (death.mayLose ? 3 : 0), `${losses} calls were lost`);
      for (const at of [blocks[0], blocks[2]]) {
        assert(bytesOf(at).every((x) => x === (at >> 6 & 255)));
      }
      arena.free(blocks[0]);
      arena.free(blocks[2]);
      assertEquals(arena.usedBytes, 0);
      const fresh = await makeTeam({ threads: 1 });
      assertSameBits(fixture.staticBytes(), fresh.staticBytes(), "static memory");
      await fixture.team.close();
    },
  );
}

longTest(
  "WorkerTeam leaves work to the calling thread when workers have ended three times",
  async () => {
    let started = 0;
    const start = startChanged(atWork("throw null;"), () => started++);
    const { team, run, runSync } = await teamOf({ start });
    await until(async () => {
      await isLost(run);
      await sleep(5);
      return team.alone !== undefined;
    }, "workers that ended three times");
    assertEquals(team.alone, "workers ended 3 times at work");
    const before = started;
    assert(started <= 6, `${started} workers were started`);
    for (let call = 0; call < 5; call++) {
      assertSameBits(await run(), expected);
      assertSameBits(runSync(), expected);
    }
    assertEquals(started, before);
    await team.close();
  },
);

test("engine.reason says that workers ended at work, and calls are right", async () => {
  const engine = await createEngine({ backend: "wasm", threads: 2 });
  const shape = [4, 300, 64], x = { data: new Float32Array(4 * 300 * 64).fill(1), shape };
  // With a job done: a call would wait 3 s for the memory of one in hand.
  const restore = change(afterWork("throw null;"));
  try {
    await until(async () => {
      await engine.attention(x, x, x);
      await sleep(5);
      return engine.reason.includes("one thread");
    }, "workers that ended three times");
  } finally {
    restore();
  }
  assert(engine.reason.includes("one thread (workers ended 3 times at work)"), engine.reason);
  const { out } = await engine.attention(x, x, x);
  assert(out.data.every((value) => Math.abs(value - 1) < 1e-5));
  await engine.close();
});

test("WorkerTeam keeps workers that end now and then, with much done in between", async () => {
  const ends: (() => void)[] = [];
  const { team, run } = await makeTeam({
    threads: 2,
    spawn: (data, onEnd) => {
      Atomics.add(data.control, cells.started, 1);
      ends.push(() => {
        Atomics.store(data.control, firstState + data.index, 4000); // As after 2000 jobs.
        onEnd("an error");
      });
      return { terminate: () => Promise.resolve() };
    },
  });
  for (let time = 0; time < 5; time++) {
    assertSameBits(await run(), expected);
    ends.at(-1)!();
  }
  assertEquals([ends.length, team.alone], [5, undefined]);
  await team.close();
});

longTest(
  "WorkerTeam waits for a worker that works on after its end is told",
  async () => {
    const gate = new Int32Array(new SharedArrayBuffer(12)); // Slow, at work, finished.
    const ends: (() => void)[] = [];
    const slow = atWork(`
    const { gate } = threads.workerData, isSlow = Atomics.exchange(gate, 0, 0) === 1;
    if (isSlow) {
      Atomics.store(gate, 1, 1);
      Atomics.wait(gate, 2, 0, 300);
    }
  `);
    const finish = put("store(state = state", "if (isSlow) Atomics.store(gate, 2, 1);");
    const begin = startChanged((source) => slow(finish(source)).replace("let jobsBegun = 0;", ""));
    const { team, arena, run } = await makeTeam({
      threads: 2,
      spawn: (data, onEnd) => {
        ends.push(() => onEnd("an error"));
        const { terminate } = begin({ ...data, gate } as WorkerData, onEnd);
        // As Deno does: it goes on.
        return { terminate: () => "Deno" in globalThis ? terminate() : Promise.resolve() };
      },
    }, (forward) => (record, scratch) => {
      const start = performance.now();
      while (Atomics.load(gate, 0) === 1 && performance.now() - start < 20);
      forward(record, scratch);
    });
    await until(async () => {
      Atomics.store(gate, 0, 1);
      const running = run();
      if (Atomics.load(gate, 1) === 1) ends.at(-1)!();
      // Whether it is right or lost, nobody has its memory any more when it settles.
      await isLost(() => running);
      assertEquals(arena.usedBytes, 0);
      assertEquals(Atomics.load(gate, 2), Atomics.load(gate, 1));
      return Atomics.load(gate, 1) === 1;
    }, "a worker at work");
    assertSameBits(await run(), expected);
    await team.close();
  },
);

/** Starts workers, and keeps their control blocks. */
function kept(begin: Start = spawn) {
  const datas: WorkerData[] = [];
  const states = () => datas.map(({ control, index }) => Atomics.load(control, firstState + index));
  const start: Start = (data, onEnd) => {
    datas.push(data);
    return begin(data, onEnd);
  };
  return { start, states, datas };
}

longTest(
  "WorkerTeam.close() is not overslept by a worker that is about to sleep",
  async () => {
    const late = put(
      "return Atomics.wait(control",
      "Atomics.wait(new Int32Array(control.buffer), 15, 0, 60);",
    );
    const { start, states } = kept(startChanged(late));
    for (let time = 0; time < 5; time++) {
      const { team, run } = await makeTeam({
        spawn: (data, onEnd) => ({ ...start(data, onEnd), terminate: () => Promise.resolve() }),
      });
      await until(async () => {
        assertSameBits(await run(), expected);
        return states().at(-1)! > 0;
      }, "a worker that has begun");
      await sleep(10);
      await team.close();
    }
    await until(() => states().every((state) => state === left), "workers that leave");
  },
);

/** Elsewhere no worker leaves by itself; Bun's take long to begin and to say that they ended. */
const skip = "Deno" in globalThis ? undefined : "workers leave by themselves on Deno alone";

test("WorkerTeam replaces workers that left, having waited long for a job", { skip }, async () => {
  const { start, states, datas } = kept();
  const { team, run, runSync } = await makeTeam({
    threads: 3,
    spawn(data, onEnd) {
      Atomics.store(data.control, cells.idle, 20);
      return start(data, onEnd);
    },
  });
  for (let time = 1; time <= 4; time++) {
    await until(async () => {
      assertSameBits(await run(), expected);
      assertSameBits(runSync(), expected);
      return datas.length >= 2 * time;
    }, "new workers");
    await until(
      () => states().every((state) => state === left || state === 0),
      "workers that leave",
    );
  }
  assertEquals(team.alone, undefined);
  await team.close();
});

test("WorkerTeam.run() is refused nothing by a runtime that throws undefined", async () => {
  const { team, run } = await makeTeam({
    spawn() {
      throw undefined;
    },
  });
  assertSameBits(await run(), expected);
  assertEquals(team.alone, "no worker can begin: no reason was given");
  await team.close();
});
