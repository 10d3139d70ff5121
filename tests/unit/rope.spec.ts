import type { RopeScaling } from "@flashtile/attention";
import { assert } from "@std/assert";
import { test } from "node:test";
import { readRope } from "../../src/operations/rope/options.ts";
import { planRotation } from "../../src/operations/rope/plan.ts";

/** Angles of position 1, and the length of the rows, as the table has them. */
function frequencies(scaling: RopeScaling | undefined, dims = 8, theta = 10_000) {
  const q = { data: new Float32Array(dims), shape: [1, dims] };
  const { table } = planRotation(readRope(q, null, { positions: 1, scaling, theta }));
  const pairs = Array.from({ length: dims / 2 }, (_, at) => [table[2 * at], table[2 * at + 1]]);
  return {
    angles: pairs.map(([cosine, sine]) => Math.atan2(sine, cosine)),
    length: Math.hypot(...pairs[0]),
  };
}

function assertClose(got: readonly number[], wanted: readonly number[]): void {
  for (const [at, x] of wanted.entries()) {
    assert(Math.abs(got[at] - x) <= 1e-6 * Math.abs(x), `${got} instead of ${wanted}`);
  }
}

test("plain angles fall by the same factor from pair to pair", () => {
  assertClose(frequencies(undefined).angles, [1, 0.1, 0.01, 0.001]);
});

test("linear scaling divides every angle", () => {
  assertClose(frequencies({ type: "linear", factor: 4 }).angles, [0.25, 0.025, 0.0025, 0.00025]);
});

test("NTK scaling leaves the fastest pair, and slows the last by the factor", () => {
  const { angles } = frequencies({ type: "ntk", factor: 4 });
  assertClose([angles[0], angles[3]], [1, 0.00025]);
});

test("Llama 3's scaling leaves fast pairs, slows slow ones and blends between", () => {
  const scaling = { type: "llama3", factor: 8, originalLength: 1000 } as const;
  // Turns within the context: 159, 16, 1.6, 0.16; slow is below 1, fast above 4.
  const share = (1000 * 0.01 / (2 * Math.PI) - 1) / 3;
  const blended = (1 - share) * 0.01 / 8 + share * 0.01;
  assertClose(frequencies(scaling).angles, [1, 0.1, blended, 0.001 / 8]);
});

test("YaRN blends by pairs, and makes rows longer", () => {
  const scaling = { type: "yarn", factor: 4, originalLength: 1000 } as const;
  const { angles, length } = frequencies(scaling, 16);
  // The pair that makes 32 turns is 1.39, that of one turn 4.40: from 1 to 5 they are blended.
  const plain = Array.from({ length: 8 }, (_, at) => 10 ** (-at / 2));
  const fast = [1, 1, 3 / 4, 2 / 4, 1 / 4, 0, 0, 0];
  assertClose(angles, plain.map((x, at) => x * fast[at] + x / 4 * (1 - fast[at])));
  assertClose([length], [0.1 * Math.log(4) + 1]);
});
