import { test } from "node:test";
import { assert, assertAlmostEquals, assertEquals, assertNotEquals } from "@std/assert";
import { createSampler } from "../../examples/llama/sample.ts";

const logits = Float32Array.of(0, 2, -1, 1, 2);

function drawMany(options: { temperature: number; topK: number; seed: number }): number[] {
  const sampler = createSampler(options);
  return Array.from({ length: 4000 }, () => sampler(logits));
}

test("createSampler() takes the first of the likeliest at temperature 0, whatever the seed", () => {
  assert(drawMany({ temperature: 0, topK: 5, seed: 9 }).every((token) => token === 1));
});

test("createSampler() repeats itself for a seed and differs between seeds", () => {
  const first = drawMany({ temperature: 1, topK: 5, seed: 1 });
  assertEquals(drawMany({ temperature: 1, topK: 5, seed: 1 }), first);
  assertNotEquals(drawMany({ temperature: 1, topK: 5, seed: 2 }), first);
});

test("createSampler() draws with the probabilities of the softmax", () => {
  for (const temperature of [0.5, 1, 3]) {
    const drawn = drawMany({ temperature, topK: 5, seed: 3 });
    const weights = Array.from(logits, (logit) => Math.exp(logit / temperature));
    const sum = weights.reduce((a, b) => a + b);
    for (const [token, weight] of weights.entries()) {
      const share = drawn.filter((t) => t === token).length / drawn.length;
      // 4000 draws scatter by at most 0.008 (one standard deviation); four of them.
      assertAlmostEquals(share, weight / sum, 0.032);
    }
  }
});

test("createSampler() draws from the topK likeliest only", () => {
  const drawn = new Set(drawMany({ temperature: 10, topK: 3, seed: 4 }));
  assertEquals([...drawn].sort(), [1, 3, 4]);
});

test("createSampler() stays finite at a temperature close to 0", () => {
  assert(drawMany({ temperature: 1e-300, topK: 5, seed: 5 }).every((t) => t === 1 || t === 4));
});
