import type { Progress } from "@flashtile/attention";
import { assert, assertEquals } from "@std/assert";
import { test } from "node:test";
import type { Control } from "../../src/contract/backend.ts";
import type { Batch, Team } from "../../src/wasm/team/team.ts";
import { finish, finishInTurns, type Step } from "../../src/wasm/team/steps.ts";
import { errorOf } from "../support/errors.ts";

const batch: Batch = { threads: 1, records: 0, count: 1, scratch: 0, scratchStride: 0 };

/** A team that only counts the batches that it ran. */
function countingTeam(count = { run: 0 }): Team & { readonly count: { run: number } } {
  const runSync = () => void count.run++;
  return { count, threads: 1, runSync, run: async () => await runSync(), close: async () => {} };
}

/** Slices that take this long, and tell when they were ended. */
function slices(rows: readonly number[], milliseconds = 0) {
  const state = { begun: 0, ended: false };
  function* work(): Generator<Step> {
    try {
      for (const n of rows) {
        state.begun++;
        const start = performance.now();
        while (performance.now() - start < milliseconds);
        yield { batch, rows: n };
      }
    } finally {
      state.ended = true;
    }
  }
  return { state, work: work() };
}

type Finish = (
  work: Iterable<Step>,
  team: Team,
  total: number,
  control: Control,
  checkOpen: () => void,
) => void | Promise<void>;

/** An engine that nobody closes. */
const open = () => {};

const both: [string, Finish][] = [["finish()", finish], ["finishInTurns()", finishInTurns]];

for (const [name, run] of both) {
  test(`${name} runs every slice and tells each but the last, then the end`, async () => {
    const { work, state } = slices([3, 4, 5]);
    const seen: Progress[] = [];
    await run(work, countingTeam(), 12, { onProgress: (progress) => seen.push(progress) }, open);
    assertEquals(seen.map(({ done }) => done), [3, 7, 12]);
    assert(seen.every(({ total }) => total === 12));
    assertEquals(state, { begun: 3, ended: true });
  });

  test(`${name} tells the end of no work at all`, async () => {
    const seen: Progress[] = [];
    await run(slices([]).work, countingTeam(), 0, {
      onProgress: (progress) => seen.push(progress),
    }, open);
    assertEquals(seen, [{ done: 0, total: 0 }]);
  });

  test(`${name} stops with the signal's reason and ends the work`, async () => {
    const { work, state } = slices([1, 1, 1, 1]);
    const controller = new AbortController(), reason = { because: "of that" };
    const onProgress = ({ done }: Progress) => {
      if (done === 2) controller.abort(reason);
    };
    const error = await errorOf(() =>
      run(work, countingTeam(), 4, { signal: controller.signal, onProgress }, open)
    );
    assert(error === reason);
    assertEquals(state, { begun: 3, ended: true });
  });

  test(`${name} passes on what onProgress throws and ends the work`, async () => {
    const { work, state } = slices([1, 1, 1]);
    const mistake = new Error("mine");
    const onProgress = () => {
      throw mistake;
    };
    assert(await errorOf(() => run(work, countingTeam(), 3, { onProgress }, open)) === mistake);
    assertEquals(state, { begun: 1, ended: true });
  });

  test(`${name} passes on what the work throws`, async () => {
    const mistake = new Error("its own");
    function* work(): Generator<Step> {
      yield { batch, rows: 1 };
      throw mistake;
    }
    assert(await errorOf(() => run(work(), countingTeam(), 2, {}, open)) === mistake);
  });

  test(`${name} runs the batch of a step before it asks for the next`, async () => {
    const team = countingTeam();
    const seen: number[] = [];
    function* work(): Generator<Step> {
      for (let step = 0; step < 3; step++) {
        seen.push(team.count.run);
        yield { batch, rows: 1 };
      }
    }
    await run(work(), team, 3, {}, open);
    assertEquals([seen, team.count.run], [[0, 1, 2], 3]);
  });

  test(`${name} ends the work where the engine was closed meanwhile`, async () => {
    const { work, state } = slices([1, 1, 1]), closed = new Error("closed");
    let isClosed = false;
    const onProgress = () => {
      isClosed = true;
    };
    const checkOpen = () => {
      if (isClosed) throw closed;
    };
    assert(await errorOf(() => run(work, countingTeam(), 3, { onProgress }, checkOpen)) === closed);
    assertEquals(state, { begun: 1, ended: true });
  });

  test(`${name} passes on what the team throws and ends the work`, async () => {
    const { work, state } = slices([1, 1]), mistake = new Error("a worker ended");
    const runSync = () => {
      throw mistake;
    };
    const team = { ...countingTeam(), runSync, run: () => Promise.reject(mistake) };
    assert(await errorOf(() => run(work, team, 2, {}, open)) === mistake);
    assertEquals(state, { begun: 1, ended: true });
  });
}

test("finishInTurns() lets timers have their turn once a frame has passed", async () => {
  let turns = 0;
  const timer = setInterval(() => turns++, 1);
  const { work } = slices([1, 1, 1, 1, 1, 1, 1, 1], 10);
  await finishInTurns(work, countingTeam(), 8, {}, open);
  clearInterval(timer);
  assert(turns >= 2, `${turns} turns in 80 ms`);
});

test("finishInTurns() begins at once, before its promise is waited for", async () => {
  const { work, state } = slices([1, 1]), team = countingTeam();
  const promise = finishInTurns(work, team, 2, {}, open);
  assertEquals([state.begun, team.count.run], [1, 1]);
  await promise;
  assertEquals([state.begun, team.count.run], [2, 2]);
});

test("finish() gives nobody a turn", () => {
  let turns = 0;
  const timer = setTimeout(() => turns++, 0);
  finish(slices([1, 1, 1], 10).work, countingTeam(), 3, {}, open);
  assertEquals(turns, 0);
  clearTimeout(timer);
});
