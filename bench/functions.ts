/**
 * `deno task bench:functions [--rounds N] [--json FILE]`: score and mask functions against calls without them, in turn in one
 * process: of each case the median of the ratios within a round, with its quartiles. Dense calls are the measure of score
 * functions, the option that says the same that of masks. Then the same of gradients. All are written so that none is taken for
 * an option.
 *
 * @module
 */

import "../tools/help.ts";
import { writeFile } from "node:fs/promises";
import process from "node:process";
import { parseArgs } from "node:util";
import {
  type AttentionOptions,
  captured,
  createEngine,
  type Engine,
  type Tensor,
  tensor,
  where,
} from "../mod.ts";
import { programs } from "../src/wasm/scored/compiled.ts";
import { machine } from "./machine.ts";

const heads = 2, length = 2048, dim = 64;

/** Numbers of a normal distribution, the same in every run (Box and Muller). */
function normals(count: number, seed: number): Float32Array {
  let state = seed;
  const next = () => (state = state * 48271 % 2147483647) / 2147483647;
  for (let at = 0; at < 20; at++) next();
  return Float32Array.from(
    { length: count },
    () => Math.sqrt(-2 * Math.log(next())) * Math.cos(2 * Math.PI * next()),
  );
}

interface Case {
  readonly name: string;
  readonly options: AttentionOptions;
  /** What it is measured by; a dense call by default. */
  readonly against?: AttentionOptions;
}

const table = captured(normals(heads * 2 * length, 5), [heads, 2 * length]);
const learned = captured(normals(heads * 2 * length, 5), [heads, 2 * length], { grad: true });
const bias = captured(normals(heads * 32, 6), [32, heads]);
const slopes = captured(Float32Array.from({ length: heads }, (_, h) => 2 ** -(h + 1)), [heads]);
const gate = captured(normals(length, 7), [length]);

/** T5's buckets: exact for near keys, by logarithms for far ones. */
const buckets = captured(
  Int32Array.from({ length: 2 * length }, (_, at) => {
    const apart = Math.abs(at - length), half = 16;
    const far = Math.floor(8 + Math.log(apart / 8) / Math.log(128 / 8) * 8);
    return (at > length ? half : 0) + (apart < 8 ? apart : Math.min(15, far));
  }),
  [2 * length],
);

/** Documents of several lengths, one after the other, and where each begins. */
const starts = [0, 100, 612, 700, 1100, 1164, 1500, length];
const document = captured(
  Int32Array.from({ length }, (_, at) => starts.findIndex((start) => at < start)),
  [length],
);

const cases: readonly Case[] = [
  {
    name: "ALiBi",
    options: {
      scoreMod: (score, { h, q, k }) => score.add(slopes.at(h).mul(q.sub(k).toF32().abs()).neg()),
    },
  },
  {
    name: "a table by q - k",
    options: { scoreMod: (score, { h, q, k }) => score.add(table.at(h, q.sub(k).add(length))) },
  },
  {
    name: "T5's buckets",
    options: {
      scoreMod: (score, { h, q, k }) => score.add(bias.at(buckets.at(q.sub(k).add(length)), h)),
    },
  },
  {
    name: "a table that nothing makes a diagonal of",
    options: {
      scoreMod: (score, { h, q, k }) => score.add(table.at(h, q.mul(2).sub(k))),
    },
  },
  { name: "softcap", options: { scoreMod: (score) => score.div(20).tanh().mul(20.01) } },
  {
    name: "a sigmoid gate of scores",
    options: { scoreMod: (score, { q }) => score.mul(score.add(gate.at(q)).sigmoid()) },
  },
  {
    name: "ten operations",
    options: {
      scoreMod: (score, { q, k }) => {
        const a = score.mul(0.5).add(gate.at(k)), b = a.abs().min(3).sub(gate.at(q));
        return where(b.gt(a), b.mul(a), a.sub(1)).max(-4).add(score);
      },
    },
  },
  {
    name: "documents",
    options: { maskMod: ({ q, k }) => document.at(q).eq(document.at(k)) },
    against: { cuSeqlens: starts },
  },
  {
    name: "a window of 256",
    options: { maskMod: ({ q, k }) => q.sub(k).ge(0).and(q.sub(k).lt(256)).and(k.ge(0)) },
    against: { causal: true, window: [255, 0] },
  },
  {
    name: "causal",
    options: { maskMod: ({ q, k }) => q.ge(k).and(k.ge(0)) },
    against: { causal: true },
  },
];

