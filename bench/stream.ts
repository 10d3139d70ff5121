/**
 * `deno task bench:stream [--json FILE]`: pushes of a few keys each to a stream, against one call over
 * all of them, in turn in one process; the time of a stream over that of the call, by the clock and of all
 * processors: others' work on a busy machine moves the first alone.
 *
 * @module
 */

import "../tools/help.ts";
import { writeFile } from "node:fs/promises";
import process from "node:process";
import { parseArgs } from "node:util";
import { attentionStream, createEngine, type Engine, type Tensor, tensor } from "../mod.ts";
import { machine } from "./machine.ts";
import { numbers } from "./numbers.ts";

const H = 8, D = 64, queries = 256, keys = 64_000, rounds = 6;

interface Line {
  readonly threads: number;
  /** Keys of a push. */
  readonly pushed: number;
  /** Medians, in milliseconds. */
  readonly call: number;
  readonly stream: number;
  /** Medians of the ratios of turns that follow one another: by the clock, and of processors. */
  readonly ratio: number;
  readonly ofProcessors: number;
}

function median(samples: readonly number[]): number {
  return samples.toSorted((a, b) => a - b)[samples.length >> 1];
}

/** Keys `from` to `to`, where they are. */
function rowsOf({ data }: Tensor, from: number, to: number): Tensor {
  return { data, shape: [H, to - from, D], strides: [keys * D, D, 1], offset: from * D };
}

async function streamed(engine: Engine, q: Tensor, k: Tensor, v: Tensor, pushed: number) {
  const stream = attentionStream(q, { engine });
  for (let at = 0; at < keys; at += pushed) {
    const to = Math.min(keys, at + pushed);
    await stream.push(rowsOf(k, at, to), rowsOf(v, at, to));
  }
  return await stream.finish();
}

interface Sample {
  readonly milliseconds: number;
  readonly ofProcessors: number;
  readonly out: Float32Array;
}

async function timeOf(run: () => Promise<{ readonly out: Tensor }>): Promise<Sample> {
  const before = process.cpuUsage(), start = performance.now(), { out } = await run();
  const milliseconds = performance.now() - start, { user, system } = process.cpuUsage(before);
  return { milliseconds, ofProcessors: (user + system) / 1000, out: out.data };
}

function check(ours: Float32Array, whole: Float32Array): void {
  const most = ours.reduce((most, x, at) => Math.max(most, Math.abs(x - whole[at])), 0);
  if (!(most < 1e-6)) throw new Error(`a stream is off by ${most}`);
}

/** Both in turn, each first in every second round. */
async function compare(engine: Engine, threads: number, pushed: number): Promise<Line> {
  const q = tensor(numbers(H * queries * D, 1), [H, queries, D]);
  const [k, v] = [2, 3].map((seed) => tensor(numbers(H * keys * D, seed), [H, keys, D]));
  const subjects = [() => engine.attention(q, k, v), () => streamed(engine, q, k, v, pushed)];
  const samples: Sample[][] = [[], []];
  for (let round = 0; round < rounds; round++) {
    for (const at of [round % 2, 1 - round % 2]) samples[at].push(await timeOf(subjects[at]));
    check(samples[1][round].out, samples[0][round].out);
  }
  // The first round is the warm-up.
  const [calls, streams] = samples.map((all) => all.slice(1));
  const ratioOf = (name: "milliseconds" | "ofProcessors") =>
    median(streams.map((one, at) => one[name] / calls[at][name]));
  return {
    ...{ threads, pushed, ratio: ratioOf("milliseconds"), ofProcessors: ratioOf("ofProcessors") },
    call: median(calls.map(({ milliseconds }) => milliseconds)),
    stream: median(streams.map(({ milliseconds }) => milliseconds)),
  };
}

const { values } = parseArgs({ options: { json: { type: "string" } } });
const lines: Line[] = [];
console.log(`${queries} queries, ${keys} keys, H=${H}, D=${D}; medians of ${rounds - 1} rounds`);
for (const threads of [1, 2]) {
  for (const pushed of [64, 8192]) {
    const engine = await createEngine({ backend: "wasm", threads });
    const line = await compare(engine, threads, pushed);
    lines.push(line);
    console.log(
      `${threads} threads, pushes of ${String(pushed).padStart(4)}: one call ` +
        `${line.call.toFixed(0)} ms, the stream ${line.stream.toFixed(0)} ms, ` +
        `${line.ratio.toFixed(2)} of it, of processors' time ${line.ofProcessors.toFixed(2)}`,
    );
    await engine.close();
  }
}
if (values.json !== undefined) {
  await writeFile(values.json, JSON.stringify({ machine: machine(), lines }, null, 2) + "\n");
}
process.exit();
