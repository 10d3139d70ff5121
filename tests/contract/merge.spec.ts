import { test } from "node:test";
import { assert, assertEquals, assertRejects } from "@std/assert";
import {
  attention,
  type AttentionPart,
  type HostData,
  mergeAttention,
  type Tensor,
} from "@flashtile/attention";
import { assertSameBits } from "../support/bits.ts";
import { normals, seeded } from "../support/random.ts";
import { numbersIn, stored } from "../support/storage.ts";
import { contract } from "./backends.ts";

const needs = "mergeAttention";

function numbers(shape: readonly number[], seed: number): Tensor {
  return { data: normals(shape.reduce((a, b) => a * b, 1), seeded(seed)), shape };
}

/** The keys `from` to `to` of a tensor. */
function keysOf(all: Tensor, from: number, to: number): Tensor {
  const [B, H, N, D] = all.shape;
  const strides = [H * N * D, N * D, D, 1];
  return { data: all.data, shape: [B, H, to - from, D], strides, offset: from * D };
}

function largestDifference(a: Float32Array, b: Float32Array): number {
  return a.reduce((most, x, at) => Math.max(most, Math.abs(x - b[at])), 0);
}

const q = numbers([2, 4, 70, 12], 1), k = numbers([2, 2, 90, 12], 2), v = numbers([2, 2, 90, 5], 3);

contract("parts over disjoint keys merge to attention over all of them", async (engine) => {
  const whole = await engine.attention(q, k, v, { lse: true });
  const parts = await Promise.all(
    [[0, 1], [1, 33], [33, 33], [33, 90]].map(([from, to]) =>
      engine.attention(q, keysOf(k, from, to), keysOf(v, from, to), { lse: true })
    ),
  );
  const { out, lse } = await engine.mergeAttention(parts);
  assertEquals([out.shape, lse.shape], [whole.out.shape, whole.lse.shape]);
  assert(largestDifference(out.data, whole.out.data) < 2e-6);
  assert(largestDifference(lse.data, whole.lse.data) < 2e-6);
}, { needs });

contract("an empty part leaves no trace, whatever it holds", async (engine) => {
  const shape = [3, 4];
  const part = { out: numbers(shape, 4), lse: numbers([3], 5) };
  const empty = {
    out: { data: new Float32Array(12).fill(NaN), shape },
    lse: { data: new Float32Array(3).fill(-Infinity), shape: [3] },
  };
  const { out, lse } = await engine.mergeAttention([empty, part, empty]);
  assertSameBits(out.data, part.out.data);
  assertSameBits(lse.data, part.lse.data);
  const none = await engine.mergeAttention([empty, empty]);
  assertSameBits(none.out.data, new Float32Array(12));
  assertSameBits(none.lse.data, new Float32Array(3).fill(-Infinity));
}, { needs });

contract("a NaN of a part is seen in its row and in no other", async (engine) => {
  const shape = [2, 2], lse = { data: Float32Array.of(0, 0), shape: [2] };
  const poisoned = { out: { data: Float32Array.of(1, NaN, 3, 4), shape }, lse };
  const { out } = await engine.mergeAttention([poisoned, { out: numbers(shape, 1), lse }]);
  assertEquals(Array.from(out.data, Number.isNaN), [false, true, false, false]);
}, { needs });

contract("parts of any layout, stride and storage merge", async (engine) => {
  const layout = "bnhd", rows = [1, 70, 3, 8];
  const parts = [1, 2].map((seed) => ({
    out: numbers(rows, seed),
    lse: numbers([1, 3, 70], seed + 2),
  }));
  const plain = await engine.mergeAttention(parts, { layout });
  for (const dtype of ["f16", "bf16"] as const) {
    const narrow = parts.map(({ out, lse }) => ({ out: stored(out, dtype), lse }));
    const { out, lse } = await engine.mergeAttention(
      narrow as AttentionPart<HostData>[],
      { layout },
    );
    assertEquals(out.dtype, dtype);
    assertSameBits(lse.data as Float32Array, plain.lse.data);
    const widened = numbersIn(out.data, dtype);
    assert(largestDifference(widened, plain.out.data) < (dtype === "f16" ? 4e-3 : 3e-2));
  }
}, { needs });

contract("mergeAttention() refuses what does not fit, and goes on working", async (engine) => {
  const part = { out: numbers([2, 3], 1), lse: numbers([2], 2) };
  const refused = async (parts: unknown, kind: new () => Error, message: string) => {
    await assertRejects(() => engine.mergeAttention(parts as never), kind, message);
  };
  await refused([], TypeError, "Cannot merge: `parts` must be an array of at least one");
  await refused([{ out: part.out }], TypeError, "ask for it with `lse: true`");
  await refused([part, { ...part, lse: numbers([3], 1) }], RangeError, "`parts[1].lse` must have");
  await refused([part, { ...part, out: numbers([2, 4], 1) }], RangeError, "must have shape [2,3]");
  await refused([null], TypeError, "`parts[0].out` must be");
  const { out } = await engine.mergeAttention([part]);
  assertSameBits(out.data, part.out.data);
}, { needs });

test("mergeAttention() needs no engine", async () => {
  const halves = [keysOf(k, 0, 45), keysOf(k, 45, 90)];
  const parts = await Promise.all(halves.map((one) => attention(q, one, one, { lse: true })));
  const whole = await attention(q, k, k);
  const { out } = await mergeAttention(parts);
  assert(largestDifference(out.data, whole.out.data) < 2e-6);
});
