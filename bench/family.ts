/**
 * `deno task bench:family [--json FILE] [--picture FILE.svg]`: attention in linear time beside exact attention, one head of
 * D = 64 on one thread, engine tensors. What a token costs from 1,024 tokens to 65,536, and how many times as fast each
 * is as exact attention at 16,384, all in one run; then what a step of decoding costs. Each is checked in `tests/linear/`.
 *
 * @module
 */

import "../tools/help.ts";
import { createEngine, type Engine, type EngineTensor } from "@flashtile/attention";
import {
  dynamicConvolution,
  lightweightConvolution,
  linformerAttention,
  localGlobalAttention,
  performerAttention,
} from "@flashtile/attention/linear";
import { writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { drawGrowth } from "./family_picture.ts";
import { measureSteps } from "./family_steps.ts";
import { machine } from "./machine.ts";
import { numbers } from "./numbers.ts";

const D = 64;

/** Lengths that a token is priced at, and the one that all are raced at. */
const lengths = [1024, 4096, 16_384, 65_536], raced = 16_384;

/** Tensors of a call. */
interface Inputs {
  readonly q: EngineTensor;
  readonly k: EngineTensor;
  readonly v: EngineTensor;
  readonly out: EngineTensor;
  /** Another in the engine's memory, which is freed with the others. */
  more(shape: readonly number[]): EngineTensor;
}

/** A way to attend. */
interface Member {
  readonly name: string;
  readonly isCausal: boolean;
  /** A token's price grows with this power of the length. */
  readonly power: number;
  /** How many times as fast as exact attention it must be at least; absent for that itself. */
  readonly least?: number;
  /** Makes what computes a call. */
  prepare(inputs: Inputs, length: number, engine: Engine): () => Promise<unknown>;
}

function exact(isCausal: boolean): Member {
  return {
    ...{ name: isCausal ? "exact, causal" : "exact", isCausal, power: 1 },
    prepare: ({ q, k, v, out }, _length, engine) => () =>
      engine.attention(q, k, v, { causal: isCausal, out }),
  };
}

function performer(isCausal: boolean, least: number): Member {
  return {
    name: `Performer, 256 features${isCausal ? ", causal" : ""}`,
    ...{ isCausal, power: 0, least },
    prepare: ({ q, k, v, out }, _length, engine) => () =>
      performerAttention(q, k, v, { features: 256, causal: isCausal, out, engine }),
  };
}

/** Blocks of 128 at 16,384, and of about the square root of other lengths. */
function localGlobal(isCausal: boolean, least: number): Member {
  return {
    name: `local + global, blocks of √N${isCausal ? ", causal" : ""}`,
    ...{ isCausal, power: 0.5, least },
    prepare: ({ q, k, v, out }, length, engine) => {
      const block = Math.round(Math.sqrt(length));
      return () => localGlobalAttention(q, k, v, { block, causal: isCausal, out, engine });
    },
  };
}

const linformer: Member = {
  ...{ name: "Linformer, 256 rows", isCausal: false, power: 0, least: 25 },
  prepare({ q, k, v, out, more }, length, engine) {
    const [projectK, projectV] = [more([256, length]), more([256, length])];
    return () => linformerAttention(q, k, v, { projectK, projectV, out, engine });
  },
};

const dynamic: Member = {
  ...{ name: "dynamic convolution, 31 taps", isCausal: false, power: 0, least: 300 },
  prepare({ v, out, more }, length, engine) {
    const weights = more([1, length, 31]);
    return () => dynamicConvolution(v, weights, { causal: true, out, engine });
  },
};

const lightweight: Member = {
  ...{ name: "lightweight convolution, 31 taps", isCausal: false, power: 0, least: 300 },
  prepare({ v, out, more }, _length, engine) {
    const weights = more([1, 31]);
    return () => lightweightConvolution(v, weights, { causal: true, out, engine });
  },
};

const members = [
  ...[exact(false), exact(true), performer(false, 22), performer(true, 9), linformer],
  ...[localGlobal(false, 40), localGlobal(true, 30), dynamic, lightweight],
];

/** Milliseconds of the fastest of several calls: of long ones fewer. */
async function timeOf(call: () => Promise<unknown>): Promise<number> {
  let best = Infinity, spent = 0;
  await call();
  for (let round = 0; round < 40 && (round < 2 || spent < 1500); round++) {
    const start = performance.now();
    await call();
    const time = performance.now() - start;
    best = Math.min(best, time);
    spent += time;
  }
  return best;
}

/** Milliseconds of a call of a length. */
async function measure(engine: Engine, member: Member, length: number): Promise<number> {
  const own: EngineTensor[] = [];
  const more = (shape: readonly number[]) => {
    const made = engine.tensor(shape), { data } = made;
    data.set(numbers(data.length, own.length + 1));
    own.push(made);
    return made;
  };
  const [q, k, v, out] = [1, 2, 3, 4].map(() => more([1, length, D]));
  try {
    return await timeOf(member.prepare({ q, k, v, out, more }, length, engine));
  } finally {
    for (const one of own) one.free();
  }
}

/** What one of them costs at every length. */
export interface Growth {
  readonly name: string;
  readonly points: readonly { readonly length: number; readonly milliseconds: number }[];
}

const { values } = parseArgs({
  options: { json: { type: "string" }, picture: { type: "string" } },
});
const head = { machine: machine() };
console.log(`${head.machine.cpu}, ${head.machine.runtime}: microseconds a token, one thread`);
console.log(`${"".padEnd(38)}${lengths.map((n) => `${n}`.padStart(9)).join("")}   at ${raced}`);
await using engine = await createEngine({ backend: "wasm", threads: 1 });
const growths: Growth[] = [], exactly: Record<string, number> = {};
for (const member of members) {
  const points = [];
  for (const length of lengths) {
    points.push({ length, milliseconds: await measure(engine, member, length) });
  }
  growths.push({ name: member.name, points });
  const own = points.find(({ length }) => length === raced)!.milliseconds;
  if (member.least === undefined) exactly[`${member.isCausal}`] = own;
  const ratio = exactly[`${member.isCausal}`] / own;
  const prices = points.map(({ length, milliseconds }) => 1000 * milliseconds / length);
  const growth = prices.at(-1)! / prices[0] / (lengths.at(-1)! / lengths[0]) ** member.power;
  console.log(
    member.name.padEnd(38) + prices.map((price) => price.toFixed(3).padStart(9)).join("") +
      (member.least === undefined ? "" : `   ${ratio.toFixed(1)}x, at least ${member.least}`) +
      `; ${growth.toFixed(2)} of N^${member.power}`,
  );
}
const steps = await measureSteps();
if (values.json) {
  await writeFile(values.json, JSON.stringify({ ...head, growths, steps }, null, 2) + "\n");
}
if (values.picture) await writeFile(values.picture, await drawGrowth(growths));
