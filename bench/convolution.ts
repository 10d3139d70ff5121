/**
 * `deno task bench:convolution [--json FILE]`: convolutions on one thread, of engine tensors. How many times as fast as
 * exact attention they are at 16,384 rows (that at half the rows, times four, in the same run); what a row costs at other
 * lengths; and what a token costs, step by step, at the 10th and at the 100,000th. Each is checked first.
 *
 * @module
 */

import "../tools/help.ts";
import { createEngine, type Engine, type EngineTensor } from "@flashtile/attention";
import {
  createLightweightConvolutionState,
  dynamicConvolution,
  lightweightConvolution,
} from "@flashtile/attention/linear";
import {
  referenceDynamicConvolution,
  referenceLightweightConvolution,
} from "@flashtile/attention/reference";
import { writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { machine } from "./machine.ts";
import { numbers } from "./numbers.ts";
import { median } from "./spread.ts";

const D = 64, rounds = 9;

/** Something to time. */
interface Subject {
  readonly name: string;
  run(): Promise<unknown>;
  free(): void;
}

const convolutions = {
  lightweight: { compute: lightweightConvolution, oracle: referenceLightweightConvolution },
  dynamic: { compute: dynamicConvolution, oracle: referenceDynamicConvolution },
} as const;

type Kind = keyof typeof convolutions;

const kinds = Object.keys(convolutions) as Kind[];

function filled(engine: Engine, shape: readonly number[]): EngineTensor {
  const one = engine.tensor(shape);
  one.data.set(numbers(one.data.length));
  return one;
}

/** A causal convolution of some rows, whose first ones are right. */
async function subjectOf(
  engine: Engine,
  kind: Kind,
  [heads, rows, width]: readonly [number, number, number],
): Promise<Subject> {
  const { compute, oracle } = convolutions[kind], shape = [heads, rows, D];
  const v = filled(engine, shape), out = engine.tensor(shape);
  const weights = filled(engine, kind === "dynamic" ? [heads, rows, width] : [heads, width]);
  const run = () => compute(v, weights, { causal: true, out, engine });
  await run();
  const some = Math.min(rows, 200);
  const first = (last: number, { data }: EngineTensor) => data.subarray(0, some * last);
  const { data } = oracle(
    { data: first(D, v), shape: [1, some, D] },
    kind === "dynamic"
      ? { data: first(width, weights), shape: [1, some, width] }
      : { data: weights.data.subarray(0, width), shape: [1, width] },
    { causal: true },
  ).out;
  const got = first(D, out);
  if (data.some((x, at) => Math.abs(x - got[at]) > 1e-5)) throw new Error(`${kind} is wrong`);
  const free = () => [v, out, weights].forEach((one) => one.free());
  return { name: `${kind}, ${heads} heads, ${rows} rows, ${width} taps`, run, free };
}

/** Milliseconds of each subject's fastest run in each round: they take turns. */
async function race(subjects: readonly Subject[], repeats: number): Promise<number[][]> {
  const times = subjects.map((): number[] => []);
  for (let round = 0; round < rounds; round++) {
    for (const [index, { run }] of subjects.entries()) {
      let best = Infinity;
      for (let repeat = 0; repeat < repeats; repeat++) {
        const start = performance.now();
        await run();
        best = Math.min(best, performance.now() - start);
      }
      times[index].push(best);
    }
  }
  for (const { free } of subjects) free();
  return times;
}

/** How many times as fast as exact attention of as many rows and heads. */
async function measureRatios(engine: Engine) {
  const rows = 16_384, half = filled(engine, [1, rows / 2, D]), out = engine.tensor(half.shape);
  const exact: Subject = {
    name: "exact",
    run: () => engine.attention(half, half, half, { out }),
    free: () => [half, out].forEach((one) => one.free()),
  };
  const asked = [1, 8].flatMap((heads) =>
    [31, 3].flatMap((width) => kinds.map((kind) => ({ kind, heads, width })))
  );
  const subjects = [exact];
  for (const { kind, heads, width } of asked) {
    subjects.push(await subjectOf(engine, kind, [heads, rows, width]));
  }
  const [ofExact, ...times] = await race(subjects, 2);
  return asked.map(({ heads }, at) => ({
    name: subjects[at + 1].name,
    milliseconds: median(times[at]),
    overExact: median(times[at].map((own, round) => 4 * heads * ofExact[round] / own)),
  }));
}

/** Nanoseconds of a row at some lengths. */
async function measureGrowth(engine: Engine) {
  const found = [];
  for (const kind of kinds) {
    for (const rows of [1024, 4096, 16_384, 65_536]) {
      const subject = await subjectOf(engine, kind, [1, rows, 31]);
      const [times] = await race([subject], Math.max(5, Math.ceil(65_536 / rows)));
      found.push({ name: subject.name, nanoseconds: median(times) * 1e6 / rows });
    }
  }
  return found;
}

/** Microseconds of a step of one row at the 100,000th token, and at the 10th of states that begin then. */
async function measureSteps(engine: Engine) {
  const weights = filled(engine, [8, 31]), v = filled(engine, [8, 1, D]);
  const out = engine.tensor(v.shape);
  const timesOf = async (steps: number) => {
    const times: number[] = [], state = createLightweightConvolutionState(weights, { engine });
    for (let token = 0; token < steps; token++) {
      const start = performance.now();
      await state.step(v, { out });
      times.push(performance.now() - start);
    }
    state.close();
    return times.slice(-10);
  };
  const late = await timesOf(100_000), early: number[] = [];
  for (let time = 0; time < 100; time++) early.push(...await timesOf(20));
  return [[10, early], [100_000, late]].map(([token, times]) => ({
    token: token as number,
    microseconds: median(times as number[]) * 1000,
  }));
}

const { values } = parseArgs({ options: { json: { type: "string" } } });
const head = { machine: machine() };
console.log(`${head.machine.cpu}, ${head.machine.runtime}: D = ${D}, one thread`);
await using engine = await createEngine({ backend: "wasm", threads: 1 });
const ratios = await measureRatios(engine);
for (const { name, milliseconds, overExact } of ratios) {
  console.log(
    `${name}: ${milliseconds.toFixed(2)} ms, ${overExact.toFixed(0)} times exact attention`,
  );
}
const growth = await measureGrowth(engine);
for (const { name, nanoseconds } of growth) {
  console.log(`${name}: ${nanoseconds.toFixed(0)} ns a row`);
}
const steps = await measureSteps(engine);
for (const { token, microseconds } of steps) {
  console.log(`a step of 8 heads at token ${token}: ${microseconds.toFixed(1)} us`);
}
if (values.json) {
  await writeFile(values.json, JSON.stringify({ ...head, ratios, growth, steps }, null, 2) + "\n");
}
