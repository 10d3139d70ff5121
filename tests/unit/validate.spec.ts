import { assertEquals } from "@std/assert";
import { test } from "node:test";
import { checkShapeOf } from "../../src/check/tensors.ts";
import { planAttention } from "../../src/operations/attention/plan.ts";
import { assertRefused } from "../support/errors.ts";
import { argumentsOf, type Refusal, refusals, right } from "../support/refusals.ts";

for (const refusal of refusals) {
  test(`planAttention() refuses ${refusal.what}`, async () => {
    await assertRefused(
      () => planAttention(...argumentsOf(refusal)),
      refusal.error,
      refusal.message,
    );
  });
}

test("checkShapeOf() refuses a shape that begins or ends as the right one does", async () => {
  for (const given of [[2], [2, 3, 1], []]) {
    const check = () => checkShapeOf("out", given, [2, 3], "Cannot attend");
    const message = `Cannot attend: \`out\` must have shape [2,3], got [${given}]`;
    await assertRefused(check, RangeError, message);
  }
  checkShapeOf("out", [2, 3], [2, 3], "Cannot attend");
});

test("planAttention() refuses data whose buffer is detached, and says what to do", async () => {
  const data = new Float32Array(192);
  structuredClone(data.buffer, { transfer: [data.buffer] });
  const refusal: Refusal = {
    what: "detached data",
    q: { data, shape: [2, 4, 3, 8] },
    error: RangeError,
    message: "Cannot attend: `q` with shape [2,4,3,8], strides [96,24,8,1] and offset 0 " +
      "needs 192 elements, `data` has 0: its buffer is detached, read `tensor.data` again",
  };
  await assertRefused(() => planAttention(...argumentsOf(refusal)), RangeError, refusal.message);
});

test("planAttention() names q's data first where all three are wrong", async () => {
  await assertRefused(
    () => planAttention(1 as never, 2 as never, 3 as never),
    TypeError,
    "Cannot attend: `q` must be { data, shape }, got 1",
  );
});

test("planAttention() accepts strides and offsets that end with data", () => {
  const { q, k, v } = right;
  const shifted = { ...v, strides: [57, 28, 5, 1], offset: 9 }; // 9 + 57 + 28 + 20 + 5 + 1 = 120
  assertEquals(planAttention(q, k, shifted).kv.v.offset, 9);
});

test("planAttention() accepts any strides where an axis is empty", () => {
  const none = { data: new Float32Array(0), shape: [0, 8], strides: [2 ** 50, 3], offset: 99 };
  const { queries, keys } = planAttention(none, none, none);
  assertEquals([queries, keys], [0, 0]);
});

test("planAttention() accepts signals by shape, of another realm or a polyfill", () => {
  const { q, k, v } = right;
  const signal = { aborted: false, throwIfAborted: () => {} } as AbortSignal;
  assertEquals(planAttention(q, k, v, { signal }).batch, 2);
});

test("planAttention() accepts out as a slice, a transpose, and one row after a gap", () => {
  const { q, k, v } = right;
  const data = new Float32Array(1000);
  const shape = [2, 4, 3, 6];
  for (const strides of [[72, 18, 6, 1], [200, 40, 10, 1], [6, 12, 48, 1], [1, 2, 8, 24]]) {
    assertEquals(planAttention(q, k, v, { out: { data, shape, strides } }).out?.strides, strides);
  }
});

test("planAttention() accepts any stride of out on an axis of extent 1", () => {
  const one = { data: new Float32Array(1), shape: [1, 1] };
  const out = { ...one, strides: [0, 0] };
  assertEquals(planAttention(one, one, one, { out }).out?.strides, [0, 0, 0, 0]);
});
