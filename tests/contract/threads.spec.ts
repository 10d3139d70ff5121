import { createEngine, type Engine, type HostData, type HostTensor } from "@flashtile/attention";
import { assert, assertEquals } from "@std/assert";
import { test } from "node:test";
import { threadsUnavailable } from "../../src/runtime.ts";
import { cutPlan } from "../../src/wasm/attention/jobs.ts";
import { assertSameBits } from "../support/bits.ts";
import { withEngines } from "../support/engines.ts";
import { assertRefused, errorOf } from "../support/errors.ts";
import { planOf } from "../support/plan.ts";
import { type Inputs, inputsOf, type Meaning, randomProblem, sizesOf } from "../support/problem.ts";
import { residentOf } from "../support/resident.ts";
import { stored } from "../support/storage.ts";
import { longTest } from "../support/share.ts";

test("threads can be had on every runtime that the tests run on", () => {
  assertEquals(threadsUnavailable(), undefined);
});

interface Case {
  readonly name: string;
  readonly sizes: Parameters<typeof sizesOf>[0];
  readonly meaning?: Meaning;
}

/** Calls with enough work that threads take part. */
const cases: readonly Case[] = [
  { name: "4 heads", sizes: { Hq: 4, Nq: 300, D: 64 } },
  { name: "causal", sizes: { Hq: 4, Nq: 300, D: 64 }, meaning: { causal: true } },
  {
    name: "grouped heads",
    sizes: { Hq: 8, Hkv: 2, Nq: 200, Nk: 333, D: 40, Dv: 24 },
    meaning: { causal: true, offset: 40 },
  },
  {
    name: "ragged sizes",
    sizes: { B: 2, Hq: 3, Nq: 257, Nk: 301, D: 33, Dv: 17 },
    meaning: { causal: "top-left" },
  },
  {
    name: "several batches",
    sizes: { B: 5, Hq: 2, Nq: 150, Nk: 200, D: 64 },
    meaning: { causal: true, offset: [-300, -20, 0, 50, 300] },
  },
  { name: "one head in runs of positions", sizes: { Nq: 3000, Nk: 20, D: 256, Dv: 300 } },
  { name: "many heads in waves", sizes: { B: 3, Hq: 12, Nq: 40, Nk: 700, D: 64 } },
  { name: "70 heads that share one", sizes: { Hq: 70, Hkv: 1, Nq: 9, Nk: 400, D: 20 } },
  ...[1, 2, 3, 4].map((Nq): Case => ({
    name: `10,000 keys in parts, ${Nq} queries`,
    sizes: { Hq: 8, Hkv: 2, Nq, Nk: 10_000, D: 64 },
    meaning: { causal: true, offset: Nq === 2 ? 3000 : 9999 - Nq },
  })),
  { name: "keys in parts, many heads", sizes: { B: 3, Hq: 8, Nq: 2, Nk: 5000, D: 16, Dv: 20 } },
];

function bytesOf({ data: { buffer, byteOffset, byteLength } }: HostTensor): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

interface Results {
  readonly out: HostTensor;
  readonly lse: HostTensor;
}

function assertSame(actual: Results, expected: Results, what: string): void {
  assertSameBits(bytesOf(actual.out), bytesOf(expected.out), `out ${what}`);
  assertSameBits(bytesOf(actual.lse), bytesOf(expected.lse), `lse ${what}`);
}

for (const { name, sizes, meaning } of cases) {
  test(`attention() gives the same bits for any number of threads: ${name}`, async () => {
    assertEquals(cutPlan(planOf(sizes, meaning), 3).threads, 3);
    const { q, k, v } = inputsOf(randomProblem(sizesOf(sizes), 1));
    const options = { ...meaning, lse: true } as const;
    await withEngines(async (alone, teams) => {
      const expected = await alone.attention(q, k, v, options);
      assertSame(alone.attentionSync(q, k, v, options), expected, "of one thread, sync");
      for (const [at, engine] of teams.entries()) {
        // The first call may be over before a worker is there.
        for (let time = 0; time < 3; time++) {
          const what = `of ${at + 2} threads, time ${time}`;
          assertSame(await engine.attention(q, k, v, options), expected, what);
          assertSame(engine.attentionSync(q, k, v, options), expected, `${what}, sync`);
        }
      }
    });
  });
}

test("attention() gives the same bits for any number of threads: in 16 bits, resident", async () => {
  const inputs = inputsOf(randomProblem(sizesOf({ B: 2, Hq: 4, Hkv: 2, Nq: 200, D: 48 }), 2));
  const options = { causal: true, lse: true } as const;
  await withEngines(async (alone, teams) => {
    for (const dtype of ["f32", "f16", "bf16"] as const) {
      const [q, k, v] = [inputs.q, inputs.k, inputs.v].map((one) => stored(one, dtype));
      const expected = await alone.attention(q, k, v, options);
      for (const engine of teams) {
        const held = [q, k, v, q].map((tensor) => residentOf(engine, tensor));
        const [rq, rk, rv, out] = held;
        const { lse } = await engine.attention(rq, rk, rv, { ...options, out });
        assertSame({ out, lse }, expected, dtype);
        held.forEach((tensor) => tensor.free());
      }
    }
  });
});

