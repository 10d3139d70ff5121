/**
 * `deno task bench:cache-errors`: what each storage of a KV cache does to the result, and `precision` to that
 * of bytes, against the oracle: on random numbers, and on what the layers of the demo's model have between them.
 *
 * @module
 */

import "../tools/help.ts";
import { createEngine, type Engine, type Precision } from "../mod.ts";
import { referenceAttention } from "../src/reference/mod.ts";
import { normals, seeded } from "../tests/support/random.ts";
import { type Operands, recordLayers } from "./llama.ts";
import { precisions } from "./precisions.ts";
import { byPrecision, nameOf, storages, type StoredAs } from "./storages.ts";

/** Operands `[B, N, H, D]`, and what attention makes of them. */
interface Case extends Operands {
  readonly causal: boolean;
  readonly exact: ArrayLike<number>;
}

interface Errors {
  readonly largest: number;
  readonly mean: number;
}

function caseOf(operands: Operands, causal: boolean): Case {
  const { q, k, v } = operands;
  const exact = referenceAttention(q, k, v, { causal, layout: "bnhd" }).out.data;
  return { ...operands, causal, exact };
}

function randomCase(D: number, tokens: number, queries: number): Case {
  const random = seeded(1);
  const make = (rows: number) => ({ data: normals(rows * D, random), shape: [1, rows, 1, D] });
  const [q, k, v] = [make(queries), make(tokens), make(tokens)];
  return caseOf({ q, k, v }, false);
}

/** How a cache is asked. */
interface Asked {
  /** Queries of each sequence at a time. */
  readonly rows: number;
  readonly precision?: Precision;
}

/** Every error of one case. */
function errorsOf(
  engine: Engine,
  each: Case,
  storage: StoredAs,
  { rows, precision = "f32" }: Asked,
): number[] {
  const { q, k, v, causal, exact } = each;
  const [batch, queries, heads, headDim] = q.shape;
  using cache = engine.kvCache({ batch, kvHeads: k.shape[2], headDim, ...storage });
  cache.append(k, v, { layout: "bnhd" });
  const width = heads * headDim, errors: number[] = [];
  for (let from = 0; from < queries; from += rows) {
    const part = {
      data: q.data,
      shape: [batch, rows, heads, headDim],
      strides: [queries * width, width, headDim, 1],
      offset: from * width,
    };
    const options = { layout: "bnhd", causal, offset: from, precision } as const;
    const { data } = cache.attendSync(part, options).out;
    for (let sequence = 0; sequence < batch; sequence++) {
      const begin = (sequence * queries + from) * width, size = rows * width;
      const got = data.subarray(sequence * size, (sequence + 1) * size);
      for (const [at, x] of got.entries()) errors.push(Math.abs(x - exact[begin + at]));
    }
  }
  return errors;
}

function summaryOf(errors: readonly number[]): Errors {
  const sum = errors.reduce((total, error) => total + error, 0);
  return { largest: errors.reduce((a, b) => Math.max(a, b), 0), mean: sum / errors.length };
}

function rootMeanSquare(numbers: readonly number[]): number {
  return Math.sqrt(numbers.reduce((sum, x) => sum + x * x, 0) / numbers.length);
}

/** Columns of a table: largest and mean error of all cases, asked in each way. */
function columnsOf(
  engine: Engine,
  cases: readonly Case[],
  storage: StoredAs,
  ways: readonly Asked[],
): string[] {
  return ways.flatMap((asked) => {
    const errors = cases.flatMap((each) => errorsOf(engine, each, storage, asked));
    const { largest, mean } = summaryOf(errors);
    return [largest, mean].map((figure) => figure.toExponential(1));
  });
}

function print(engine: Engine, title: string, cases: readonly Case[]): void {
  const rms = rootMeanSquare(cases.flatMap(({ exact }) => Array.from(exact)));
  console.log(`\n${title}; rms of the result ${rms.toFixed(3)}`);
  console.log("| storage | one at a time: largest | mean | 16 at a time: largest | mean |");
  for (const storage of storages) {
    const columns = columnsOf(engine, cases, storage, [{ rows: 1 }, { rows: 16 }]);
    console.log(`| ${[nameOf(storage), ...columns].join(" | ")} |`);
  }
  console.log("\n| 64 at a time | precision | largest | mean |");
  for (const storage of byPrecision) {
    for (const precision of precisions) {
      const columns = columnsOf(engine, cases, storage, [{ rows: 64, precision }]);
      console.log(`| ${[nameOf(storage), precision, ...columns].join(" | ")} |`);
    }
  }
}

await using engine = await createEngine({ backend: "wasm" });
await engine.warmup({ precision: "int8" });
print(engine, "Random normal numbers, D = 64, 512 tokens", [randomCase(64, 512, 256)]);
const layers = (await recordLayers(engine, 4)).map((layer) => caseOf(layer, true));
print(engine, "The layers of the demo's model, D = 32, 4 texts of 256 bytes, causal", layers);
