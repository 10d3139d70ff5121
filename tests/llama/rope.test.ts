import { test } from "node:test";
import { assertAlmostEquals, assertEquals } from "@std/assert";
import { createRope, rotate } from "../../examples/llama/rope.ts";

function dot(a: Float32Array, b: Float32Array): number {
  return a.reduce((sum, value, i) => sum + value * b[i], 0);
}

function rotated(x: number[], position: number): Float32Array {
  const y = Float32Array.from(x);
  rotate(createRope(64, x.length, 10000), y, 1, [position]);
  return y;
}

test("rotate() pairs number i with i + D / 2 and turns it by position * theta^(-2i / D)", () => {
  const [a, b, c, d] = rotated([1, 0, 0, 1], 3);
  assertAlmostEquals(a, Math.cos(3), 1e-6);
  assertAlmostEquals(c, Math.sin(3), 1e-6);
  assertAlmostEquals(b, -Math.sin(3 / 100), 1e-6);
  assertAlmostEquals(d, Math.cos(3 / 100), 1e-6);
});

test("rotate() leaves position 0 as it is", () => {
  assertEquals(rotated([1, 2, 3, 4], 0), Float32Array.of(1, 2, 3, 4));
});

test("rotate() makes scores depend on the distance of positions alone", () => {
  const q = [0.3, -1, 2, 0.7, 1, 0.1];
  const k = [1.1, 0.4, -0.2, 0.9, -1, 0.5];
  const near = dot(rotated(q, 9), rotated(k, 4));
  const far = dot(rotated(q, 59), rotated(k, 54));
  assertAlmostEquals(near, far, 1e-5);
});

test("rotate() gives every row its own position and every head the same", () => {
  const rope = createRope(64, 2, 10000);
  const x = Float32Array.of(1, 0, 1, 0, 1, 0, 1, 0);
  rotate(rope, x, 2, [5, 6]);
  assertEquals(x.subarray(0, 2), x.subarray(2, 4));
  assertEquals(x.subarray(4, 6), rotated([1, 0], 6));
});
