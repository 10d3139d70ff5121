import { test } from "node:test";
import { assertAlmostEquals, assertEquals } from "@std/assert";
import { crossEntropy } from "../../examples/train/cross_entropy.ts";
import { sum } from "../../examples/train/differentiable.ts";
import { Rotary } from "../../examples/train/rotary.ts";
import { numbers, tiny } from "./fixtures.ts";
import * as oracle from "./oracle.ts";
import { assertGradient, type Doubles, gradientOf } from "./oracle.ts";

const ROWS = 7;

/** The number whose gradient with respect to `y` is `dy`. */
function weigh(y: Doubles, dy: Float32Array): number {
  return y.reduce((total, value, at) => total + value * dy[at], 0);
}

test("Rotary turns as its formula says, and turns gradients back", () => {
  const { context, headDim } = tiny, heads = 3, length = 2 * context * heads * headDim;
  const rotary = new Rotary(tiny), x = numbers(length, 1), dy = numbers(length, 2);
  const x64 = Float64Array.from(x);
  const expected = gradientOf(() => weigh(oracle.rotate(x64, heads, tiny), dy), x64);
  const turned = x.slice(), gradient = dy.slice();
  rotary.turn(turned, heads);
  rotary.turnBack(gradient, heads);
  assertGradient(turned, oracle.rotate(x64, heads, tiny), "turned");
  assertGradient(gradient, expected, "turned back");
});

test("crossEntropy() has the gradient of the mean of -log p", () => {
  const logits = numbers(ROWS * 5, 1), tokens = Uint8Array.of(0, 4, 2, 2, 1, 3, 0);
  const { loss, dLogits } = crossEntropy(logits, tokens);
  const logits64 = Float64Array.from(logits);
  assertAlmostEquals(loss, oracle.crossEntropy(logits64, tokens), 1e-12);
  const expected = gradientOf(() => oracle.crossEntropy(logits64, tokens), logits64);
  assertGradient(dLogits, expected, "logits");
});

test("crossEntropy() is finite where exponentials are not", () => {
  const { loss, dLogits } = crossEntropy(Float32Array.of(1000, 0, -1000), Uint8Array.of(1));
  assertEquals(loss, 1000);
  assertEquals(dLogits, Float32Array.of(1, -1, 0));
});

test("sum() adds arrays and changes none", () => {
  const [a, b, c] = [Float32Array.of(1, 2), Float32Array.of(10, 20), Float32Array.of(100, 200)];
  assertEquals(sum(a, b, c), Float32Array.of(111, 222));
  assertEquals(a, Float32Array.of(1, 2));
});
