/**
 * `deno task bench:engine`: what is around the kernels. Small calls by their parts, two threads against one, a very
 * long sequence with its memory, and how soon an abort comes through.
 *
 * @module
 */

import process from "node:process";
import { createEngine, type Engine, type Tensor, tensor } from "../mod.ts";
import { planAttention, type TensorPlan } from "../src/operations/attention/plan.ts";
import { HeldArray } from "../src/tensor/arrays.ts";
import type { Elements } from "../src/tensor/dtype.ts";
import { contiguousStrides, type View } from "../src/tensor/tensor.ts";
import { forward } from "../src/wasm/attention/forward.ts";
import { initialPages, maximumPages } from "../src/wasm/binary/binaries.gen.ts";
import type { Kernels } from "../src/wasm/binary/kernels.gen.ts";
import { chooseBinary, chooseSplats } from "../src/wasm/binary/choice.ts";
import { compileBinary, instantiate } from "../src/wasm/binary/module.ts";
import { Arena } from "../src/wasm/memory/arena.ts";
import { Solo } from "../src/wasm/team/team.ts";
import { loadCeiling } from "./ceiling.ts";
import { machine } from "./machine.ts";
import { numbers } from "./numbers.ts";
import { race } from "./race.ts";

function random(heads: number, length: number, dim: number): Tensor {
  return tensor(numbers(heads * length * dim), [heads, length, dim]);
}

/** Microseconds of a call. */
interface Parts {
  /** Keys and values into panels. */
  readonly packing: number;
  /** Everything else in kernels: products, softmax, queries into panels, results out of them. */
  readonly running: number;
  /** All of it, in steps, but for reading what the call means. */
  readonly steps: number;
}

/** Kernels that add up the time spent in them. */
function timed(kernels: Kernels) {
  const spent = { packing: 0, running: 0 };
  const wrap =
    <F extends (...args: number[]) => void>(part: keyof typeof spent, kernel: F) =>
    (...args: number[]): void => {
      const start = performance.now();
      kernel(...args);
      spent[part] += performance.now() - start;
    };
  const { packKeys, packValues, combine } = kernels;
  const wrapped: Kernels = {
    ...kernels,
    run: wrap("running", kernels.run),
    combine: wrap("running", combine),
    packKeys: wrap("packing", packKeys),
    packValues: wrap("packing", packValues),
  };
  return { kernels: wrapped, spent };
}

function lseView(shape: readonly number[]): View {
  const strides = contiguousStrides(shape) as unknown as View["strides"];
  const data = new HeldArray<Elements>(new Float32Array(shape.reduce((a, b) => a * b, 1)));
  return { data, dtype: "f32", offset: 0, shape: shape as View["shape"], strides };
}

/** What the parts of a call take. */
async function partsOf(q: Tensor, k: Tensor, v: Tensor, calls: number): Promise<Parts> {
  const memory = new WebAssembly.Memory({ initial: initialPages, maximum: maximumPages });
  const module = await compileBinary(chooseBinary().name);
  const bare = instantiate<Kernels>(module, memory);
  const { kernels, spent } = timed(bare);
  const arena = new Arena(memory, bare.heapBase() >>> 0, maximumPages * 65536);
  const programs = [{ name: "attention" as const, kernels, module }];
  const parts = { kernels, arena, threads: 1, splats: chooseSplats(), programs };
  const plan = planAttention(q, k, v) as TensorPlan<View>;
  const target = { out: lseView([1, ...q.shape]), lse: null };
  const solo = new Solo(programs);
  const once = () => {
    for (const { batch } of forward(parts, plan, target)) solo.runSync(batch);
  };
  for (let call = 0; call < calls; call++) once();
  Object.assign(spent, { packing: 0, running: 0 });
  const start = performance.now();
  for (let call = 0; call < calls; call++) once();
  const perCall = (milliseconds: number) => milliseconds / calls * 1000;
  return {
    steps: perCall(performance.now() - start),
    packing: perCall(spent.packing),
    running: perCall(spent.running),
  };
}

/** The middle of some rounds of calls, in microseconds a call. */
function timeOf(calls: number, act: () => unknown): number {
  const samples: number[] = [];
  for (let round = 0; round < 8; round++) {
    const start = performance.now();
    for (let call = 0; call < calls; call++) act();
    samples.push((performance.now() - start) / calls * 1000);
  }
  return samples.sort((a, b) => a - b)[samples.length >> 1];
}

