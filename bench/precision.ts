/**
 * `deno task bench:precision [--rounds N] [--json FILE]`: every `precision` against f32, in turn in one process, each
 * first in its turn: median speeds, and the median of the ratios within a round with its quartiles. Before that, errors
 * against the oracle: root mean squares over those of the exact result, of normally distributed numbers.
 *
 * @module
 */

import "../tools/help.ts";
import { writeFile } from "node:fs/promises";
import process from "node:process";
import { parseArgs } from "node:util";
import { createEngine, type Engine, type Precision, tensor } from "../mod.ts";
import { dots } from "../src/wasm/integer/dots.ts";
import { machine } from "./machine.ts";
import { type Errors, errorsOf, inputsOf, kinds, type Shape } from "./precision_errors.ts";
import { precisions } from "./precisions.ts";

const shapes: readonly Shape[] = [64, 128].flatMap((dim) =>
  [false, true].map((causal) => ({ length: 2048, dim, causal }))
);

interface Line {
  readonly shape: Shape;
  readonly precision: Precision;
  readonly milliseconds: number;
  readonly gflops: number;
  /** How much faster than f32: median and quartiles of the ratios within a round. */
  readonly ratio: readonly [median: number, lower: number, upper: number];
}

function quantile(samples: readonly number[], part: number): number {
  return samples.toSorted((a, b) => a - b)[Math.floor((samples.length - 1) * part)];
}

const heads = 2;

function race(engine: Engine, shape: Shape, rounds: number): Line[] {
  const [q, k, v] = inputsOf(heads, shape), { length, dim, causal } = shape;
  const out = tensor(new Float32Array(q.data.length), q.shape);
  const times = precisions.map((): number[] => []);
  for (let round = -2; round < rounds; round++) {
    for (let turn = 0; turn < precisions.length; turn++) {
      const which = (turn + round + 2) % precisions.length, start = performance.now();
      engine.attentionSync(q, k, v, { causal, out, precision: precisions[which] });
      if (round >= 0) times[which].push(performance.now() - start);
    }
  }
  const seen = causal ? length * (length + 1) / 2 : length * length;
  return precisions.map((precision, at) => {
    const milliseconds = quantile(times[at], 0.5),
      ratios = times[at].map((x, i) => times[0][i] / x);
    return {
      ...{ shape, precision, milliseconds },
      gflops: 4 * heads * seen * dim / milliseconds / 1e6,
      ratio: [quantile(ratios, 0.5), quantile(ratios, 0.25), quantile(ratios, 0.75)],
    };
  });
}

function wordsOf({ length, dim, causal }: Shape): string {
  return `N=${length} D=${dim} ${causal ? "causal" : "dense "}`;
}

const { values } = parseArgs({ options: { rounds: { type: "string" }, json: { type: "string" } } });
const engine = await createEngine({ backend: "wasm", threads: 1 }), here = machine();
await engine.warmup({ precision: "int8" });
console.log(`${here.cpu}, ${here.cores} cores, ${here.runtime}; ${engine.reason}`);
console.log(
  `One thread, H=${heads}; bytes are multiplied ${
    dots.areFused ? "by one instruction" : "in two steps"
  }\n`,
);

const errors: Errors[] = [];
for (const shape of [{ length: 1024, dim: 64, causal: false }, ...shapes]) {
  for (const kind of kinds) {
    const one = await errorsOf(engine, shape, kind);
    errors.push(one);
    const each = precisions.map((precision) =>
      `${precision} ${one.errors[precision].toExponential(1)}`
    );
    console.log(`${wordsOf(shape)}  ${one.kind.padEnd(18)}${each.join("  ")}`);
  }
}

const lines: Line[] = [];
console.log();
for (const shape of shapes) {
  for (const line of race(engine, shape, Number(values.rounds ?? 21))) {
    lines.push(line);
    const [median, lower, upper] = line.ratio.map((x) => x.toFixed(2));
    console.log(
      `${wordsOf(shape)}  ${line.precision.padEnd(8)}${
        line.milliseconds.toFixed(1).padStart(7)
      } ms` +
        `${line.gflops.toFixed(0).padStart(5)} GFLOPS  ${median} (${lower} - ${upper})`,
    );
  }
}
if (values.json !== undefined) {
  await writeFile(values.json, JSON.stringify({ machine: here, errors, lines }, null, 2) + "\n");
}
await engine.close();
process.exit();
