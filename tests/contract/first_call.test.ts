import { test } from "node:test";
import {
  attention,
  attentionBackward,
  attentionWithGradient,
  createEngine,
  mergeAttention,
} from "@flashtile/attention";
import { assertSameBits } from "../support/bits.ts";
import { normals, seeded } from "../support/random.ts";

// The default engine is made once: these calls are the first of the process.

const shape = [2, 6, 4];

function inputs() {
  const rows = (seed: number) => ({ data: normals(48, seeded(seed)), shape: [...shape] });
  return {
    ...{ q: rows(1), k: rows(2), v: rows(3), dOut: rows(4), out: rows(5) },
    lse: { data: normals(12, seeded(6)), shape: [2, 6] },
    options: { causal: true, kvLengths: [5], scale: 0.4 } as Record<string, unknown>,
  };
}

type Any = never;

/** The functions as they are bare, and as an engine has them. */
const bare = { attention, attentionBackward, attentionWithGradient, mergeAttention };

function start(of: typeof bare, given: ReturnType<typeof inputs>): Promise<object>[] {
  const { q, k, v, dOut, out, lse, options } = given;
  const backward = Object.assign(options, { out, lse });
  const forward = { ...options };
  delete forward.out;
  delete forward.lse;
  Object.assign(given, { forward });
  return [
    of.attention(q, k, v, forward as Any),
    of.attentionBackward(dOut, q, k, v, backward as Any),
    of.attentionWithGradient(q, k, v, forward as Any),
    of.mergeAttention([{ out, lse }, { out: q, lse }]),
  ];
}

test("the first calls of the bare functions mean what they were called with", async () => {
  const given = inputs(), calls = start(bare, given);
  const { options, forward, ...tensors } = given as typeof given & { forward: object };
  for (const one of [options, forward] as Record<string, unknown>[]) {
    (one.kvLengths as number[])[0] = 1;
    Object.assign(one, { causal: false, scale: 7, layout: "bnhd", signal: AbortSignal.abort() });
  }
  for (const one of Object.values(tensors)) {
    one.shape.fill(1);
    Object.assign(one, { data: new Float32Array(48), offset: 1 });
  }
  const engine = await createEngine();
  const right = await Promise.all(start(engine as unknown as typeof bare, inputs()));
  for (const [at, result] of (await Promise.all(calls)).entries()) {
    for (const [name, value] of Object.entries(right[at])) {
      if (typeof value !== "object") continue;
      const got = (result as Record<string, typeof value>)[name];
      assertSameBits(got.data, value.data, `call ${at}, ${name}`);
      assertSameBits(got.shape, value.shape, `call ${at}, shape of ${name}`);
    }
  }
  await engine.close();
});
