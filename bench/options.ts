/**
 * `deno task bench:options [--json FILE]`: what masks, biases and packing cost, and what sparse ones
 * save, each against the dense call of the same shape in the same run, on one thread.
 *
 * @module
 */

import "../tools/help.ts";
import { writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import {
  alibiSlopes,
  type AttentionOptions,
  blockMask,
  type BooleanTensor,
  createEngine,
  type Engine,
  type Tensor,
  tensor,
} from "../mod.ts";
import { machine } from "./machine.ts";
import { numbers } from "./numbers.ts";
import { race } from "./race.ts";

const D = 64;

/** One line of the table. */
interface Row {
  readonly what: string;
  /** Time of the dense call over its own; or its own over what its arithmetic should take. */
  readonly ratio: number;
  readonly milliseconds: number;
  readonly wanted: string;
}

interface Subject {
  readonly what: string;
  readonly wanted: string;
  readonly options: AttentionOptions;
}

interface Shape {
  readonly heads: number;
  readonly length: number;
}

function random({ heads, length }: Shape): Tensor {
  return tensor(numbers(heads * length * D), [heads, length, D]);
}

/** A mask that keeps everything. */
function keepAll(length: number, bits: boolean): BooleanTensor {
  const shape = [length, length];
  return bits
    ? { data: new Uint32Array(length * length / 32).fill(0xffffffff), shape }
    : { data: new Uint8Array(length * length).fill(1), shape };
}

/** Every `every`th element masked: all tiles mixed. */
function keepMost(length: number): BooleanTensor {
  const data = Uint8Array.from({ length: length * length }, (_, at) => Number(at % 17 !== 0));
  return { data, shape: [length, length] };
}

/** Options that cost something. */
function dearer({ heads, length }: Shape): Subject[] {
  const bias = tensor(numbers(length * length), [length, length]);
  return [
    {
      what: "mask that keeps all, bytes",
      wanted: "<= 1.1",
      options: { mask: keepAll(length, false) },
    },
    {
      what: "mask that keeps all, bits",
      wanted: "<= 1.1",
      options: { mask: keepAll(length, true) },
    },
    { what: "mask, every tile mixed", wanted: "", options: { mask: keepMost(length) } },
    { what: "ALiBi", wanted: "<= 1.25", options: { alibi: alibiSlopes(heads) } },
    { what: "softcap", wanted: "<= 1.25", options: { softcap: 30 } },
    { what: "bias [Nq, Nk]", wanted: "<= 1.25", options: { bias } },
    { what: "sinks", wanted: "", options: { sinks: tensor(numbers(heads), [heads]) } },
    {
      what: "ALiBi, softcap, bias and mask",
      wanted: "",
      options: { alibi: alibiSlopes(heads), softcap: 30, bias, mask: keepAll(length, false) },
    },
  ];
}

/** A tenth of the blocks of each row of blocks. */
function tenth(length: number, block: number): Subject {
  const kept = Math.round(length / block / 10);
  const mask = blockMask.bigbird(
    { block, windowBlocks: 1, global: 0, random: kept - 1, seed: 1 },
    { queries: length },
  );
  return {
    what: `${(mask.density * 100).toFixed(1)} % of blocks of ${block}`,
    wanted: ">= 8",
    options: { blockMask: mask },
  };
}

/** Options that save something. */
function cheaper({ length }: Shape): Subject[] {
  return [
    { what: "causal", wanted: "", options: { causal: true } },
    { what: "window of 256", wanted: ">= 20", options: { window: [128, 127] } },
    { what: "window of 256, causal", wanted: "", options: { window: [255, 0] } },
    tenth(length, 64),
    tenth(length, 128),
    {
      what: "Longformer, window 256, 16 global",
      wanted: "",
      options: {
        blockMask: blockMask.longformer(
          { window: 257, global: Array.from({ length: 16 }, (_, at) => at) },
          { queries: length },
        ),
      },
    },
  ];
}

/** Times subjects against the dense call. */
async function compare(
  engine: Engine,
  shape: Shape,
  subjects: readonly Subject[],
  rounds: number,
  ratioOf: (dense: number, own: number) => number,
): Promise<Row[]> {
  const [q, k, v] = [random(shape), random(shape), random(shape)];
  const out = tensor(new Float32Array(q.data.length), q.shape);
  const all = [{ what: "dense", wanted: "", options: {} }, ...subjects];
  const speeds = await race(
    all.map(({ what, options }) => ({
      name: what,
      work: 1,
      run: () => engine.attentionSync(q, k, v, { ...options, out }),
    })),
    rounds,
    1,
  );
  const dense = speeds[0].milliseconds;
  return all.map(({ what, wanted }, index) => ({
    what,
    wanted,
    milliseconds: speeds[index].milliseconds,
    ratio: ratioOf(dense, speeds[index].milliseconds),
  }));
}

/** A packed batch against the rate of a dense call. */
async function packed(engine: Engine): Promise<Row[]> {
  const heads = 4, most = 1024;
  const lengths = Array.from({ length: 48 }, (_, at) => 1 + (at * 389) % most);
  const total = lengths.reduce((a, b) => a + b, 0);
  const ends = Int32Array.from([
    0,
    ...lengths.map((_, at) => {
      return lengths.slice(0, at + 1).reduce((a, b) => a + b, 0);
    }),
  ]);
  const one = random({ heads, length: most }), all = random({ heads, length: total });
  const outOne = tensor(new Float32Array(one.data.length), one.shape);
  const out = tensor(new Float32Array(all.data.length), all.shape);
  const cuSeqlens = { q: ends, k: ends };
  const [dense, ragged] = await race(
    [
      { name: "dense", work: 1, run: () => engine.attentionSync(one, one, one, { out: outOne }) },
      {
        name: "packed",
        work: 1,
        run: () => engine.attentionSync(all, all, all, { out, cuSeqlens }),
      },
    ],
    15,
    1,
  );
  const share = lengths.reduce((sum, n) => sum + n * n, 0) / most ** 2;
  return [{
    what: `packed, ${lengths.length} sequences of 1 to ${most}`,
    wanted: "<= 1.15",
    milliseconds: ragged.milliseconds,
    ratio: ragged.milliseconds / (dense.milliseconds * share),
  }];
}

function print(title: string, rows: readonly Row[]): void {
  console.log(`\n${title}`);
  for (const { what, ratio, milliseconds, wanted } of rows) {
    console.log(
      `${what.padEnd(36)} ${milliseconds.toFixed(1).padStart(8)} ms  ` +
        `${ratio.toFixed(2).padStart(6)}x  ${wanted}`,
    );
  }
}

const { values } = parseArgs({ options: { json: { type: "string" } } });
const engine = await createEngine({ backend: "wasm", threads: 1 });
const short = { heads: 4, length: 2048 }, long = { heads: 1, length: 16_384 };
const costs = await compare(engine, short, dearer(short), 9, (dense, own) => own / dense);
print("N=2048, H=4, D=64: time over dense", costs);
const savings = await compare(engine, long, cheaper(long), 3, (dense, own) => dense / own);
print("N=16,384, H=1, D=64: dense over time", savings);
const ragged = await packed(engine);
print("H=4, D=64: time over its arithmetic at the dense rate of N=1024", ragged);
await engine.close();
if (values.json !== undefined) {
  const text = JSON.stringify({ machine: machine(), costs, savings, packed: ragged }, null, 2);
  await writeFile(values.json, text + "\n");
}
