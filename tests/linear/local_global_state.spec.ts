import { type Engine, type HostData, type Tensor, tensor } from "@flashtile/attention";
import { createLocalGlobalState, localGlobalAttention } from "@flashtile/attention/linear";
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { contract } from "../contract/backends.ts";
import { runs } from "../support/arbitrary.ts";
import { assertRefused, errorOf } from "../support/errors.ts";
import { assertResults, type DenseResults } from "../support/made_contract.ts";
import {
  denseOf,
  type MadeCall,
  randomCall,
  withSimilar,
  writtenOf,
} from "../support/made_keys.ts";
import { count } from "../support/problem.ts";
import { normals, seeded, whole } from "../support/random.ts";
import { numbersOf } from "../support/softmax.ts";

/** A random causal call. */
function causalCall(seed: number): MadeCall {
  const call = randomCall("localGlobal", seed);
  return { ...call, options: { ...call.options, causal: true } };
}

/** Rows of a tensor as it is written. */
function rowsOf(
  { rank, layout }: MadeCall,
  { strides, offset = 0, ...tensor }: Tensor<HostData>,
  from: number,
  to: number,
): Tensor<HostData> {
  const { shape } = tensor, axis = rank === 2 || layout === "bhnd" ? rank - 2 : rank - 3;
  const steps = strides ?? shape.map((_, at) => count(shape.slice(at + 1)));
  const own = shape.map((extent, at) => at === axis ? to - from : extent);
  return { ...tensor, shape: own, strides: steps, offset: offset + from * steps[axis] };
}

/** Numbers `[B, H, n, D]` of some rows among those of all. */
function place(all: Float32Array, part: Float32Array, width: number, from: number, rows: number) {
  const total = all.length / width, own = part.length / width, heads = total / rows;
  const each = own / heads;
  for (let head = 0; head < heads; head++) {
    const some = part.subarray(head * each * width, (head + 1) * each * width);
    all.set(some, (head * rows + from) * width);
  }
}

/** A call step by step. */
async function stepped(call: MadeCall, engine: Engine): Promise<DenseResults> {
  const { sizes: { B, Hq, Nk, Dv }, random, options } = call;
  const { q, k, v, options: { pool, layout } } = writtenOf(call);
  const { block, scale } = options as { block: number; scale?: number };
  using state = createLocalGlobalState({ block, scale, pool, layout, engine } as never);
  const out = new Float32Array(B * Hq * Nk * Dv), lse = new Float32Array(B * Hq * Nk);
  for (let from = 0, to = 0; from < Nk; from = to) {
    to = Math.min(Nk, from + whole(random, 1, random() < 0.5 ? 3 : 60));
    const part = (tensor: Tensor<HostData>) => rowsOf(call, tensor, from, to);
    const step = await state.step(part(q), part(k), part(v), { lse: true });
    place(out, denseOf(call, step.out as Tensor<HostData>), Dv, from, Nk);
    place(lse, numbersOf(step.lse as Tensor<HostData>), 1, from, Nk);
    assertEquals(state.rows, to);
  }
  return { call, out, lse };
}

contract(
  "steps of any sizes give what the causal function over all rows gives",
  async (engine) => {
    await fc.assert(
      fc.asyncProperty(fc.nat(), async (seed) => {
        const results: DenseResults[] = [];
        for (const call of withSimilar(causalCall(seed))) results.push(await stepped(call, engine));
        assertResults(results);
      }),
      runs(100),
    );
  },
  { daily: 1 / 3 },
);

/** Rows `[2, n, 4]` of numbers. */
function draw(n: number, seed: number): Tensor<Float32Array<ArrayBuffer>> {
  return tensor(normals(2 * n * 4, seeded(seed)) as Float32Array<ArrayBuffer>, [2, n, 4]);
}

/** Some rows of such a tensor. */
function cut({ data, shape: [, n] }: Tensor<Float32Array>, from: number, to: number) {
  return { data, shape: [2, to - from, 4], strides: [n * 4, 4, 1], offset: from * 4 };
}

contract(
  "a decoder that has come far has the memory of a block and of summaries",
  async (engine) => {
    const [q, k, v] = [draw(700, 1), draw(700, 2), draw(700, 3)];
    const { out } = await localGlobalAttention(q, k, v, { block: 9, causal: true, engine });
    const state = createLocalGlobalState({ block: 9, engine });
    await state.step(cut(q, 0, 500), cut(k, 0, 500), cut(v, 0, 500));
    let bytes = 0;
    for (let at = 500; at < 700; at++) {
      const { out: row } = await state.step(
        cut(q, at, at + 1),
        cut(k, at, at + 1),
        cut(v, at, at + 1),
      );
      for (let head = 0; head < 2; head++) {
        for (let d = 0; d < 4; d++) {
          const wanted = out.data[(head * 700 + at) * 4 + d];
          assert(Math.abs(row.data[head * 4 + d] - wanted) <= 3e-6, `${at}: ${d}`);
        }
      }
      if (at === 550) bytes = engine.memoryBytes;
    }
    assertEquals(engine.memoryBytes, bytes);
    state.close();
  },
  { needs: "linearMemory", daily: 1 },
);

