/**
 * `deno task bench [--json FILE] [--on node|bun]`: forward against the naive loop and against the
 * micro-kernel's ceiling, after a check against the oracle.
 *
 * @module
 */

import "../tools/help.ts";
import { writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { createEngine, type Engine, type Tensor, tensor } from "../mod.ts";
import { referenceAttention } from "../src/reference/mod.ts";
import { runtimeProgram, versions } from "../tools/install.ts";
import { type Ceiling, loadCeiling } from "./ceiling.ts";
import { runElsewhere } from "./elsewhere.ts";
import { machine } from "./machine.ts";
import { naiveAttention } from "./naive.ts";
import { numbers } from "./numbers.ts";
import { race, type Speed, type Subject } from "./race.ts";

interface Shape {
  readonly dim: number;
  readonly length: number;
  readonly heads: number;
  readonly causal: boolean;
}

interface Row extends Shape {
  readonly ours: Speed;
  readonly naive: Speed;
  readonly ceiling: Speed;
  /** Share of the ceiling, in median speeds. */
  readonly share: number;
  readonly error: number;
}

/** Largest error that a right result of these inputs can have; it is some 1e-7. */
const tolerance = 2e-6;

function shapes(): Shape[] {
  const lengths = [{ length: 128, heads: 8 }, { length: 1024, heads: 4 }, {
    length: 4096,
    heads: 1,
  }];
  return [64, 128].flatMap((dim) =>
    lengths.flatMap((size) => [false, true].map((causal) => ({ dim, ...size, causal })))
  );
}

function inputs({ heads, length, dim }: Shape): [Tensor, Tensor, Tensor] {
  const make = (seed: number) => tensor(numbers(heads * length * dim, seed), [heads, length, dim]);
  return [make(1), make(2), make(3)];
}

/** Multiply-adds of the keys that are seen, two operations each. */
function workOf({ heads, length, dim, causal }: Shape): number {
  const seen = causal ? length * (length + 1) / 2 : length * length;
  return 2 * heads * seen * (dim + dim);
}

/** Largest error of a few rows against the oracle; throws when it is too large. */
function check(engine: Engine, shape: Shape, [q, k, v]: [Tensor, Tensor, Tensor]): number {
  const { causal, length, dim, heads } = shape;
  const { out } = engine.attentionSync(q, k, v, { causal });
  let error = 0;
  for (const row of [0, Math.floor(length / 2), length - 1]) {
    // One row of each head, aligned as it is in the whole.
    const rows = {
      data: q.data,
      shape: [heads, 1, dim],
      strides: [length * dim, dim, 1],
      offset: row * dim,
    };
    const expected = referenceAttention(rows, k, v, { causal, offset: row }).out.data;
    for (let h = 0; h < heads; h++) {
      for (let d = 0; d < dim; d++) {
        const ours = out.data[(h * length + row) * dim + d];
        error = Math.max(error, Math.abs(ours - expected[h * dim + d]));
      }
    }
  }
  if (error <= tolerance) return error;
  throw new Error(`Wrong result: off by ${error} at ${JSON.stringify(shape)}`);
}

async function measureShape(
  engine: Engine,
  ceilingAt: (depth: number) => Ceiling,
  shape: Shape,
): Promise<Row> {
  const [q, k, v] = inputs(shape);
  const { causal } = shape;
  const error = check(engine, shape, [q, k, v]);
  const out = tensor(new Float32Array(q.data.length), q.shape);
  const subjects: Subject[] = [
    { name: "ceiling", ...ceilingAt(shape.dim) },
    {
      name: "flashtile",
      work: workOf(shape),
      run: () => engine.attentionSync(q, k, v, { causal, out }),
    },
  ];
  const naive: Subject = {
    name: "naive loop",
    work: workOf(shape),
    run: () => naiveAttention(q, k, v, causal),
  };
  const [ceiling, ours] = await race(subjects, 15, 30);
  const [slow] = await race([naive], 1, 30);
  return { ...shape, ours, naive: slow, ceiling, share: ours.median / ceiling.median, error };
}

function printRow(row: Row): void {
  const { dim, length, heads, causal, ours, naive, ceiling, share, error } = row;
  console.log([
    `D=${dim}`.padEnd(6),
    `N=${length}`.padEnd(7),
    `H=${heads}`,
    causal ? "causal" : "dense ",
    `${ours.median.toFixed(1)} (best ${ours.best.toFixed(1)})`.padStart(18),
    `${ceiling.median.toFixed(1)} (best ${ceiling.best.toFixed(1)})`.padStart(18),
    `${(share * 100).toFixed(0)} %`.padStart(8),
    `${naive.median.toFixed(2)}`.padStart(7),
    `${(naive.milliseconds / ours.milliseconds).toFixed(0)}x`.padStart(5),
    error.toExponential(1).padStart(9),
  ].join("  "));
}

/** How much faster causal is than dense, for each pair. */
function causalRatios(rows: readonly Row[]): { dim: number; length: number; ratio: number }[] {
  return rows.filter(({ causal }) => !causal).map((dense) => {
    const { dim, length } = dense;
    const causal = rows.find((row) => row.causal && row.dim === dim && row.length === length)!;
    return { dim, length, ratio: dense.ours.milliseconds / causal.ours.milliseconds };
  });
}

/** The program of a runtime by the name that `--on` takes. */
function programOf(name: string): string {
  if (name === "bun") return runtimeProgram("bun", versions.bun);
  if (name === "node") return runtimeProgram("node", versions.node26);
  throw new Error(`--on takes node or bun, got ${name}`);
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { json: { type: "string" }, on: { type: "string" } } });
  if (values.on) {
    const json = values.json ? ["--json", resolve(values.json)] : [];
    process.exitCode = runElsewhere(programOf(values.on), "bench/forward.ts", json);
    return;
  }
  const ceilingAt = await loadCeiling();
  const engine = await createEngine({ backend: "wasm", threads: 1 });
  const here = machine();
  console.log(`${here.cpu}, ${here.cores} cores, ${here.runtime}; ${engine.reason}`);
  console.log("One thread. GFLOPS of the keys that are seen, median of 15 rounds in turn.\n");
  console.log(
    "                                 flashtile        micro-kernel     share    naive  ratio      error",
  );
  const rows: Row[] = [];
  for (const shape of shapes()) {
    const row = await measureShape(engine, ceilingAt, shape);
    rows.push(row);
    printRow(row);
  }
  console.log("\nCausal against dense:");
  for (const { dim, length, ratio } of causalRatios(rows)) {
    console.log(`D=${dim} N=${length}: ${ratio.toFixed(2)}x faster`);
  }
  if (values.json) {
    const report = { machine: here, engine: engine.reason, rows, causal: causalRatios(rows) };
    await writeFile(values.json, JSON.stringify(report, null, 2) + "\n");
  }
  await engine.close();
}

if (import.meta.main) {
  await main();
}
