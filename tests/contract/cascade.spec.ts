import { assert, assertEquals, assertRejects } from "@std/assert";
import { attention, type CascadeOptions, type Engine, type Tensor } from "@flashtile/attention";
import { normals, seeded } from "../support/random.ts";
import { contract } from "./backends.ts";

const needs = "mergeAttention";

function numbers(shape: readonly number[], seed: number): Tensor {
  return { data: normals(shape.reduce((a, b) => a * b, 1), seeded(seed)), shape };
}

/** Rows `[1 or B, H, n, D]` behind one another for each batch. */
function joined(prefix: Tensor, suffix: Tensor): Tensor {
  const [B, H, S, D] = suffix.shape, P = prefix.shape[2], data: number[] = [];
  for (let batch = 0; batch < B; batch++) {
    for (let head = 0; head < H; head++) {
      data.push(...prefix.data.subarray(head * P * D, (head + 1) * P * D));
      const at = (batch * H + head) * S * D;
      data.push(...suffix.data.subarray(at, at + S * D));
    }
  }
  return { data: Float32Array.from(data), shape: [B, H, P + S, D] };
}

/** The same numbers with the axes of heads and rows exchanged. */
function swapped({ data, shape }: Tensor): Tensor {
  const [B, H, N, D] = shape, result = new Float32Array(data.length);
  for (let b = 0; b < B; b++) {
    for (let h = 0; h < H; h++) {
      for (let n = 0; n < N; n++) {
        const from = ((b * H + h) * N + n) * D;
        result.set(data.subarray(from, from + D), ((b * N + n) * H + h) * D);
      }
    }
  }
  return { data: result, shape: [B, N, H, D] };
}

function assertClose(ours: Tensor, plain: Tensor): void {
  assertEquals(ours.shape, plain.shape);
  ours.data.forEach((x, at) => assert(Math.abs(x - plain.data[at]) < 3e-6, `${at}: ${x}`));
}

const prefix = { k: numbers([1, 2, 70, 8], 1), v: numbers([1, 2, 70, 4], 2) };

const shapes: [rows: number, options: CascadeOptions][] = [
  [1, { causal: true }],
  [6, { causal: true, softcap: 3, sinks: { data: Float32Array.of(1, 0, -1, 2), shape: [4] } }],
  [6, { scale: 0.2 }],
];

async function whole(engine: Engine, q: Tensor, suffix: typeof prefix, options: CascadeOptions) {
  const [k, v] = [joined(prefix.k, suffix.k), joined(prefix.v, suffix.v)];
  return await engine.attention(q, k, v, { ...options, lse: true });
}

for (const [rows, options] of shapes) {
  const suffix = { k: numbers([3, 2, 9, 8], 3), v: numbers([3, 2, 9, 4], 4) };
  const q = numbers([3, 4, rows, 8], 5);
  contract(
    `a cascade is attention to prefix and suffix, ${rows} rows, ${Object.keys(options)}`,
    async (engine) => {
      const ours = await engine.cascadeAttention(q, prefix, suffix, { ...options, lse: true });
      const plain = await whole(engine, q, suffix, options);
      assertClose(ours.out, plain.out);
      assertClose(ours.lse, plain.lse);
      const turned = await engine.cascadeAttention(
        swapped(q),
        { k: swapped(prefix.k), v: swapped(prefix.v) },
        { k: swapped(suffix.k), v: swapped(suffix.v) },
        { ...options, layout: "bnhd" },
      );
      assertClose(turned.out, swapped(plain.out));
      assertEquals(turned.lse, undefined);
    },
    { needs },
  );
}

contract("a cascade of caches reads a prefix once for all sequences", async (engine) => {
  const suffix = { k: numbers([3, 2, 9, 8], 3), v: numbers([3, 2, 9, 4], 4) };
  const sizes = { kvHeads: 2, headDim: 8, valueDim: 4 };
  const [shared, own] = [engine.kvCache(sizes), engine.kvCache({ ...sizes, batch: 3 })];
  shared.append(prefix.k, prefix.v);
  own.append(suffix.k, suffix.v);
  for (const rows of [1, 4]) {
    const q = numbers([3, 4, rows, 8], 6);
    const { out } = await engine.cascadeAttention(q, shared, own, { causal: true });
    assertClose(out, (await whole(engine, q, suffix, { causal: true })).out);
  }
}, { needs: "kvCache" });

contract("cascadeAttention() refuses what does not fit", async (engine) => {
  const q = numbers([2, 4, 1, 8], 1);
  const call = (rows: Tensor, options: object) => () =>
    engine.cascadeAttention(rows, prefix, prefix, options as CascadeOptions);
  await assertRejects(call({ ...q, shape: [8, 1, 8] }, {}), RangeError, "`q` must have rank 4");
  await assertRejects(call(q, { alibi: [1] }), TypeError, "unknown option `alibi`");
  await assertRejects(call(q, {}), RangeError, "`k` must have B = 2 as `q` has, got 1");
}, { needs });

contract("attention() takes a cache in place of keys and values", async (engine) => {
  const cache = engine.kvCache({ kvHeads: 2, headDim: 8, valueDim: 4 }),
    q = numbers([1, 4, 2, 8], 7);
  cache.append(prefix.k, prefix.v);
  const { out, lse } = await engine.attention(q, cache, { causal: true, lse: true });
  const plain = await engine.attention(q, prefix.k, prefix.v, { causal: true, lse: true });
  assertClose(out, plain.out);
  assertClose(lse, plain.lse);
  assertClose((await attention(q, cache, { causal: true })).out, plain.out);
}, { needs: "kvCache" });