/** Where the time of small calls goes. */
async function smallCalls(): Promise<void> {
  const engine = await createEngine({ backend: "wasm", threads: 1 });
  const ceiling = (await loadCeiling())(64);
  console.log("small calls, H=8 D=64, us: whole, reading it, around kernels, packing, in kernels");
  for (const [length, calls] of [[16, 5000], [64, 2000], [128, 500], [256, 150]] as const) {
    const [q, k, v] = [random(8, length, 64), random(8, length, 64), random(8, length, 64)];
    const whole = timeOf(calls, () => engine.attentionSync(q, k, v));
    const reading = timeOf(calls, () => planAttention(q, k, v));
    const { steps, packing, running } = await partsOf(q, k, v, calls);
    const rate = ceiling.work / timeOf(1, ceiling.run), work = 4 * 8 * length * length * 64;
    const columns = [whole, reading, steps - packing - running, packing, running];
    console.log(
      `N=${String(length).padEnd(4)} ${
        columns.map((time) => time.toFixed(1).padStart(8)).join("")
      }; products at the rate of the tile ${(work / rate).toFixed(1)}, ${
        (100 * work / rate / whole).toFixed(0)
      } % of the whole`,
    );
  }
  await engine.close();
}

async function twoThreads(): Promise<void> {
  const engines = [
    await createEngine({ backend: "wasm", threads: 1 }),
    await createEngine({ backend: "wasm", threads: 2 }),
  ];
  for (
    const [heads, length, causal] of [[8, 2048, false], [8, 2048, true], [1, 4096, false]] as const
  ) {
    const [q, k, v] = [
      random(heads, length, 64),
      random(heads, length, 64),
      random(heads, length, 64),
    ];
    const out = tensor(new Float32Array(q.data.length), q.shape);
    const run = (engine: Engine) => () => engine.attention(q, k, v, { causal, out });
    const work = 4 * heads * length * length * 64 / (causal ? 2 : 1);
    const [one, two] = await race(
      engines.map((engine, index) => ({ name: `${index + 1}`, work, run: run(engine) })),
      9,
      1,
    );
    console.log(
      `two threads, N=${length} H=${heads} D=64 ${causal ? "causal" : "dense"}: ` +
        `${two.milliseconds.toFixed(0)} ms against ${one.milliseconds.toFixed(0)}: ` +
        `${(one.milliseconds / two.milliseconds).toFixed(2)}x, ${two.median.toFixed(1)} GFLOPS`,
    );
  }
  for (const engine of engines) await engine.close();
}

async function longSequence(): Promise<void> {
  const engine = await createEngine({ backend: "wasm", threads: 2 });
  const length = 65536, packed = 2 * length * 64 * 4;
  const q = random(1, length, 64);
  const start = performance.now();
  await engine.attention(q, q, q);
  const seconds = (performance.now() - start) / 1000;
  const beside = (engine.memoryBytes - packed) / 2 ** 20;
  console.log(
    `N=65,536 H=1 D=64 dense, two threads: ${seconds.toFixed(1)} s, linear memory ` +
      `${(engine.memoryBytes / 2 ** 20).toFixed(1)} MiB: one packed head and ${
        beside.toFixed(1)
      } MiB; ` +
      `process ${(process.memoryUsage().rss / 2 ** 20).toFixed(0)} MiB resident`,
  );
  await engine.close();
}

async function abortLatency(): Promise<void> {
  const engine = await createEngine({ backend: "wasm" });
  const q = random(1, 65536, 64);
  const latencies: number[] = [];
  for (let round = 0; round < 7; round++) {
    const controller = new AbortController();
    const delay = 150 + 7 * round, due = performance.now() + delay;
    setTimeout(() => controller.abort(), delay);
    await engine.attention(q, q, q, { signal: controller.signal }).catch(() => {});
    latencies.push(performance.now() - due);
  }
  console.log(
    `abort by a timer at N=65,536: rejected at most ${
      Math.max(...latencies).toFixed(0)
    } ms after it was due`,
  );
  await engine.close();
}

if (import.meta.main) {
  const { cpu, cores, runtime } = machine();
  console.log(`${cpu}, ${cores} cores, ${runtime}`);
  await smallCalls();
  if (process.argv.includes("--small")) process.exit();
  await twoThreads();
  await abortLatency();
  await longSequence();
}
