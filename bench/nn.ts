/**
 * `deno task bench:nn [--threads N] [--seconds N] [--only WORDS] [--json FILE]`: linear layers in GFLOPS, beside the micro-kernel alone on
 * operands in L1, in one run and in turn, forward and back; one row in GB/s of weights that no cache holds, beside a plain sum of such
 * bytes; and what a call of nearly nothing takes. Each layer is checked first.
 *
 * @module
 */

import "../tools/help.ts";
import {
  addSync,
  linear,
  linearSync,
  linearWithGradient,
  packLinear,
  rmsNormSync,
} from "@flashtile/attention/nn";
import type { LinearDType, LinearPrecision, PackedLinear } from "@flashtile/attention/nn";
import { createEngine, type Engine, type EngineTensor, tensor } from "@flashtile/attention";
import { writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { chooseBinary } from "../src/wasm/binary/choice.ts";
import { relaxed, simd } from "./asm/linear.gen.ts";
import { machine } from "./machine.ts";
import { numbers } from "./numbers.ts";

/** How weights are kept and products formed, and the micro-kernel that does it. */
const forms: readonly (readonly [LinearDType, LinearPrecision, keyof Bare])[] = [
  ["f32", "f32", "f32"],
  ["f16", "f32", "f32"],
  ["int16", "int16", "int16"],
  ["int8", "int16", "int16_int8"],
  ["int8", "int8", "int8"],
];

const sizes = [[384, 384], [384, 1536], [1536, 384]] as const, rowCounts = [1, 16, 128, 512];

/** Bytes that no cache holds. */
const far = 96e6;

/** What `bench/asm/linear.ts` exports. */
interface Bare {
  f32(base: number, depth: number, rounds: number): void;
  int16(base: number, depth: number, rounds: number): void;
  int16_int8(base: number, depth: number, rounds: number): void;
  int8(base: number, depth: number, rounds: number): void;
}

interface Exports extends Bare {
  readonly memory: WebAssembly.Memory;
  heapBase(): number;
  sum(from: number, bytes: number): number;
}

/** Something that is timed: so much work each time. */
interface Subject {
  readonly name: string;
  /** Floating-point operations, bytes or calls. */
  readonly work: number;
  readonly unit: "GFLOPS" | "GB/s" | "us";
  /** The subject that it is measured against. */
  readonly against?: string;
  run(): unknown;
}

async function loadBare(): Promise<Exports> {
  const text = chooseBinary().name === "relaxed" ? relaxed : simd;
  const binary = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const { instance } = await WebAssembly.instantiate(binary);
  const bare = instance.exports as unknown as Exports;
  bare.memory.grow(Math.ceil((far + 65536) / 65536));
  new Uint8Array(bare.memory.buffer, bare.heapBase(), far).fill(60); // Pages never written would all be one.
  return bare;
}

function bareSubjects(bare: Exports): Subject[] {
  const tiles = ([, , name]: (typeof forms)[number]): Subject => ({
    ...{ name: `tile ${name}`, work: 64 * 384 * 400, unit: "GFLOPS" },
    run: () => bare[name](bare.heapBase(), 384, 400),
  });
  const names = new Set<string>();
  const subjects = forms.map(tiles).filter(({ name }) => !names.has(name) && names.add(name));
  let at = 0;
  return [...subjects, {
    ...{ name: "sum of bytes", work: 4e6, unit: "GB/s" },
    run: () => bare.sum(bare.heapBase() + (at = (at + 4e6) % (far - 8e6)), 4e6 & ~63),
  }];
}

/** A tensor of the engine's with such numbers. */
function put(engine: Engine, shape: readonly number[], by = 1): EngineTensor {
  const made = engine.tensor(shape);
  made.data.set(numbers(made.data.length).map((n) => by * n));
  return made;
}

/** Throws where a layer's first output is not the sum that it must be. */
function check(name: string, x: EngineTensor, weight: Float32Array, out: EngineTensor): void {
  const inputs = x.shape[1];
  let sum = 0, size = 0;
  for (let k = 0; k < inputs; k++) {
    sum += x.data[k] * weight[k];
    size += (x.data[k] * weight[k]) ** 2;
  }
  if (Math.abs(out.data[0] - sum) > 0.05 * Math.sqrt(size) + 1e-4) {
    throw new Error(`${name} is wrong`);
  }
}

async function layerSubjects(engine: Engine): Promise<Subject[]> {
  const subjects: Subject[] = [];
  for (const [inputs, outputs] of sizes) {
    const weight = numbers(inputs * outputs).map((n) => n / Math.sqrt(inputs));
    const bias = put(engine, [outputs], 0);
    for (const [dtype, precision, bare] of forms) {
      const packed = await packLinear(tensor(weight, [outputs, inputs]), { dtype, engine });
      for (const rows of rowCounts) {
        const x = put(engine, [rows, inputs]), out = engine.tensor([rows, outputs]);
        const name = `${inputs} -> ${outputs}, ${dtype}, ${precision}, ${rows} rows`;
        await linear(x, packed, { bias, out, precision });
        check(name, x, weight, out);
        const options = {
          bias,
          out,
          precision,
          ...(inputs < outputs && { activation: "gelu" as const }),
        };
        const work = 2 * rows * inputs * outputs, times = Math.max(1, Math.round(3e7 / work));
        subjects.push({
          ...{ name, work: work * times, unit: "GFLOPS", against: `tile ${bare}` },
          run() {
            for (let time = 0; time < times; time++) linearSync(x, packed, options);
          },
        });
      }
      if (inputs !== outputs) {
        subjects.push(await rowSubject(engine, weight, [inputs, outputs], dtype, precision));
      }
    }
  }
  return subjects;
}

/** Rows of layers whose gradients are asked for. */
const gradientRows = [128, 512, 2048];

/**
 * Gradients by rows and by weights: two products, of which that by weights is summed over rows. `x` and the gradients by the
 * result are in the engine's memory, the gradients are arrays.
 */
async function gradientSubjects(engine: Engine): Promise<Subject[]> {
  const subjects: Subject[] = [];
  for (const [inputs, outputs] of sizes) {
    const weight = put(engine, [outputs, inputs], 1 / Math.sqrt(inputs));
    for (const rows of gradientRows) {
      const x = put(engine, [rows, inputs]), dOut = put(engine, [rows, outputs]);
      const { backward } = await linearWithGradient(x, weight, { engine });
      const name = `${inputs} -> ${outputs}, gradients: dX and dW, ${rows} rows`;
      checkGradients(name, x, dOut, (await backward(dOut)).dWeight.data[0]);
      subjects.push({
        ...{ name, work: 4 * rows * inputs * outputs, unit: "GFLOPS", against: "tile f32" },
        run: () => backward(dOut),
      });
      const forward = `${inputs} -> ${outputs}, gradients: forward, ${rows} rows`;
      subjects.push({
        ...{
          name: forward,
          work: 2 * rows * inputs * outputs,
          unit: "GFLOPS",
          against: "tile f32",
        },
        run: () => linearWithGradient(x, weight, { engine }),
      });
    }
  }
  return subjects;
}

/** Throws where a layer's first gradient by its weight is not the sum that it must be. */
function checkGradients(name: string, x: EngineTensor, dOut: EngineTensor, got: number): void {
  const [rows, inputs] = x.shape, outputs = dOut.shape[1];
  let sum = 0;
  for (let row = 0; row < rows; row++) sum += x.data[row * inputs] * dOut.data[row * outputs];
  if (Math.abs(got - sum) > 1e-4 * Math.sqrt(rows)) throw new Error(`${name} is wrong`);
}

/** One row and as many weights as no cache holds, in turn. */
async function rowSubject(
  engine: Engine,
  weight: Float32Array,
  [inputs, outputs]: readonly [number, number],
  dtype: LinearDType,
  precision: LinearPrecision,
): Promise<Subject> {
  const all: PackedLinear[] = [], x = put(engine, [1, inputs]), out = engine.tensor([1, outputs]);
  for (let bytes = 0; bytes < far / 2; bytes += all[0].bytes) {
    all.push(await packLinear(tensor(weight, [outputs, inputs]), { dtype, engine }));
  }
  let at = 0;
  return {
    ...{ name: `${inputs} -> ${outputs}, ${dtype}, ${precision}, 1 row from memory`, unit: "GB/s" },
    ...{ work: 2 * all[0].bytes, against: "sum of bytes" },
    run() {
      for (let time = 0; time < 2; time++) {
        linearSync(x, all[at++ % all.length], { out, precision });
      }
    },
  };
}

/** Calls of nearly nothing. */
async function callSubjects(engine: Engine): Promise<Subject[]> {
  const weight = await packLinear(tensor(numbers(64), [8, 8]), { engine });
  const x = put(engine, [1, 8]), out = engine.tensor([1, 8]), calls = 200;
  const subject = (name: string, call: () => unknown): Subject => ({
    ...{ name, work: calls, unit: "us" },
    run() {
      for (let time = 0; time < calls; time++) call();
    },
  });
  return [
    subject("a call of linearSync()", () => linearSync(x, weight, { out })),
    subject("a call of rmsNormSync()", () => rmsNormSync(x, null, { out, engine })),
    subject("a call of addSync()", () => addSync(x, x, { out, engine })),
  ];
}

/** Milliseconds of each subject's fastest run; all take turns, so that what disturbs one disturbs all. */
async function race(subjects: readonly Subject[], seconds: number): Promise<number[]> {
  const best = subjects.map(() => Infinity), start = performance.now();
  for (let round = 0; performance.now() - start < seconds * 1000; round++) {
    for (const [at, { run }] of subjects.entries()) {
      const from = performance.now();
      const running = run();
      if (running instanceof Promise) await running; // Others would wait for a turn of the event loop.
      if (round > 2) best[at] = Math.min(best[at], performance.now() - from);
    }
  }
  return best;
}

/** What a subject comes to in its unit. */
function rateOf({ work, unit }: Subject, milliseconds: number): number {
  return unit === "us" ? milliseconds * 1e3 / work : work / milliseconds / 1e6;
}

const { values } = parseArgs({
  options: {
    json: { type: "string" },
    threads: { type: "string", default: "1" },
    seconds: { type: "string", default: "60" },
    only: { type: "string", default: "" },
  },
});
const head = { machine: machine(), threads: Number(values.threads) };
console.log(`${head.machine.cpu}, ${head.machine.runtime}, threads: ${head.threads}`);
await using engine = await createEngine({ backend: "wasm", threads: head.threads });
const subjects = [
  ...bareSubjects(await loadBare()),
  ...await layerSubjects(engine),
  ...await gradientSubjects(engine),
  ...await callSubjects(engine),
].filter(({ name, against }) => against === undefined || name.includes(values.only));
const best = await race(subjects, Number(values.seconds));
const rates = new Map(subjects.map((subject, at) => [subject.name, rateOf(subject, best[at])]));
const results = subjects.map(({ name, unit, against }) => {
  const rate = rates.get(name)!, share = against && rate / rates.get(against)!;
  const ofBare = share ? `, ${(100 * share).toFixed(0)} % of ${against}` : "";
  console.log(`${name.padEnd(52)} ${rate.toFixed(2).padStart(7)} ${unit}${ofBare}`);
  return { name, unit, rate, ...(share && { against, share }) };
});
if (values.json) await writeFile(values.json, JSON.stringify({ ...head, results }, null, 2) + "\n");
