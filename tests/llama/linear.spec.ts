import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { linear, type Matrix } from "../../examples/llama/linear.ts";

/** Numbers without a pattern that a mixed-up index could hide in. */
function numbers(length: number): Float32Array {
  return Float32Array.from({ length }, (_, i) => Math.sin(i * 12.9898 + length));
}

function naive(x: Float32Array, rows: number, weight: Matrix): Float32Array {
  const { data, outputs, inputs } = weight;
  return Float32Array.from({ length: rows * outputs }, (_, at) => {
    const row = Math.floor(at / outputs);
    const output = at % outputs;
    let sum = 0;
    for (let i = 0; i < inputs; i++) sum += x[row * inputs + i] * data[output * inputs + i];
    return sum;
  });
}

test("linear() equals three plain loops for every remainder of rows and outputs", () => {
  for (let rows = 1; rows <= 9; rows++) {
    for (let outputs = 1; outputs <= 9; outputs++) {
      const inputs = 5;
      const weight = { data: numbers(outputs * inputs), outputs, inputs };
      const x = numbers(rows * inputs);
      const y = new Float32Array(rows * outputs);
      linear(x, rows, weight, y);
      assertEquals(y, naive(x, rows, weight), `${rows} rows, ${outputs} outputs`);
    }
  }
});

test("linear() writes no more than its rows", () => {
  const weight = { data: numbers(6), outputs: 2, inputs: 3 };
  const y = new Float32Array(8).fill(7);
  linear(numbers(9), 3, weight, y);
  assertEquals([...y.subarray(6)], [7, 7]);
});
