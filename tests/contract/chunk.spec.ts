import { type AttentionOptions, type BooleanTensor, tensor } from "@flashtile/attention";
import { referenceAttention } from "@flashtile/attention/reference";
import { assert } from "@std/assert";
import { assertSameBits } from "../support/bits.ts";
import { measure } from "../support/budget.ts";
import { assertRefused } from "../support/errors.ts";
import { normals, seeded } from "../support/random.ts";
import { varyingSeed } from "../support/seed.ts";
import { contract } from "./backends.ts";

function numbers(seed: number, shape: readonly number[]) {
  return tensor(normals(shape.reduce((a, b) => a * b, 1), seeded(seed)), shape);
}

contract("chunk has each chunk attended to as if it were a call by itself", async (engine) => {
  const seed = varyingSeed(), shape = [2, 2, 150, 16];
  const [q, k, v] = [0, 1, 2].map((at) => numbers(seed + at, shape));
  const { out } = await engine.attention(q, k, v, { causal: true, chunk: 40 });
  for (let from = 0; from < 150; from += 40) {
    const count = Math.min(40, 150 - from);
    const part = (of: typeof q) => ({
      ...{ data: of.data, shape: [2, 2, count, 16] },
      ...{ strides: [2 * 150 * 16, 150 * 16, 16, 1], offset: from * 16 },
    });
    const own = await engine.attention(part(q), part(k), part(v), { causal: true });
    for (let head = 0; head < 4; head++) {
      const at = (head * 150 + from) * 16, rows = out.data.subarray(at, at + count * 16);
      const wanted = own.out.data.subarray(head * count * 16, (head + 1) * count * 16);
      const { ours } = measure(rows, wanted, wanted);
      assert(ours < 3e-6, `${ours}`);
    }
  }
});

contract("chunk refuses what is no size", async (engine) => {
  const q = numbers(1, [2, 4, 8]);
  const cases = [[0, RangeError], [-1, RangeError], [1.5, RangeError], [NaN, RangeError]] as const;
  for (const [chunk, Kind] of [...cases, ["4", TypeError], [null, TypeError]] as const) {
    const said = typeof chunk === "string" ? JSON.stringify(chunk) : chunk;
    await assertRefused(
      () => engine.attention(q, q, q, { chunk: chunk as never }),
      Kind,
      `Cannot attend: \`chunk\` must be a whole number >= 1, got ${said}`,
    );
  }
});

contract("chunk counts the tokens of each of a cache's sequences", async (engine) => {
  const seed = varyingSeed(), cache = engine.kvCache({ batch: 2, kvHeads: 2, headDim: 8 });
  const lengths = [70, 43], tokens = numbers(seed, [2, 2, 70, 8]);
  cache.append(tokens, tokens, { lengths });
  const q = numbers(seed + 1, [2, 4, 6, 8]);
  const random = seeded(seed + 2);
  const mask: BooleanTensor = {
    data: Uint8Array.from({ length: 6 * 70 }, () => random() < 0.8 ? 1 : 0),
    shape: [6, 70],
  };
  for (const chunk of [1, 5, 16, 32, 100]) {
    for (const more of [{}, { mask }] satisfies AttentionOptions[]) {
      const { out } = await cache.attend(q, { causal: true, chunk, ...more });
      for (const [b, length] of lengths.entries()) {
        const part = (of: typeof q, rows: number) => ({
          ...{ data: of.data, shape: [1, of.shape[1], rows, 8], offset: b * of.data.length / 2 },
          strides: [0, of.shape[2] * 8, 8, 1],
        });
        const { out: expected } = referenceAttention(
          ...[part(q, 6), part(tokens, length), part(tokens, length)] as const,
          { causal: true, chunk, ...more, ...("mask" in more && { mask: cut(mask, length) }) },
        );
        const own = out.data.subarray(b * 4 * 6 * 8, (b + 1) * 4 * 6 * 8);
        const { ours } = measure(own, expected.data, expected.data);
        assert(ours < 3e-6, `${ours} with chunk ${chunk}, sequence ${b}`);
      }
    }
  }
  const { out: step } = await cache.attend(numbers(seed + 3, [2, 4, 1, 8]), {
    causal: true,
    chunk: 64,
  });
  assert(step.data.every(Number.isFinite));
  cache.free();
}, { needs: "kvCache" });

/** The first keys of a mask. */
function cut(mask: BooleanTensor, keys: number): BooleanTensor {
  return { ...mask, shape: [6, keys], strides: [70, 1] };
}

contract("a chunk of all keys changes no bit", async (engine) => {
  const q = numbers(5, [2, 60, 8]);
  const plain = await engine.attention(q, q, q, { causal: true });
  const { out } = await engine.attention(q, q, q, { causal: true, chunk: 1000 });
  assertSameBits(out.data, plain.out.data);
});
