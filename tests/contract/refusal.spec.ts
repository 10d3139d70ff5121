import { assertEquals } from "@std/assert";
import { assertSameBits } from "../support/bits.ts";
import { assertRefused, errorOf } from "../support/errors.ts";
import { argumentsOf, refusals, right } from "../support/refusals.ts";
import { contract } from "./backends.ts";

contract("attention() refuses bad input, takes no memory, and works afterwards", async (engine) => {
  const { q, k, v } = right;
  const expected = await engine.attention(q, k, v);
  const bytes = engine.memoryBytes;
  for (const refusal of refusals) {
    const call = () => engine.attention(...argumentsOf(refusal));
    await assertRefused(call, refusal.error, refusal.message);
    assertEquals(engine.memoryBytes, bytes, refusal.what);
  }
  assertSameBits((await engine.attention(q, k, v)).out.data, expected.out.data);
});

contract("attentionSync() throws what attention() rejects with", async (engine) => {
  for (const refusal of refusals) {
    const call = () => engine.attentionSync(...argumentsOf(refusal));
    // It has no encoder, and does not name it.
    await assertRefused(
      call,
      refusal.error,
      refusal.message.replace("signal, encoder, ", "signal, "),
    );
  }
}, { needs: "attentionSync" });

contract("attention() rejects and never throws", async (engine) => {
  for (const refusal of refusals) {
    const promise: Promise<unknown> = engine.attention(...argumentsOf(refusal));
    await errorOf(() => promise);
  }
});

contract("attention() writes nothing into out when it refuses", async (engine) => {
  const out = { data: new Float32Array(144).fill(5), shape: [2, 4, 3, 6] };
  await errorOf(() => engine.attention(right.q, right.k, right.v, { out, scale: NaN }));
  await errorOf(() => engine.attention(right.q, right.k, right.q, { out }));
  assertSameBits(out.data, new Float32Array(144).fill(5));
});

contract("engine.tensor() refuses what is no shape", async (engine) => {
  const message = "Cannot make a tensor: `shape` must be an array of whole numbers >= 0";
  const bytes = engine.memoryBytes;
  for (const shape of [undefined, null, 4, "4", [1.5], [-1], [NaN], [2, Infinity], ["2"]]) {
    await assertRefused(() => engine.tensor(shape as never), TypeError, message);
  }
  assertEquals(engine.memoryBytes, bytes);
});

contract("engine.tensor() refuses a dtype that nobody knows", async (engine) => {
  for (const dtype of ["f64", "F32", "", null, 16]) {
    await assertRefused(
      () => engine.tensor([2, 2], dtype as never),
      TypeError,
      `Cannot make a tensor: \`dtype\` must be one of f32, f16, bf16, got ${dtype}`,
    );
  }
});
