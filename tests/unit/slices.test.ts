import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import type { Progress } from "@flashtile/attention";
import { finish, finishInTurns } from "../../src/wasm/slices.ts";
import { errorOf } from "../support/errors.ts";

/** Slices that take this long, and tell when they were ended. */
function slices(rows: readonly number[], milliseconds = 0) {
  const state = { begun: 0, ended: false };
  function* work() {
    try {
      for (const n of rows) {
        state.begun++;
        const start = performance.now();
        while (performance.now() - start < milliseconds);
        yield n;
      }
    } finally {
      state.ended = true;
    }
  }
  return { state, work: work() };
}

type Finish = (
  work: Iterable<number>,
  total: number,
  control: Parameters<typeof finish>[2],
) => void | Promise<void>;

const both: [string, Finish][] = [["finish()", finish], ["finishInTurns()", finishInTurns]];

for (const [name, run] of both) {
  test(`${name} runs every slice and tells each but the last, then the end`, async () => {
    const { work, state } = slices([3, 4, 5]);
    const seen: Progress[] = [];
    await run(work, 12, { onProgress: (progress) => seen.push(progress) });
    assertEquals(seen.map(({ done }) => done), [3, 7, 12]);
    assert(seen.every(({ total }) => total === 12));
    assertEquals(state, { begun: 3, ended: true });
  });

  test(`${name} tells the end of no work at all`, async () => {
    const seen: Progress[] = [];
    await run(slices([]).work, 0, { onProgress: (progress) => seen.push(progress) });
    assertEquals(seen, [{ done: 0, total: 0 }]);
  });

  test(`${name} stops with the signal's reason and ends the work`, async () => {
    const { work, state } = slices([1, 1, 1, 1]);
    const controller = new AbortController(), reason = { because: "of that" };
    const onProgress = ({ done }: Progress) => {
      if (done === 2) controller.abort(reason);
    };
    const error = await errorOf(() => run(work, 4, { signal: controller.signal, onProgress }));
    assert(error === reason);
    assertEquals(state, { begun: 3, ended: true });
  });

  test(`${name} passes on what onProgress throws and ends the work`, async () => {
    const { work, state } = slices([1, 1, 1]);
    const mistake = new Error("mine");
    const onProgress = () => {
      throw mistake;
    };
    assert(await errorOf(() => run(work, 3, { onProgress })) === mistake);
    assertEquals(state, { begun: 1, ended: true });
  });

  test(`${name} passes on what the work throws`, async () => {
    const mistake = new Error("its own");
    function* work(): Generator<number> {
      yield 1;
      throw mistake;
    }
    assert(await errorOf(() => run(work(), 2, {})) === mistake);
  });
}

test("finishInTurns() lets timers have their turn once a frame has passed", async () => {
  let turns = 0;
  const timer = setInterval(() => turns++, 1);
  await finishInTurns(slices([1, 1, 1, 1, 1, 1, 1, 1], 10).work, 8, {});
  clearInterval(timer);
  assert(turns >= 2, `${turns} turns in 80 ms`);
});

test("finishInTurns() begins at once, before its promise is waited for", async () => {
  const { work, state } = slices([1, 1]);
  const promise = finishInTurns(work, 2, {});
  assertEquals(state.begun, 2);
  await promise;
});

test("finish() gives nobody a turn", () => {
  let turns = 0;
  const timer = setTimeout(() => turns++, 0);
  finish(slices([1, 1, 1], 10).work, 3, {});
  assertEquals(turns, 0);
  clearTimeout(timer);
});
