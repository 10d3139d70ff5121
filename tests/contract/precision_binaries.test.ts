// A process of its own: once a binary is provided, every engine takes it.

import { assert } from "@std/assert";
import { createEngine, type Engine } from "@flashtile/attention";
import { test } from "node:test";
import { relaxedFuses } from "../../src/wasm/binary/choice.ts";
import { binaryBytes, provideBinary, unpack } from "../../src/wasm/binary/module.ts";
import * as integer from "../../src/wasm/binary/integer.gen.ts";
import { dots } from "../../src/wasm/integer/dots.ts";
import { resultsOf } from "../support/exact.ts";
import { type Meaning, type Problem, randomProblem, sizesOf } from "../support/problem.ts";

const hasRelaxed = WebAssembly.validate(binaryBytes("relaxed"));

function most(a: ArrayLike<number>, b: ArrayLike<number>): number {
  return Array.from(a).reduce((sum, x, at) => Math.max(sum, Math.abs(x - b[at])), 0);
}

/**
 * Engines of both binaries: whoever comes first has the one that is chosen here, and of integers `relaxed` wherever
 * that is to be had.
 */
async function bothEngines(): Promise<[Engine, Engine]> {
  const relaxed = await createEngine({ backend: "wasm", threads: 1 });
  assert(relaxed.reason.startsWith(relaxedFuses() ? "relaxed" : "simd"), relaxed.reason);
  await relaxed.warmup({ precision: "int8" });
  provideBinary("simd", binaryBytes("simd"));
  provideBinary("simd", unpack(integer, "simd"), "integer");
  const simd = await createEngine({ backend: "wasm", threads: 1 });
  assert(simd.reason.startsWith("simd"), simd.reason);
  return [relaxed, simd];
}

test(
  "attention() forms the same integers in both binaries",
  hasRelaxed ? {} : { skip: "this runtime has no relaxed SIMD" },
  async () => {
    const engines = await bothEngines();
    const given = randomProblem(sizesOf({ Nq: 24, Nk: 500, D: 70, Dv: 13 }), 15);
    // Queries of zeros weigh all keys by the largest integer; other weights may be rounded to neighbours.
    const level = { ...given, q: new Float32Array(given.q.length) };
    const both = async (problem: Problem, precision: string) =>
      await Promise.all(engines.map((one) => resultsOf(one, problem, { precision } as Meaning)));
    for (const precision of ["int16", "int8-qk", "int8"]) {
      for (const areFused of [false, true]) {
        dots.areFused = areFused;
        const [relaxed, simd] = await both(given, precision);
        assert(most(relaxed.lse, simd.lse) < 2e-6, `scores of ${precision}`);
        const [means, others] = await both(level, precision);
        assert(most(means.out, others.out) < 2e-7, `values of ${precision}`);
      }
    }
    await Promise.all(engines.map((engine) => engine.close()));
  },
);
