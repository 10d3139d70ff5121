/**
 * `deno task bench:cache [--json FILE]`: decoding against KV caches of each storage, on all threads,
 * beside the rate at which the same bytes can be read at all; pages of several sizes; and how the time of
 * a step grows with the tokens.
 *
 * @module
 */

import "../tools/help.ts";
import { writeFile } from "node:fs/promises";
import process from "node:process";
import { parseArgs } from "node:util";
import {
  type CacheDType,
  createEngine,
  type Engine,
  type KvCache,
  type Tensor,
  tensor,
} from "../mod.ts";
import { hardwareThreads } from "../src/runtime.ts";
import { machine } from "./machine.ts";
import { numbers } from "./numbers.ts";
import { createReader } from "./read_rate.ts";

const D = 128, tokens = 32_768;

/** What is decoded. */
interface Shape {
  readonly dtype: CacheDType;
  readonly kvHeads: number;
  readonly heads: number;
  readonly pageSize?: number;
}

interface Line {
  readonly what: string;
  readonly milliseconds: number;
  readonly megabytes: number;
  readonly gigabytesPerSecond: number;
}

function median(samples: number[]): number {
  return samples.toSorted((a, b) => a - b)[samples.length >> 1];
}

function makeTokens(count: number, heads: number): Tensor {
  return tensor(numbers(heads * count * D), [1, heads, count, D]);
}

function fill(cache: KvCache, count: number, kvHeads: number): void {
  const step = 1024, some = makeTokens(step, kvHeads);
  for (let at = 0; at < count; at += step) cache.append(some, some);
}

/** Several caches, attended to in turn; and the plain sum over as many bytes as the first has. */
async function race(engine: Engine, shapes: readonly Shape[], rounds: number): Promise<Line[]> {
  const caches = shapes.map(({ heads: _, ...shape }) => {
    const cache = engine.kvCache({ headDim: D, ...shape });
    fill(cache, tokens, shape.kvHeads);
    return cache;
  });
  const queries = shapes.map(({ heads }) => makeTokens(1, heads));
  const reader = await createReader(caches[0].bytes, hardwareThreads());
  const samples = [...shapes, "sum"].map((): number[] => []);
  for (let round = 0; round < rounds; round++) {
    for (const [index, cache] of caches.entries()) {
      const start = performance.now();
      await cache.attend(queries[index]);
      samples[index].push(performance.now() - start);
    }
    samples.at(-1)!.push(await reader.read());
  }
  const line = (what: string, index: number, bytes: number): Line => {
    const milliseconds = median(samples[index].slice(2));
    return {
      what,
      milliseconds,
      megabytes: bytes / 1e6,
      gigabytesPerSecond: bytes / milliseconds / 1e6,
    };
  };
  const lines = shapes.map(({ dtype, kvHeads, heads, pageSize }, index) =>
    line(
      `${dtype}, Hq=${heads}, Hkv=${kvHeads}, pages of ${pageSize ?? 256}`,
      index,
      caches[index].bytes,
    )
  );
  lines.push(line("plain sum over the first", shapes.length, caches[0].bytes));
  for (const cache of caches) cache.free();
  await reader.close();
  return lines;
}

function print(title: string, lines: readonly Line[]): void {
  console.log(`\n${title}`);
  for (const { what, milliseconds, megabytes, gigabytesPerSecond } of lines) {
    console.log(
      `${what.padEnd(36)} ${milliseconds.toFixed(2).padStart(8)} ms  ` +
        `${megabytes.toFixed(0).padStart(5)} MB  ${
          gigabytesPerSecond.toFixed(1).padStart(5)
        } GB/s  ` +
        `${(lines[0].milliseconds / milliseconds).toFixed(2).padStart(5)}x the first`,
    );
  }
}

/** Times of the steps of a sequence that grows from 1,000 tokens on. */
async function stepTimes(engine: Engine): Promise<number[]> {
  const cache = engine.kvCache({ kvHeads: 8, headDim: D }), one = makeTokens(1, 8);
  fill(cache, 1024, 8);
  const steps: number[] = [];
  for (let at = 0; at < 3000; at++) {
    const start = performance.now();
    cache.append(one, one);
    await cache.attend(one);
    steps.push(performance.now() - start);
  }
  cache.free();
  return steps;
}

/**
 * Steps of a sequence that grows: times at some lengths, and the worst of all. Three sequences one after
 * another: what only one of them has is the machine's, what all have at the same step is ours.
 */
async function growth(): Promise<{ readonly [length: string]: number }> {
  const runs: number[][] = [];
  for (let run = 0; run < 3; run++) {
    // A new engine each, so that the memory grows anew.
    const engine = await createEngine({ backend: "wasm" });
    runs.push(await stepTimes(engine));
    await engine.close();
  }
  const late = runs.map((steps) => steps.slice(1000));
  const least = late[0].map((_, at) => Math.min(...late.map((steps) => steps[at])));
  // Later steps read more: each is compared with the hundred around it.
  const worst = (steps: readonly number[]) =>
    Math.max(...steps.map((time, at) => {
      const first = Math.max(0, Math.min(at - 50, steps.length - 100));
      return time / median(late.flatMap((run) => run.slice(first, first + 100)));
    }));
  return {
    "median of 100 steps at 1,100": median(runs.flatMap((steps) => steps.slice(50, 150))),
    "median of 100 steps at 4,000": median(runs.flatMap((steps) => steps.slice(2900))),
    "worst over the median around it, steps 2,000 to 4,000": Math.max(...late.map(worst)),
    "the same of what all three sequences have": worst(least),
  };
}

const { values } = parseArgs({ options: { json: { type: "string" } } });
const engine = await createEngine({ backend: "wasm" });
const eight = (dtype: CacheDType, pageSize?: number): Shape => ({
  ...{ dtype, kvHeads: 8, heads: 8 },
  ...(pageSize && { pageSize }),
});
const four = (heads: number): Shape => ({ dtype: "f32", kvHeads: 4, heads });
console.log(`One query, ${tokens} keys, D=${D}, all threads; medians in turn.`);
const storages = await race(
  engine,
  (["f32", "bf16", "f16", "int8", "int4"] as const).map((dtype) => eight(dtype)),
  21,
);
print("Storages", storages);
const groups = await race(engine, [four(4), four(16), four(32)], 21);
print("Query heads per key head", groups);
const pages = await race(engine, [2048, 256, 64, 16].map((pageSize) => eight("f32", pageSize)), 15);
print("Pages", pages);
const steps = await growth();
console.log("\nA growing sequence, 8 heads");
for (const [what, figure] of Object.entries(steps)) console.log(`${what}: ${figure.toFixed(2)}`);
await engine.close();
if (values.json !== undefined) {
  const report = { machine: machine(), storages, groups, pages, steps };
  await writeFile(values.json, JSON.stringify(report, null, 2) + "\n");
}
process.exit();
