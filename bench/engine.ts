/**
 * `deno task bench:engine`: what is around the kernels. Small calls, two threads against one, a very
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
import { machine } from "./machine.ts";
import { numbers } from "./numbers.ts";
import { race } from "./race.ts";

function random(heads: number, length: number, dim: number): Tensor {
  return tensor(numbers(heads * length * dim), [heads, length, dim]);
}

/** Kernels that add up the time spent in them. */
function timed(kernels: Kernels): { kernels: Kernels; spent(): number } {
  let total = 0;
  const wrap = <F extends (...args: number[]) => void>(kernel: F) => (...args: number[]): void => {
    const start = performance.now();
    kernel(...args);
    total += performance.now() - start;
  };
  const { packKeys, packValues, combine } = kernels;
  return {
    kernels: {
      ...kernels,
      run: wrap(kernels.run),
      combine: wrap(combine),
      packKeys: wrap(packKeys),
      packValues: wrap(packValues),
    },
    spent: () => total,
  };
}

function lseView(shape: readonly number[]): View {
  const strides = contiguousStrides(shape) as unknown as View["strides"];
  const data = new HeldArray<Elements>(new Float32Array(shape.reduce((a, b) => a * b, 1)));
  return { data, dtype: "f32", offset: 0, shape: shape as View["shape"], strides };
}

/** Microseconds per call that the kernels themselves take. */
async function kernelTime(q: Tensor, k: Tensor, v: Tensor, calls: number): Promise<number> {
  const memory = new WebAssembly.Memory({ initial: initialPages, maximum: maximumPages });
  const module = await compileBinary(chooseBinary().name);
  const bare = instantiate<Kernels>(module, memory);
  const { kernels, spent } = timed(bare);
  const arena = new Arena(memory, bare.heapBase() >>> 0, maximumPages * 65536);
  const programs = [{ kernels, module }];
  const parts = { kernels, arena, threads: 1, splats: chooseSplats(), programs };
  const plan = planAttention(q, k, v) as TensorPlan<View>;
  const target = { out: lseView([1, ...q.shape]), lse: null };
  const solo = new Solo(programs);
  const once = () => {
    for (const { batch } of forward(parts, plan, target)) solo.runSync(batch);
  };
  for (let call = 0; call < calls; call++) once();
  const before = spent();
  for (let call = 0; call < calls; call++) once();
  return (spent() - before) / calls * 1000;
}

async function smallCalls(): Promise<void> {
  const engine = await createEngine({ backend: "wasm" });
  const [q, k, v] = [random(8, 16, 64), random(8, 16, 64), random(8, 16, 64)];
  const calls = 5000;
  const samples: number[] = [];
  for (let round = 0; round < 8; round++) {
    const start = performance.now();
    for (let call = 0; call < calls; call++) engine.attentionSync(q, k, v);
    samples.push((performance.now() - start) / calls * 1000);
  }
  const whole = samples.sort((a, b) => a - b)[samples.length >> 1];
  const own = await kernelTime(q, k, v, calls);
  console.log(
    `small call, N=16 H=8 D=64: ${whole.toFixed(1)} us, of which ${own.toFixed(1)} in kernels: ` +
      `${(whole - own).toFixed(1)} us beside them`,
  );
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
  await twoThreads();
  await abortLatency();
  await longSequence();
}
