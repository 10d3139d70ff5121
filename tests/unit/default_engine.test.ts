import { attention, BackendUnavailableError, createEngine, tensor } from "@flashtile/attention";
import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import { test } from "node:test";
import { assertSameBits } from "../support/bits.ts";
import { assertRefused, errorOf, withEngine } from "../support/errors.ts";
import { inputsOf, randomProblem, sizesOf } from "../support/problem.ts";
import { argumentsOf, refusals } from "../support/refusals.ts";
import { withoutSimd } from "../support/stub.ts";

const { q, k, v } = inputsOf(randomProblem(sizesOf({ Hq: 4, Hkv: 2, Nq: 6, Nk: 9, D: 5 }), 1));

// These tests run in this order: the default engine is made once.

test("attention() refuses bad input before it makes its engine", async () => {
  await withoutSimd(async () => {
    for (const refusal of refusals) {
      const call = () => attention(...argumentsOf(refusal));
      await assertRefused(call, refusal.error, withEngine(refusal.message));
    }
  });
});

test("attention() tells why no engine can be made, and tries again the next time", async () => {
  await withoutSimd(async () => {
    for (let time = 0; time < 2; time++) {
      assertInstanceOf(await errorOf(() => attention(q, k, v)), BackendUnavailableError);
    }
  });
  assertEquals((await attention(q, k, v)).out.shape, q.shape);
});

test("attention() gives the bits of an engine, from its first calls on", async () => {
  const calls = [1, 2, 3].map(() => attention(q, k, v, { causal: true, lse: true }));
  const engine = await createEngine();
  const expected = await engine.attention(q, k, v, { causal: true, lse: true });
  for (const { out, lse } of await Promise.all(calls)) {
    assertSameBits(out.data, expected.out.data);
    assertSameBits(lse.data, expected.lse.data);
  }
  await engine.close();
});

test("attention() refuses bad input once it has its engine", async () => {
  for (const refusal of refusals) {
    await assertRefused(
      () => attention(...argumentsOf(refusal)),
      refusal.error,
      withEngine(refusal.message),
    );
  }
});

test("attention() rejects with the signal's reason", async () => {
  const reason = new Error("no");
  assert(await errorOf(() => attention(q, k, v, { signal: AbortSignal.abort(reason) })) === reason);
});

test("attention() attends tensors made by tensor()", async () => {
  const one = tensor(Float32Array.of(1, 2, 3), [1, 3]);
  assertSameBits((await attention(one, one, one)).out.data, [1, 2, 3]);
});
