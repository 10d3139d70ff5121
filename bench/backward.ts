/**
 * `deno task bench:backward [--json FILE]`: gradients beside the forward pass of the same call, on one
 * thread and on two; the memory that a long call takes; and a training step of TensorFlow.js and jax-js,
 * in turn in one process, each checked against the oracle first.
 *
 * @module
 */

import "../tools/help.ts";
import { writeFile } from "node:fs/promises";
import process from "node:process";
import { parseArgs } from "node:util";
import { createEngine, type Engine, type Tensor, tensor } from "../mod.ts";
import { machine } from "./machine.ts";
import { numbers } from "./numbers.ts";
import { carryOut } from "./peers/children.ts";
import { trainers } from "./peers/gradients.ts";
import { installPeers, pinnedVersions } from "./peers/install.ts";
import type { Shape } from "./peers/problem.ts";
import { printRows, rowsOf } from "./peers/rows.ts";
import { median } from "./spread.ts";

interface Own {
  readonly shape: Shape;
  readonly threads: number;
  /** Milliseconds: medians. */
  readonly forward: number;
  readonly backward: number;
  /** Medians of ratios within a round: to the forward pass, and of one thread to this. */
  readonly timesForward: number;
  readonly speedup: number;
}

function square(heads: number, length: number, dim: number, causal = false): Shape {
  return { heads, queries: length, keys: length, dim, causal };
}

async function timed(run: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await run();
  return performance.now() - start;
}

/** One training step of attention, in parts. */
async function partsOf(engine: Engine, shape: Shape) {
  const { heads, queries, dim, causal } = shape, size = heads * queries * dim;
  const make = (seed: number): Tensor => tensor(numbers(size, seed), [heads, queries, dim]);
  const [q, k, v, dOut] = [1, 2, 3, 4].map(make), options = { causal };
  const { out, lse } = await engine.attention(q, k, v, { causal, lse: true });
  return {
    forward: () => engine.attention(q, k, v, { ...options, lse: true }),
    backward: () => engine.attentionBackward(dOut, q, k, v, { ...options, out, lse }),
  };
}

/** Gradients and the forward pass in turn; those of one thread as well. */
async function raceOwn(shape: Shape, threads: number, rounds: number): Promise<Own> {
  const engine = await createEngine({ backend: "wasm", threads });
  const single = await createEngine({ backend: "wasm", threads: 1 });
  const ours = await partsOf(engine, shape), alone = await partsOf(single, shape);
  const forward: number[] = [], backward: number[] = [], one: number[] = [];
  for (let round = 0; round < rounds + 2; round++) {
    forward.push(await timed(ours.forward));
    backward.push(await timed(ours.backward));
    one.push(await timed(alone.backward));
  }
  const warm = (samples: number[]) => samples.slice(2);
  const ratios = (a: number[], b: number[]) => median(warm(a).map((x, at) => x / warm(b)[at]));
  await engine.close();
  await single.close();
  return {
    ...{ shape, threads },
    forward: median(warm(forward)),
    backward: median(warm(backward)),
    timesForward: ratios(backward, forward),
    speedup: ratios(one, backward),
  };
}

/** What a long call takes beyond its inputs and outputs, which are the caller's arrays. */
async function memoryOf(shape: Shape, threads: number) {
  const engine = await createEngine({ backend: "wasm", threads: 1 });
  const { heads, queries, dim } = shape, size = [heads, queries, dim];
  const make = (seed: number) => tensor(numbers(heads * queries * dim, seed), size);
  const [q, k, v, dOut] = [1, 2, 3, 4].map(make);
  const { out, lse } = await engine.attention(q, k, v, { lse: true });
  await engine.close();
  // An engine that has done nothing else.
  const fresh = await createEngine({ backend: "wasm", threads });
  const milliseconds = await timed(() => fresh.attentionBackward(dOut, q, k, v, { out, lse }));
  const { memoryBytes } = fresh;
  await fresh.close();
  return { shape, threads, milliseconds, memoryBytes };
}

function nameOf({ heads, queries, dim, causal }: Shape): string {
  return `H=${heads} N=${queries} D=${dim} ${causal ? "causal" : "dense"}`;
}

const { values } = parseArgs({ options: { json: { type: "string" } } });
const head = { machine: machine(), versions: pinnedVersions() };
console.log(`${head.machine.cpu}, ${head.machine.cores} cores, ${head.machine.runtime}`);
console.log("\nGradients beside the forward pass of the same call, in turns");
const own: Own[] = [];
const ownShapes: readonly (readonly [Shape, threads: number])[] = [
  ...[square(1, 2048, 64), square(1, 2048, 64, true), square(1, 2048, 128)]
    .map((shape) => [shape, 1] as const),
  ...[square(8, 2048, 64), square(8, 2048, 64, true), square(1, 4096, 64)]
    .map((shape) => [shape, 2] as const),
];
for (const [shape, threads] of ownShapes) {
  const line = await raceOwn(shape, threads, 9);
  own.push(line);
  console.log(
    `${nameOf(shape).padEnd(26)} ${threads} thread(s)  forward ${line.forward.toFixed(1)} ms  ` +
      `backward ${line.backward.toFixed(1)} ms  ${line.timesForward.toFixed(2)}x forward  ` +
      `${line.speedup.toFixed(2)}x one thread`,
  );
}
console.log("\nMemory of an engine after the gradients of a long call, all of it");
const memory = [];
for (const threads of [1, 2]) {
  const line = await memoryOf(square(1, 16_384, 64), threads);
  memory.push(line);
  const MiB = line.memoryBytes / 2 ** 20;
  console.log(
    `${nameOf(line.shape).padEnd(26)} ${threads} thread(s)  ${MiB.toFixed(1)} MiB  ` +
      `${(line.milliseconds / 1000).toFixed(1)} s`,
  );
}
console.log("\nA training step, forward and gradients, on one thread: their time / ours in turns");
for (const { name, note } of trainers) console.log(`${name.padEnd(38)}${note}`);
const folder = installPeers(), bounds = { rounds: 9, perPeer: 6000 };
const peers = trainers.map(({ name }) => name), threads = 1;
const shapes = [square(8, 256, 64), square(8, 1024, 64), square(8, 1024, 64, true)];
const races = (["deno", "node"] as const).flatMap((runtime) =>
  shapes.map((shape) => {
    const order = { kind: "gradients", shape, peers, threads, folder, bounds } as const;
    const rows = rowsOf(carryOut(order, runtime), trainers[0].name);
    console.log(`\n${nameOf(shape)}, ${runtime}`);
    printRows(rows);
    return { shape, runtime, threads, rows };
  })
);
if (values.json) {
  await writeFile(values.json, JSON.stringify({ ...head, own, memory, races }, null, 2) + "\n");
}
process.exit();
