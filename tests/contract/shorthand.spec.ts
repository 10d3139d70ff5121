import { assertAlmostEquals, assertEquals } from "@std/assert";
import {
  type AttentionOptions,
  attentionStream,
  type Engine,
  type Tensor,
} from "@flashtile/attention";
import { referenceAttention, referenceAttentionBackward } from "../../src/reference/mod.ts";
import { planAttention } from "../../src/operations/attention/plan.ts";
import { normals, seeded } from "../support/random.ts";
import { contract } from "./backends.ts";

const [heads, kvHeads, rows, keys, D] = [4, 2, 30, 30, 8];

const numbers = (shape: readonly number[], seed: number): Tensor => ({
  data: normals(shape.reduce((size, extent) => size * extent, 1), seeded(seed)),
  shape,
});

const q = numbers([heads, rows, D], 1);
const k = numbers([kvHeads, keys, D], 2), v = numbers([kvHeads, keys, D], 3);

/** What is written short, and what it means. */
const pairs: readonly (readonly [short: AttentionOptions, long: AttentionOptions])[] = [
  [{ window: 5 }, { window: [2, 2] }],
  [{ window: 4 }, { window: [2, 2] }],
  [{ window: 1 }, { window: [0, 0] }],
  [{ window: 5, causal: true }, { window: [4, 0], causal: true }],
  [{ window: 6, causal: "top-left" }, { window: [5, 0], causal: "top-left" }],
  [{ window: 7, causal: true, offset: -3 }, { window: [6, 0], causal: true, offset: -3 }],
  [{ window: 7, causal: false, offset: 2 }, { window: [3, 3], offset: 2 }],
  [{ packed: [11, 0, 19] }, { cuSeqlens: [0, 11, 11, 30] }],
  [
    { packed: { q: Int32Array.of(10, 20), k: [25, 5] }, causal: true, window: 3 },
    { cuSeqlens: { q: [0, 10, 30], k: [0, 25, 30] }, causal: true, window: [2, 0] },
  ],
];

function assertClose(actual: ArrayLike<number>, expected: ArrayLike<number>, what: string): void {
  assertEquals(actual.length, expected.length);
  for (let at = 0; at < expected.length; at++) {
    assertAlmostEquals(actual[at], expected[at], 1e-5, `${what}, element ${at}`);
  }
}

contract("attention() reads what is written short as what it means", async (engine, { lacks }) => {
  for (const [short, long] of pairs) {
    const what = JSON.stringify(short);
    // Backends see plans alone; oracles read options by themselves.
    assertEquals(planOf(short), planOf(long), what);
    const expected = referenceAttention(q, k, v, short);
    assertEquals(expected, referenceAttention(q, k, v, long), what);
    const { out } = await engine.attention(q, k, v, short);
    assertClose(out.data, expected.out.data, what);
    if (lacks?.attentionSync) continue;
    assertEquals(engine.attentionSync(q, k, v, short).out.data, out.data);
  }
});

/** The meaning of a call, but for what its tensors are in. */
function planOf(options: AttentionOptions) {
  const { segments, packed, band } = planAttention(q, k, v, options);
  return { segments, packed, band };
}

contract("gradients read what is written short as what it means", async (engine) => {
  const dOut = numbers(q.shape, 4);
  for (const [short] of pairs.slice(-1)) {
    const { out, lse } = await engine.attention(q, k, v, { ...short, lse: true });
    const one = await engine.attentionBackward(dOut, q, k, v, { ...short, out, lse });
    const { backward } = await engine.attentionWithGradient(q, k, v, short);
    const other = await backward(dOut), expected = referenceAttentionBackward(dOut, q, k, v, short);
    for (const name of ["dq", "dk", "dv"] as const) {
      assertClose(one[name].data, expected[name].data, `${name}, ${JSON.stringify(short)}`);
      assertClose(other[name].data, expected[name].data, `${name}, ${JSON.stringify(short)}`);
    }
  }
}, { needs: "backward" });

contract("caches and streams take a window of so many keys", async (engine: Engine) => {
  const cache = engine.kvCache({ kvHeads, headDim: D });
  const four = (tensor: Tensor): Tensor => ({ ...tensor, shape: [1, ...tensor.shape] });
  cache.append(four(k), four(v));
  for (const causal of [true, false]) {
    const options = { causal, window: 6 }, expected = referenceAttention(q, k, v, options);
    const { out } = await cache.attend(four(q), options);
    assertClose(out.data, expected.out.data, `cache, causal ${causal}`);
    const stream = attentionStream(q, { ...options, offset: 0, engine });
    await stream.push(k, v);
    assertClose((await stream.finish()).out.data, expected.out.data, `stream, causal ${causal}`);
  }
  cache.free();
}, { needs: ["kvCache", "mergeAttention"] });