/** Those whose gradients are raced too, and one by an array. */
const differentiated: readonly Case[] = [
  ...cases,
  {
    name: "a table by q - k that is learned",
    options: { scoreMod: (score, { h, q, k }) => score.add(learned.at(h, q.sub(k).add(length))) },
  },
];

interface Line {
  readonly name: string;
  readonly milliseconds: number;
  /** Times of what it is measured by: median and quartiles of the ratios within a round. */
  readonly ratio: readonly [median: number, lower: number, upper: number];
}

function quantile(samples: readonly number[], part: number): number {
  return samples.toSorted((a, b) => a - b)[Math.floor((samples.length - 1) * part)];
}

const shape = [1, heads, length, dim];

type Act = (options: AttentionOptions) => void;

/** Calls of an engine, by what they are. */
function actsOf(engine: Engine): Readonly<Record<"forward" | "backward", Act>> {
  const [q, k, v] = [1, 2, 3].map((seed): Tensor =>
    tensor(normals(heads * length * dim, seed), shape)
  );
  const out = tensor(new Float32Array(heads * length * dim), shape);
  const { lse } = engine.attentionSync(q, k, v, { out, lse: true });
  return {
    forward: (options) => engine.attentionSync(q, k, v, { ...options, out }),
    // Of a result that is not its own: as much work.
    backward: (options) => engine.attentionBackwardSync(q, q, k, v, { ...options, out, lse }),
  };
}

function race(act: Act, { name, options, against = {} }: Case, rounds: number): Line {
  const asked = [against, options], times: number[][] = [[], []];
  for (let round = -3; round < rounds; round++) {
    for (const turn of [0, 1]) {
      const which = (turn + round + 4) % 2, start = performance.now();
      act(asked[which]);
      if (round >= 0) times[which].push(performance.now() - start);
    }
  }
  const ratios = times[1].map((time, at) => time / times[0][at]);
  return {
    name,
    milliseconds: quantile(times[1], 0.5),
    ratio: [0.5, 0.25, 0.75].map((part) => quantile(ratios, part)) as [number, number, number],
  };
}

function print({ name, milliseconds, ratio: [median, lower, upper] }: Line): void {
  const spread = `${lower.toFixed(3)} to ${upper.toFixed(3)}`;
  console.log(
    `${name.padEnd(42)} ${milliseconds.toFixed(1).padStart(7)} ms  ${
      median.toFixed(3)
    } (${spread})`,
  );
}

const { values } = parseArgs({
  args: process.argv.slice(2),
  options: { rounds: { type: "string", default: "21" }, json: { type: "string" } },
});
const engine = await createEngine({ backend: "wasm", threads: 1 });
await engine.warmup({ functions: true, gradients: true });
const { forward, backward } = actsOf(engine), rounds = Number(values.rounds);
const results = { forward: [] as Line[], backward: [] as Line[] };
for (const one of cases) {
  results.forward.push(race(forward, one, rounds));
  print(results.forward.at(-1)!);
}
console.log("\nGradients");
for (const one of differentiated) {
  results.backward.push(race(backward, one, rounds));
  print(results.backward.at(-1)!);
}
console.log(`\n${programs.count} programs were compiled`);
await engine.close();
if (values.json !== undefined) {
  await writeFile(values.json, JSON.stringify({ machine: machine(), ...results }, null, 2) + "\n");
}
