import { createEngine } from "@flashtile/attention";
import { assertEquals } from "@std/assert";
import { test } from "node:test";
import { Layers } from "../../examples/train/layers.ts";
import { numbers } from "./fixtures.ts";
import { assertGradient, type Doubles, gradientOf } from "./oracle.ts";
import * as oracle from "./oracle.ts";

const ROWS = 7;

/** The number whose gradient with respect to `y` is `dy`. */
function weigh(y: Doubles, dy: Float32Array): number {
  return y.reduce((total, value, at) => total + value * dy[at], 0);
}

async function withLayers(use: (layers: Layers) => Promise<void>): Promise<void> {
  const engine = await createEngine({ backend: "wasm", threads: 1 });
  try {
    await use(new Layers(engine));
  } finally {
    await engine.close();
  }
}

test("Layers.linear() has the gradients of x W^T + residual, added to those that are there", () =>
  withLayers(async (layers) => {
    for (const [inputs, outputs] of [[5, 9], [8, 4], [1, 3]]) {
      const x = numbers(ROWS * inputs, 1), w = numbers(outputs * inputs, 2);
      const before = numbers(w.length, 3), dy = numbers(ROWS * outputs, 4);
      const residual = numbers(dy.length, 5), gradient = { data: before.slice(), inputs, outputs };
      const learned = { weight: { data: w, inputs, outputs }, gradient };
      const { out, backward } = await layers.linear(x, learned, residual);
      const dx = await backward(dy), [x64, w64] = [x, w].map((of) => Float64Array.from(of));
      const product = oracle.linear(x64, w64, inputs);
      assertGradient(out, product.map((value, at) => value + residual[at]), "y");
      const loss = () => weigh(oracle.linear(x64, w64, inputs), dy);
      assertGradient(dx, gradientOf(loss, x64), "x");
      const expected = gradientOf(loss, w64).map((value, at) => value + before[at]);
      assertGradient(gradient.data, expected, "W");
    }
  }));

test("Layers.rmsNorm() has the gradients of x gain / rms(x)", () =>
  withLayers(async (layers) => {
    const width = 6, x = numbers(ROWS * width, 1), gain = numbers(width, 2);
    const dy = numbers(x.length, 3), gradient = new Float32Array(width).fill(100);
    const { backward } = await layers.rmsNorm(x, { weight: gain, gradient }, 1e-2);
    const dx = await backward(dy), [x64, gain64] = [x, gain].map((of) => Float64Array.from(of));
    const loss = () => weigh(oracle.rmsNorm(x64, gain64, 1e-2), dy);
    assertGradient(dx, gradientOf(loss, x64), "x");
    assertGradient(gradient, gradientOf(loss, gain64).map((value) => value + 100), "gain");
  }));

test("Layers.swiglu() has the gradients of silu(gate) up, also far from zero", () =>
  withLayers(async (layers) => {
    for (const scale of [1, 30]) {
      const gate = numbers(40, 1).map((x) => scale * x), up = numbers(40, 2), dy = numbers(40, 3);
      const before = gate.slice(), { backward } = await layers.swiglu(gate, up);
      const { dGate, dUp } = await backward(dy);
      const [gate64, up64] = [gate, up].map((of) => Float64Array.from(of));
      const loss = () => weigh(oracle.swiglu(gate64, up64), dy);
      assertGradient(dGate, gradientOf(loss, gate64), "gate");
      assertGradient(dUp, gradientOf(loss, up64), "up");
      assertEquals(gate, before);
    }
  }));

test("Layers.embed() takes rows, and adds up the gradients of a token that is there twice", () =>
  withLayers(async (layers) => {
    const matrix = { data: Float32Array.of(1, 2, 3, 4, 5, 6), inputs: 2, outputs: 3 };
    const gradient = { ...matrix, data: new Float32Array(6).fill(100) };
    const tokens = Uint8Array.of(2, 0, 2);
    const { out, backward } = await layers.embed(tokens, { weight: matrix, gradient });
    assertEquals(out, Float32Array.of(5, 6, 1, 2, 5, 6));
    await backward(Float32Array.of(1, 2, 3, 4, 5, 6));
    assertEquals(gradient.data, Float32Array.of(103, 104, 100, 100, 106, 108));
  }));