contract("steps that are asked for at once follow one another", async (engine) => {
  const [q, k, v] = [draw(40, 1), draw(40, 2), draw(40, 3)];
  const { out } = await localGlobalAttention(q, k, v, { block: 5, causal: true, engine });
  using state = createLocalGlobalState({ block: 5, engine });
  const steps = [[0, 7], [7, 8], [8, 31], [31, 40]].map(([from, to]) =>
    state.step(cut(q, from, to), cut(k, from, to), cut(v, from, to))
  );
  const last = (await Promise.all(steps))[3].out;
  for (let at = 0; at < 9 * 4; at++) {
    assert(Math.abs(last.data[at] - out.data[31 * 4 + at]) <= 3e-6);
  }
}, { daily: 1 });

contract("a step that fails leaves the state as it was, and no memory", async (engine) => {
  const [q, k, v] = [draw(90, 1), draw(90, 2), draw(90, 3)];
  const { out } = await localGlobalAttention(q, k, v, { block: 4, causal: true, engine });
  using state = createLocalGlobalState({ block: 4, engine });
  const step = (from: number, to: number, more = {}) =>
    state.step(cut(q, from, to), cut(k, from, to), cut(v, from, to), more);
  await step(0, 41);
  const bytes = engine.memoryBytes, reason = new Error("enough");
  for (const most of [0, 1, 3, 6]) {
    let looks = 0;
    const signal = {
      reason,
      get aborted() {
        return looks++ >= most;
      },
    };
    // Other rows, over blocks that end on the way.
    const other = state.step(cut(k, 0, 20), cut(v, 0, 20), cut(q, 0, 20), {
      signal: signal as never,
    });
    assertEquals(await errorOf(() => other), reason);
    assertEquals(state.rows, 41);
  }
  assertEquals(engine.memoryBytes, bytes);
  const { out: rest } = await step(41, 90);
  for (let at = 0; at < 49 * 4; at++) {
    assert(Math.abs(rest.data[at] - out.data[41 * 4 + at]) <= 3e-6);
  }
}, { needs: "linearMemory", daily: 2 });

contract("states refuse what does not fit", async (engine) => {
  const create = (options: object) => () => createLocalGlobalState({ engine, ...options } as never);
  const cannot = "Cannot compute `createLocalGlobalState()`: ";
  const pool = tensor(new Float32Array(3), [3]);
  for (
    const [act, kind, message] of [
      [create({}), TypeError, "`block` must be a whole number of at least 1, got undefined"],
      [create({ block: 0 }), RangeError, "`block` must be a whole number of at least 1, got 0"],
      [
        create({ block: 2, pool }),
        RangeError,
        "`pool` must be [block = 2] or [Hkv, block], got [3]",
      ],
      [create({ block: 2, scale: NaN }), RangeError, "`scale` must be finite in f32, got NaN"],
      [
        create({ block: 2, causal: true }),
        TypeError,
        "unknown option `causal`, known are block, pool, scale, layout, engine",
      ],
    ] as const
  ) await assertRefused(act, kind, cannot + message);
  const state = createLocalGlobalState({ block: 2, engine }),
    x = draw(3, 1),
    step = "Cannot compute `step()`: ";
  const empty = tensor(new Float32Array(0), [2, 0, 4]);
  assertEquals((await state.step(empty, empty, empty)).out.shape, [2, 0, 4]);
  await state.step(x, x, x);
  const wide = tensor(new Float32Array(2 * 3 * 5), [2, 3, 5]);
  await assertRefused(
    () => state.step(x, x, wide),
    RangeError,
    `${step}Dv must be 4 as in the first step, got 5`,
  );
  await assertRefused(
    () => state.step(cut(x, 0, 1), x, x),
    RangeError,
    `${step}\`k\` must have Nk = 1 rows as \`q\` has, since each query stands on the key of its ` +
      "position, got 3",
  );
  await assertRefused(
    () => state.step(x, x, x, { scale: 1 } as never),
    TypeError,
    `${step}unknown option \`scale\`, known are lse, signal, out`,
  );
  assertEquals(state.rows, 3);
  state.close();
  state.close();
  await assertRefused(
    () => state.step(x, x, x),
    Error,
    "Cannot compute `step()`: the state was closed",
  );
}, { daily: 1 });

contract("a state on a closed engine says so", async (engine) => {
  const state = createLocalGlobalState({ block: 2, engine }), x = draw(3, 1);
  await state.step(x, x, x);
  await engine.close();
  const refused = await errorOf(() => state.step(x, x, x)) as Error;
  assertEquals(refused.message, "Cannot use an engine after `close()`");
}, { daily: 1 });
