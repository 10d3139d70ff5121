import { test } from "node:test";
import { assertAlmostEquals, assertEquals, assertLess } from "@std/assert";
import { AdamW, clip } from "../../examples/train/adamw.ts";
import { createParameters } from "../../examples/train/parameters.ts";
import { rateAt } from "../../examples/train/schedule.ts";
import { numbers, randomParameters, tiny } from "./fixtures.ts";

test("AdamW's first step is as large as the rate, whatever the gradient's size", () => {
  for (const size of [1e-3, 1e3]) {
    const learned = randomParameters(tiny), { weight, gradient } = learned;
    const before = weight.all.slice();
    gradient.all.set(numbers(before.length, 3).map((x) => size * Math.sign(x)));
    const signs = gradient.all.map(Math.sign);
    new AdamW(learned).step(0.01);
    for (const { data, shape } of weight.tensors) {
      const begin = data.byteOffset / data.BYTES_PER_ELEMENT;
      // Matrices have shrunk by a tenth of the rate before.
      const kept = shape.length === 2 ? 1 - 0.01 * 0.1 : 1;
      for (const [i, value] of data.entries()) {
        const at = begin + i;
        assertAlmostEquals(value, before[at] * kept - 0.01 * signs[at], 1e-6);
      }
    }
    assertEquals(gradient.all, new Float32Array(before.length));
  }
});

test("AdamW finds the least of a bowl", () => {
  const learned = randomParameters({ ...tiny, layers: 1 }), { weight, gradient } = learned;
  const gains = weight.tensors.filter(({ shape }) => shape.length === 1);
  const optimizer = new AdamW(learned);
  for (let step = 0; step < 500; step++) {
    for (const [i, x] of weight.all.entries()) gradient.all[i] = x - 0.5;
    optimizer.step(0.02 * (1 - step / 500));
  }
  for (const { data } of gains) for (const x of data) assertAlmostEquals(x, 0.5, 1e-3);
});

test("clip() shortens what is too long and nothing else", () => {
  const gradients = Float32Array.of(3, 4);
  assertEquals(clip(gradients, 5), 5);
  assertEquals(gradients, Float32Array.of(3, 4));
  assertEquals(clip(gradients, 2.5), 5);
  assertEquals(gradients, Float32Array.of(1.5, 2));
});

test("rateAt() grows to the rate, then falls to a twentieth of it", () => {
  const schedule = { steps: 100, rate: 2 };
  const rates = Array.from({ length: 100 }, (_, step) => rateAt(step, schedule));
  assertAlmostEquals(rates[0], 2 / 5);
  assertEquals(Math.max(...rates), 2);
  assertEquals(rates.indexOf(2), 4);
  assertAlmostEquals(rates[99], 0.1);
  for (let step = 6; step < 100; step++) assertLess(rates[step], rates[step - 1]);
  assertEquals(rateAt(0, { steps: 1, rate: 2 }), 2);
});

test("createParameters() lays out the tensors one after the other, the embedding once", () => {
  const { all, tensors, weights } = createParameters(tiny);
  let begin = 0;
  for (const { data, shape } of tensors) {
    assertEquals(data.byteOffset, 4 * begin);
    assertEquals(data.length, shape.reduce((product, extent) => product * extent));
    begin += data.length;
  }
  assertEquals(begin, all.length);
  assertEquals(weights.head, weights.embedding);
  const names = tensors.map(({ name }) => name);
  assertEquals(names.includes("lm_head.weight"), false);
  const untied = createParameters({ ...tiny, tiedEmbeddings: false });
  assertEquals(untied.all.length, all.length + tiny.vocabSize * tiny.hiddenSize);
});
