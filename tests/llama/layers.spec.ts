import { test } from "node:test";
import { assertAlmostEquals, assertEquals } from "@std/assert";
import { addInto, gateSilu, rmsNorm } from "../../examples/llama/layers.ts";

test("rmsNorm() divides each row by the root of its mean square", () => {
  const x = Float32Array.of(3, 4, 0, 0, 30, 40, 0, 0);
  const y = new Float32Array(8);
  rmsNorm(x, 2, Float32Array.of(1, 2, 1, 1), 0, y);
  for (const begin of [0, 4]) {
    assertAlmostEquals(y[begin], 3 / 2.5, 1e-6);
    assertAlmostEquals(y[begin + 1], 2 * 4 / 2.5, 1e-6);
  }
});

test("rmsNorm() keeps a row of zeros finite by its epsilon", () => {
  const y = new Float32Array(2).fill(9);
  rmsNorm(new Float32Array(2), 1, Float32Array.of(1, 1), 1e-5, y);
  assertEquals(y, Float32Array.of(0, 0));
});

test("gateSilu() is silu(gate) * up, also far from zero", () => {
  const gate = Float32Array.of(0, 1, -1, 1000, -1000, 5);
  gateSilu(gate, Float32Array.of(1, 2, 2, 3, 3, 9), 5);
  assertEquals(gate[0], 0);
  assertAlmostEquals(gate[1], 2 * 0.7310585786300049, 1e-6);
  assertAlmostEquals(gate[2], -2 * 0.2689414213699951, 1e-6);
  assertEquals(gate[3], 3000);
  assertEquals(gate[4], -0);
  assertEquals(gate[5], 5);
});

test("addInto() adds no more than the length", () => {
  const x = Float32Array.of(1, 2, 3);
  addInto(x, Float32Array.of(10, 20, 30), 2);
  assertEquals(x, Float32Array.of(11, 22, 3));
});
