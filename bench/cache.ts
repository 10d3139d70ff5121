/**
 * `deno task bench:cache [--json FILE]`: decoding against KV caches of each storage, on all threads,
 * beside the rate at which the same bytes can be read at all; pages of several sizes; and how the time of
 * a step grows with the tokens.
 *
 * @module
 */

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
import { hardwareThreads } from "../src/wasm/threads/spawn.ts";
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
      `${dtype}, Hq=${heads}, Hkv=${kvHeads}, pages of ${pageSize ?? 64}`,
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

/** Steps of a sequence that grows: times at some lengths, and the worst of all. */
async function growth(engine: Engine): Promise<{ readonly [length: string]: number }> {
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
  const late = steps.slice(1000);
  return {
    "median of 100 steps at 1,100": median(steps.slice(50, 150)),
    "median of 100 steps at 4,000": median(steps.slice(2900)),
    "worst over median, steps 2,000 to 4,000": Math.max(...late) / median(late),
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
const storages = await race(engine, [eight("f32"), eight("bf16"), eight("f16"), eight("int8")], 21);
print("Storages", storages);
const groups = await race(engine, [four(4), four(16), four(32)], 21);
print("Query heads per key head", groups);
const pages = await race(engine, [eight("f32", 2048), eight("f32", 64), eight("f32", 16)], 15);
print("Pages", pages);
const steps = await growth(engine);
console.log("\nA growing sequence, 8 heads");
for (const [what, figure] of Object.entries(steps)) console.log(`${what}: ${figure.toFixed(2)}`);
await engine.close();
if (values.json !== undefined) {
  const report = { machine: machine(), storages, groups, pages, steps };
  await writeFile(values.json, JSON.stringify(report, null, 2) + "\n");
}
process.exit();
