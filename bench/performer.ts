/**
 * `deno task bench:performer [--json FILE]`: performer attention on one thread, D = 64, 256 features: how many times as
 * fast as exact attention it is at 16,384 rows, in arrays and in engine tensors (exact attention is timed at half the
 * rows, times 4); microseconds a token from 1,024 rows to 65,536; and of a step after ten rows and after 20,000. The
 * result is checked first.
 *
 * @module
 */

import "../tools/help.ts";
import { attention, createEngine, type Engine, type Tensor } from "@flashtile/attention";
import {
  createPerformerState,
  performerAttention,
  performerProjection,
} from "@flashtile/attention/linear";
import { referencePerformerAttention } from "@flashtile/attention/reference";
import { writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { machine } from "./machine.ts";
import { numbers } from "./numbers.ts";
import { median } from "./spread.ts";

const dim = 64, features = 256, rows = 16_384;

/** Rounds: subjects take turns in each. */
const rounds = 9;

/** So many rows, with those of queries, keys and values one behind the other. */
function tensors(count: number): readonly [Tensor, Tensor, Tensor] {
  const data = numbers(3 * count * dim), shape = [count, dim];
  const part = (at: number) => ({
    data: data.subarray(at * count * dim, (at + 1) * count * dim),
    shape,
  });
  return [part(0), part(1), part(2)];
}

async function check(engine: Engine): Promise<void> {
  const [q, k, v] = tensors(100), projection = performerProjection({ dim, features });
  for (const causal of [false, true]) {
    const { out } = await performerAttention(q, k, v, { features, causal, engine });
    const exact = referencePerformerAttention(q, k, v, { projection, causal }).out.data;
    const wrong = exact.some((x, at) => Math.abs(x - out.data[at]) > 1e-5);
    if (wrong) throw new Error(`performerAttention() is wrong, causal ${causal}`);
  }
}

async function milliseconds(run: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await run();
  return performance.now() - start;
}

/** The same tensor in an engine's memory. */
function resident(engine: Engine, { data, shape }: Tensor): Tensor {
  const own = engine.tensor(shape);
  own.data.set(data);
  return own;
}

/** How many times as fast as exact attention, within rounds. */
async function ratios(engine: Engine, causal: boolean) {
  const [q, k, v] = tensors(rows), [a, b, c] = [q, k, v].map((x) => resident(engine, x));
  const half = ({ data }: Tensor) => ({
    data: data.subarray(0, rows / 2 * dim),
    shape: [rows / 2, dim],
  });
  const options = { features, causal, engine }, out = engine.tensor([rows, dim]);
  const times: number[][] = [];
  for (let round = 0; round < rounds; round++) {
    const exact = 4 *
      await milliseconds(() => attention(half(q), half(k), half(v), { causal, engine }));
    const arrays = await milliseconds(() => performerAttention(q, k, v, options));
    const own = await milliseconds(() => performerAttention(a, b, c, { ...options, out }));
    times.push([exact, arrays, own]);
  }
  return {
    arrays: median(times.map(([exact, arrays]) => exact / arrays)),
    own: median(times.map(([exact, , own]) => exact / own)),
  };
}

/** Microseconds a token of each length, the best of the rounds. */
async function growth(engine: Engine, causal: boolean): Promise<Record<string, number>> {
  const best: Record<string, number> = {};
  for (const count of [1024, 4096, rows, 65_536]) {
    const [q, k, v] = tensors(count);
    const times = [];
    for (let round = 0; round < rounds; round++) {
      const call = () => performerAttention(q, k, v, { features, causal, engine });
      times.push(await milliseconds(call));
    }
    best[count] = 1000 * Math.min(...times) / count;
  }
  return best;
}

/** Microseconds of a step of one head, the best of 200 after ten rows and after 20,000. */
async function steps(engine: Engine): Promise<readonly number[]> {
  const state = createPerformerState({ features, engine }), [row] = tensors(1);
  const best = [];
  for (const before of [10, 20_000]) {
    while (state.rows < before) await state.step(row, row, row);
    let least = Infinity;
    for (let step = 0; step < 200; step++) {
      least = Math.min(least, await milliseconds(() => state.step(row, row, row)));
    }
    best.push(1000 * least);
  }
  state.close();
  return best;
}

const { values } = parseArgs({ options: { json: { type: "string" } } });
const head = { machine: machine(), dim, features, rows };
console.log(`${head.machine.cpu}, ${head.machine.runtime}: one thread`);
await using engine = await createEngine({ backend: "wasm", threads: 1 }) as Engine;
await check(engine);
const found = [];
for (const causal of [false, true]) {
  const over = await ratios(engine, causal), microseconds = await growth(engine, causal);
  found.push({ causal, over, microseconds });
  const tokens = Object.entries(microseconds).map(([count, time]) =>
    `${count}: ${time.toFixed(2)}`
  );
  console.log(
    `${causal ? "causal" : "dense"}: ${over.arrays.toFixed(1)} times exact attention in arrays, ` +
      `${over.own.toFixed(1)} in engine tensors; us a token at ${tokens.join(", ")}`,
  );
}
const [early, late] = await steps(engine);
console.log(`a step after 10 rows ${early.toFixed(0)} us, after 20,000 ${late.toFixed(0)} us`);
if (values.json !== undefined) {
  await writeFile(
    values.json,
    `${JSON.stringify({ ...head, found, steps: [early, late] }, null, 2)}\n`,
  );
}