const large = inputsOf(randomProblem(sizesOf({ Hq: 4, Nq: 400, D: 64 }), 3));
const parts = inputsOf(randomProblem(sizesOf({ Hq: 4, Nq: 3, Nk: 9000, D: 64 }), 4));
const small = inputsOf(randomProblem(sizesOf({ Hq: 2, Nq: 9, D: 8 }), 5));

function run(engine: Engine, { q, k, v }: Inputs, options = {}) {
  return engine.attention(q, k, v, { lse: true, ...options });
}

/** An engine of three threads, and what calls must give. */
async function withTeam(
  use: (engine: Engine, expected: (inputs: Inputs) => Promise<Results>) => Promise<void>,
): Promise<void> {
  await using alone = await createEngine({ threads: 1 });
  await using engine = await createEngine({ threads: 3 });
  await run(engine, large);
  await use(engine, (inputs) => run(alone, inputs));
}

longTest(
  "attention() on threads gives right answers to calls at the same time",
  async () => {
    await withTeam(async (engine, expected) => {
      for (let time = 0; time < 5; time++) {
        const calls = [large, parts, small, large, small, parts, large];
        const results = await Promise.all(calls.map((inputs) => run(engine, inputs)));
        for (const [at, inputs] of calls.entries()) {
          assertSame(results[at], await expected(inputs), `of call ${at}`);
        }
      }
    });
  },
);

longTest(
  "attentionSync() on threads runs while asynchronous calls do",
  async () => {
    await withTeam(async (engine, expected) => {
      for (let time = 0; time < 5; time++) {
        const going = [run(engine, large), run(engine, parts)];
        for (const { q, k, v } of [large, parts, small]) {
          const sync = engine.attentionSync(q, k, v, { lse: true });
          assertSame(sync, await expected({ q, k, v }), "of the synchronous call");
        }
        assertSame(await going[0], await expected(large), "of the first");
        assertSame(await going[1], await expected(parts), "of the second");
      }
    });
  },
);

test("attention() on threads works again after calls were aborted in the middle", async () => {
  await withTeam(async (engine, expected) => {
    const bytes = engine.memoryBytes;
    for (let time = 0; time < 10; time++) {
      const controller = new AbortController();
      const call = run(engine, large, { signal: controller.signal });
      if (time % 2 === 0) controller.abort("stop");
      else setTimeout(() => controller.abort("stop"), time / 4);
      await call.catch((reason: unknown) => assertEquals(reason, "stop"));
    }
    assertSame(await run(engine, large), await expected(large), "after the aborts");
    assertEquals(engine.memoryBytes, bytes);
  });
});

test("close() on threads makes all running calls reject, once they have stopped", async () => {
  const engine = await createEngine({ threads: 3 });
  const calls = [large, parts, large, small].map((inputs) => errorOf(() => run(engine, inputs)));
  await engine.close();
  const closed = "Cannot use an engine after `close()`";
  // The small one is over before it is asked.
  for (const error of await Promise.all(calls.slice(0, 3))) {
    assertEquals((error as Error).message, closed);
  }
  await assertRefused(() => run(engine, small), Error, closed);
});

test("close() on threads may be called twice, and before any call", async () => {
  const engine = await createEngine({ threads: 2 });
  await Promise.all([engine.close(), engine.close()]);
  await engine.close();
  assertEquals(engine.memoryBytes, 0);
});

for (const threads of [1, 2]) {
  longTest(
    `memoryBytes stays the same over 10,000 mixed calls, ${threads} threads`,
    async () => {
      await using engine = await createEngine({ threads });
      const shapes = Array.from({ length: 20 }, (_, at) =>
        inputsOf(
          randomProblem(sizesOf({ Hq: 1 + at % 3, Nq: 1 + at % 7, Nk: 1 + at * 3, D: 4 + at }), at),
        ));
      const step = (at: number) => {
        const inputs = at % 1000 === 50 ? large : at % 1000 === 70 ? parts : shapes[at % 20];
        engine.attentionSync(inputs.q, inputs.k, inputs.v, { lse: at % 2 === 0 });
      };
      for (let at = 0; at < 100; at++) step(at);
      const bytes = engine.memoryBytes;
      for (let at = 100; at < 10_000; at++) step(at);
      assertEquals(engine.memoryBytes, bytes);
    },
  );
}

test("an engine's tensors of before its shared memory grew still name its memory", async () => {
  await withTeam(async (engine, expected) => {
    const q = engine.tensor(large.q.shape);
    q.data.set(large.q.data);
    const old: HostData = q.data;
    const bytes = engine.memoryBytes;
    const held = engine.tensor([2 ** 22]);
    assert(engine.memoryBytes > bytes);
    const view = { data: old as Float32Array, shape: large.q.shape };
    const { lse } = await run(engine, { ...large, q: view }, { out: view });
    assertSame({ out: q, lse }, await expected(large), "in place");
    held.free();
  });
});
