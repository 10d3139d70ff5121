import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { createEngine, tensor } from "@flashtile/attention";
import {
  clock,
  clockBy,
  hardwareThreads,
  keepTime,
  yieldTurn,
  yieldTurnBy,
} from "../../src/runtime.ts";
import { withStub } from "../support/stub.ts";
import { longTest } from "../support/share.ts";

/** Fails unless a timer has its turn among many. */
async function expectTimer(turn: () => Promise<void>): Promise<void> {
  let turns = 0;
  const timer = setInterval(() => turns++, 1);
  const start = performance.now();
  while (turns === 0 && performance.now() - start < 2000) await turn();
  clearInterval(timer);
  assert(turns > 0, "no timer in two seconds of turns");
}

const { setTimeout, clearTimeout, MessageChannel } = globalThis;

/** What Next's edge runtime has. */
const stubs = {
  EdgeRuntime: "edge-runtime",
  setImmediate: () => {
    throw new Error("not supported");
  },
  MessageChannel: undefined,
};

for (
  const [what, turns] of [
    ["", yieldTurn],
    [" by messages where there are no immediates", yieldTurnBy({ setTimeout, MessageChannel })],
    [" by timers where there are neither immediates nor messages", yieldTurnBy({ setTimeout })],
    [" by timers where the others are stubs that throw", yieldTurnBy({ ...stubs, setTimeout })],
  ] as const
) {
  test(`yieldTurn() lets a timer have its turn${what}, however many turns are taken at once`, () => {
    return expectTimer(turns);
  });
}

test("hardwareThreads() takes no number that is none of threads", async () => {
  const told = async (hardwareConcurrency: unknown) => {
    let threads = -1;
    await withStub(globalThis, "navigator" as never, { hardwareConcurrency }, () => {
      threads = hardwareThreads();
    });
    return threads;
  };
  assertEquals([await told(3), await told(2.5), await told("4")], [3, 2, 4]);
  const known = await told(undefined);
  assert(Number.isInteger(known) && known >= 1);
  for (const wrong of [0, -1, NaN, Infinity, null, "many", {}]) {
    assertEquals(await told(wrong), known, String(wrong));
  }
});

/** Runs with timers that never call back and a clock that stands still, as tests of programs have them. */
async function withFakeTimers(use: () => Promise<void>): Promise<void> {
  const never = () => 0;
  const names = ["setTimeout", "setImmediate", "setInterval", "queueMicrotask"] as const;
  const stubbed = names.reduce(
    (inner, name) => () => withStub(globalThis, name as never, never, inner),
    () => withStub(globalThis, "MessageChannel" as never, undefined, use),
  );
  await withStub(performance, "now", () => 0, () => withStub(Date, "now", () => 0, stubbed));
}

longTest(
  "calls of many turns settle although the timers of the program are fake",
  () =>
    withFakeTimers(async () => {
      for (const threads of [1, 2]) {
        const engine = await createEngine({ backend: "wasm", threads });
        const x = tensor(new Float32Array(4 * 2048 * 64).fill(0.1), [4, 2048, 64]);
        let steps = 0;
        const { out, backward } = await engine.attentionWithGradient(x, x, x, {
          onProgress: () => steps++,
        });
        await backward(out);
        assert(steps > 1);
        await engine.close();
      }
    }),
);

test("timers that load when asked for, as Deno's, are left alone until a call needs them", async () => {
  const asked: string[] = [];
  const host = {
    Deno: {},
    clearTimeout,
    get setTimeout() {
      asked.push("setTimeout");
      return setTimeout;
    },
    get setImmediate() {
      asked.push("setImmediate");
      return undefined;
    },
  };
  const kept = keepTime(host), { now, after } = clockBy(kept);
  Object.defineProperty(host, "setTimeout", { value: () => 0 }); // As who fakes timers does.
  now();
  assertEquals(asked, []);
  await new Promise<void>((resolve) => after(0, resolve));
  assertEquals(asked, ["setTimeout"]);
  await yieldTurnBy(kept)();
  assertEquals(asked, ["setTimeout", "setImmediate", "setTimeout"]);
});

test("the clock goes on where there is no `performance`", () => {
  const { now } = clockBy({ setTimeout, clearTimeout }), first = now();
  assert(first > 0 && now() >= first);
});

test("the clock calls back, unless that is cancelled", async () => {
  const called: string[] = [];
  clock.cancel(clock.after(1, () => called.push("cancelled")));
  await new Promise<void>((resolve) => clock.after(5, resolve));
  assertEquals(called, []);
});
