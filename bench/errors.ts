/**
 * `deno task bench:errors`: largest errors of the library and of the plain formula in f32, both
 * against the float64 oracle. The table of `docs/NUMERICS.md`.
 *
 * @module
 */

import "../tools/help.ts";
import { createEngine, tensor } from "../mod.ts";
import type { BinaryName } from "../src/contract/capabilities.ts";
import { referenceAttention } from "../src/reference/mod.ts";
import { binaryBytes } from "../src/wasm/binary/module.ts";
import { measure } from "../tests/support/budget.ts";
import { naiveAttention } from "../tests/support/naive.ts";
import { normals, seeded } from "../tests/support/random.ts";

interface Case {
  readonly queries: number;
  readonly keys: number;
  readonly dim: number;
  /** Standard deviation of queries and keys: scores grow with its square. */
  readonly spread: number;
  readonly causal: boolean;
}

const cases: Case[] = [
  { queries: 64, keys: 128, dim: 64, spread: 1, causal: false },
  { queries: 64, keys: 1024, dim: 64, spread: 1, causal: false },
  { queries: 64, keys: 8192, dim: 64, spread: 1, causal: false },
  { queries: 64, keys: 1024, dim: 128, spread: 1, causal: true },
  { queries: 64, keys: 1024, dim: 64, spread: 4, causal: false },
  { queries: 64, keys: 1024, dim: 64, spread: 16, causal: false },
  { queries: 64, keys: 1024, dim: 512, spread: 1, causal: false },
];

async function errorsOf({ queries, keys, dim, spread, causal }: Case): Promise<string> {
  const random = seeded(7);
  const sizes = { B: 1, Hq: 1, Hkv: 1, Nq: queries, Nk: keys, D: dim, Dv: dim };
  const problem = {
    sizes,
    q: normals(queries * dim, random, spread),
    k: normals(keys * dim, random, spread),
    v: normals(keys * dim, random),
  };
  const q = tensor(problem.q, [queries, dim]);
  const k = tensor(problem.k, [keys, dim]), v = tensor(problem.v, [keys, dim]);
  const exact = referenceAttention(q, k, v, { causal });
  const naive = naiveAttention(problem, { causal });
  const columns: string[] = [];
  for (const name of ["simd", "relaxed"] satisfies BinaryName[]) {
    const module = await WebAssembly.compile(binaryBytes(name));
    const engine = await createEngine({ backend: "wasm", module });
    const { out, lse } = engine.attentionSync(q, k, v, { causal, lse: true });
    const results = measure(out.data, naive.out, exact.out.data);
    const sums = measure(lse.data, naive.lse, exact.lse.data);
    if (columns.length === 0) {
      columns.push(results.naive.toExponential(1), sums.naive.toExponential(1));
    }
    columns.push(results.ours.toExponential(1), sums.ours.toExponential(1));
    await engine.close();
  }
  const what = `${queries} x ${keys}, D = ${dim}, spread ${spread}${causal ? ", causal" : ""}`;
  return `| ${[what.padEnd(38), ...columns].join(" | ")} |`;
}

if (import.meta.main) {
  console.log("| case | plain: out | lse | simd: out | lse | relaxed: out | lse |");
  console.log("| --- | --- | --- | --- | --- | --- | --- |");
  for (const each of cases) console.log(await errorsOf(each));
}
