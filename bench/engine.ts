/**
 * `deno task bench:engine`: what is around the kernels. Small calls by their parts, two threads against one, a very
 * long sequence with its memory, and how soon an abort comes through.
 *
 * @module
 */

import "../tools/help.ts";
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
  /** Arrays into linear memory, and results out of it. */
  readonly copying: number;
  /** Keys and values into panels. */
  readonly packing: number;
  /** Everything else in kernels: products, softmax, queries into panels, results out of them. */
  readonly running: number;
  /** All of it, in steps, but for reading what the call means. */
  readonly steps: number;
}

/** What time is spent in, in milliseconds. */
type Spent = Record<"copying" | "packing" | "running", number>;

/** Adds up the time spent in a function. */
function timedBy<Act extends (...args: never[]) => unknown>(
  spent: Spent,
  part: keyof Spent,
  act: Act,
): Act {
  return function (this: unknown, ...args: Parameters<Act>) {
    const start = performance.now();
    act.apply(this, args);
    spent[part] += performance.now() - start;
  } as Act;
}

/** What all typed arrays have. */
const arrays: { set: Float32Array["set"] } = Object.getPrototypeOf(Float32Array.prototype);

/** Has copies add up their time while `use` runs. */
function timingCopies(spent: Spent, use: () => void): void {
  const { set } = arrays;
  arrays.set = timedBy(spent, "copying", set);
  try {
    use();
  } finally {
    arrays.set = set;
  }
}

/** Kernels that add up the time spent in them. */
function timed(kernels: Kernels) {
  const spent: Spent = { copying: 0, packing: 0, running: 0 };
  const { run, packKeys, packValues, combine } = kernels;
  const wrapped: Kernels = {
    ...kernels,
    run: timedBy(spent, "running", run),
    combine: timedBy(spent, "running", combine),
    packKeys: timedBy(spent, "packing", packKeys),
    packValues: timedBy(spent, "packing", packValues),
  };
  return { kernels: wrapped, spent };
}

function lseView(shape: readonly number[]): View {
  const strides = contiguousStrides(shape) as unknown as View["strides"];
  const data = new HeldArray<Elements>(new Float32Array(shape.reduce((a, b) => a * b, 1)));
  return { data, dtype: "f32", offset: 0, shape: shape as View["shape"], strides };
}

/** Rounds of calls, of which the fastest counts: short ones, which other work on the machine may leave alone. */
const rounds = 150;

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
  let best: Parts | undefined;
  for (let round = 0; round < rounds; round++) {
    Object.assign(spent, { copying: 0, packing: 0, running: 0 });
    const start = performance.now();
    timingCopies(spent, () => {
      for (let call = 0; call < calls; call++) once();
    });
    const perCall = (milliseconds: number) => milliseconds / calls * 1000;
    const steps = perCall(performance.now() - start);
    if (best !== undefined && best.steps <= steps) continue;
    const { copying, packing, running } = spent;
    best = {
      ...{ steps, copying: perCall(copying) },
      ...{ packing: perCall(packing), running: perCall(running) },
    };
  }
  return best!;
}

/** The fastest of some rounds of calls, in microseconds a call. */
async function timeOf(calls: number, act: () => unknown): Promise<number> {
  let best = Infinity;
  for (let round = 0; round < rounds; round++) {
    const start = performance.now();
    for (let call = 0; call < calls; call++) {
      const result = act();
      if (result instanceof Promise) await result;
    }
    best = Math.min(best, (performance.now() - start) / calls * 1000);
  }
  return best;
}

/** Where the time of small calls goes. */
async function smallCalls(): Promise<void> {
  const engine = await createEngine({ backend: "wasm", threads: 1 });
  const ceiling = (await loadCeiling())(64);
  console.log(
    "small calls, H=8 D=64, us: whole, reading it, records, copies, packing, in kernels, more by a promise",
  );
  for (const [length, calls] of [[16, 60], [64, 12], [128, 4], [256, 1]] as const) {
    const [q, k, v] = [random(8, length, 64), random(8, length, 64), random(8, length, 64)];
    const whole = await timeOf(calls, () => engine.attentionSync(q, k, v));
    const promised = await timeOf(calls, () => engine.attention(q, k, v));
    const reading = await timeOf(calls, () => planAttention(q, k, v));
    const { steps, copying, packing, running } = await partsOf(q, k, v, calls);
    const rate = ceiling.work / await timeOf(1, ceiling.run), work = 4 * 8 * length * length * 64;
    const records = steps - copying - packing - running;
    const columns = [whole, reading, records, copying, packing, running, promised - whole];
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
