import { test } from "node:test";
import { assertAlmostEquals, assertEquals } from "@std/assert";
import { crossEntropy } from "../../examples/train/cross_entropy.ts";
import { sum } from "../../examples/train/differentiable.ts";
import { embed, rmsNorm, swiglu } from "../../examples/train/layers.ts";
import { linear, transpose } from "../../examples/train/linear.ts";
import { Rotary } from "../../examples/train/rotary.ts";
import { numbers, tiny } from "./fixtures.ts";
import * as oracle from "./oracle.ts";
import { assertGradient, type Doubles, gradientOf } from "./oracle.ts";

const ROWS = 7;

/** The number whose gradient with respect to `y` is `dy`. */
function weigh(y: Doubles, dy: Float32Array): number {
  return y.reduce((total, value, at) => total + value * dy[at], 0);
}

test("linear() has the gradients of x W^T, added to those that are there", () => {
  for (const [inputs, outputs] of [[5, 9], [8, 4], [1, 3]]) {
    const x = numbers(ROWS * inputs, 1), w = numbers(outputs * inputs, 2);
    const before = numbers(w.length, 3), dy = numbers(ROWS * outputs, 4);
    const gradient = { data: before.slice(), inputs, outputs };
    const learned = { weight: { data: w, inputs, outputs }, gradient };
    const dx = linear(x, ROWS, learned).backward(dy);
    const [x64, w64] = [x, w].map((values) => Float64Array.from(values));
    const loss = () => weigh(oracle.linear(x64, w64, inputs), dy);
    assertGradient(dx, gradientOf(loss, x64), "x");
    const expected = gradientOf(loss, w64).map((value, at) => value + before[at]);
    assertGradient(gradient.data, expected, "W");
  }
});

test("transpose() turns rows into columns for every remainder of its strips", () => {
  for (const rows of [1, 7, 8, 17]) {
    for (const columns of [1, 3, 9]) {
      const x = numbers(rows * columns, 5);
      const turned = transpose(x, rows, columns);
      for (let at = 0; at < x.length; at++) {
        assertEquals(turned[(at % columns) * rows + Math.floor(at / columns)], x[at]);
      }
      assertEquals(transpose(turned, columns, rows), x);
    }
  }
});

test("rmsNorm() has the gradients of x gain / rms(x)", () => {
  const width = 6,
    x = numbers(ROWS * width, 1),
    gain = numbers(width, 2),
    dy = numbers(x.length, 3);
  const gradient = new Float32Array(width);
  const dx = rmsNorm(x, ROWS, { weight: gain, gradient }, 1e-2).backward(dy);
  const [x64, gain64] = [x, gain].map((values) => Float64Array.from(values));
  const loss = () => weigh(oracle.rmsNorm(x64, gain64, 1e-2), dy);
  assertGradient(dx, gradientOf(loss, x64), "x");
  assertGradient(gradient, gradientOf(loss, gain64), "gain");
});

test("swiglu() has the gradients of silu(gate) up, also far from zero", () => {
  for (const scale of [1, 30]) {
    const gate = numbers(40, 1).map((x) => scale * x), up = numbers(40, 2), dy = numbers(40, 3);
    const { dGate, dUp } = swiglu(gate, up).backward(dy);
    const [gate64, up64] = [gate, up].map((values) => Float64Array.from(values));
    const loss = () => weigh(oracle.swiglu(gate64, up64), dy);
    assertGradient(dGate, gradientOf(loss, gate64), "gate");
    assertGradient(dUp, gradientOf(loss, up64), "up");
  }
});

test("swiglu() keeps its gate", () => {
  const gate = numbers(4, 1);
  swiglu(gate, numbers(4, 2));
  assertEquals(gate, numbers(4, 1));
});

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

test("embed() takes rows, and adds up the gradients of a token that is there twice", () => {
  const matrix = { data: Float32Array.of(1, 2, 3, 4, 5, 6), inputs: 2, outputs: 3 };
  const gradient = { ...matrix, data: new Float32Array(6).fill(100) };
  const { out, backward } = embed(Uint8Array.of(2, 0, 2), { weight: matrix, gradient });
  assertEquals(out, Float32Array.of(5, 6, 1, 2, 5, 6));
  backward(Float32Array.of(1, 2, 3, 4, 5, 6));
  assertEquals(gradient.data, Float32Array.of(103, 104, 100, 100, 106, 108));
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
