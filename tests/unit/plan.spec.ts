import { alibiSlopes, type AttentionOptions, blockMask } from "@flashtile/attention";
import { assert, assertEquals } from "@std/assert";
import { test } from "node:test";
import { attention } from "../../src/operations/attention/operation.ts";
import {
  countScores,
  hasTerms,
  mayBeRead,
  planAttention,
} from "../../src/operations/attention/plan.ts";
import { planOf } from "../support/plan.ts";

const sizes = { B: 2, Hq: 6, Hkv: 3, Nq: 4, Nk: 7, D: 16, Dv: 8 };

test("planAttention() names every size", () => {
  const plan = planOf(sizes);
  const { batch, queryHeads, keyHeads, group, queries, keys, dim, valueDim } = plan;
  assertEquals({ batch, queryHeads, keyHeads, group, queries, keys, dim, valueDim }, {
    batch: 2,
    queryHeads: 6,
    keyHeads: 3,
    group: 2,
    queries: 4,
    keys: 7,
    dim: 16,
    valueDim: 8,
  });
  assert(Object.isFrozen(plan));
});

test("planAttention() fills in the defaults", () => {
  const { scale, segments, band, lseShape, out, outShape, packed, ...terms } = planOf(sizes);
  assertEquals(scale, 1 / 4);
  assertEquals(segments.map(({ batch, offset }) => [batch, offset]), [[0, 3], [1, 3]]);
  assertEquals(band, { left: Infinity, right: Infinity });
  assertEquals([lseShape, out, packed], [null, null, false]);
  assertEquals(outShape, [2, 6, 4, 8]);
  const { softcap, slopes, bias, mask, sinks, blockMask } = terms;
  assertEquals([softcap, slopes, bias, mask, sinks, blockMask], new Array(6).fill(null));
});

test("planAttention() turns causal into a band and an offset per batch", () => {
  const causal = { left: Infinity, right: 0 };
  for (
    const [options, offsets] of [
      [{ causal: true }, [3, 3]],
      [{ causal: "bottom-right" }, [3, 3]],
      [{ causal: "top-left" }, [0, 0]],
      [{ causal: true, offset: -2 }, [-2, -2]],
      [{ causal: "top-left", offset: [5, 1] }, [5, 1]],
    ] as const
  ) {
    const { band, segments } = planOf(sizes, options);
    assertEquals([band, segments.map(({ offset }) => offset)], [causal, offsets]);
  }
});

test("planAttention() makes a segment of each batch, or of each packed sequence", () => {
  const batches = planOf(sizes, { kvLengths: [7, 2] });
  assertEquals([batches.packed, batches.segments.map(({ keys }) => keys)], [false, [7, 2]]);
  const cuSeqlens = { q: Int32Array.of(0, 3, 4), k: Int32Array.of(0, 2, 7) };
  const packed = planOf({ ...sizes, B: 1 }, { cuSeqlens, kvLengths: [2, 4] });
  assertEquals(packed.packed, true);
  assertEquals(packed.segments, [
    { batch: 0, firstQuery: 0, queries: 3, firstKey: 0, keys: 2, offset: -1 },
    { batch: 0, firstQuery: 3, queries: 1, firstKey: 2, keys: 4, offset: 4 },
  ]);
});

test("planAttention() takes windows, and causal within them, as one band", () => {
  for (
    const [options, left, right] of [
      [{ window: [3, 2] }, 3, 2],
      [{ window: [null, 2] }, Infinity, 2],
      [{ window: [Infinity, null] }, Infinity, Infinity],
      [{ window: [3, 2], causal: true }, 3, 0],
      [{ window: [0, null], causal: "top-left" }, 0, 0],
    ] as const
  ) assertEquals(planOf(sizes, options).band, { left, right });
});

test("planAttention() takes a softcap of 0 as none", () => {
  const caps = [undefined, 0, -0, 30].map((softcap) => planOf(sizes, { softcap }).softcap);
  assertEquals(caps, [null, null, null, 30]);
});

/** One of each option that makes scores more than scaled products. */
const terms: AttentionOptions[] = [
  { softcap: 30 },
  { alibi: alibiSlopes(6) },
  { bias: { data: new Float32Array(1), shape: [1] } },
  { mask: { data: new Uint8Array(1), shape: [1] } },
  { sinks: { data: new Float32Array(6), shape: [6] } },
  { blockMask: blockMask.causal({ queries: 4, keys: 7 }) },
];

test("hasTerms() is true for whatever makes scores more than products within a band", () => {
  const plain = { causal: true, window: [1, 1], kvLengths: [1, 2], offset: 3, scale: 2 } as const;
  assertEquals([hasTerms(planOf(sizes)), hasTerms(planOf(sizes, plain))], [false, false]);
  for (const options of terms) assert(hasTerms(planOf(sizes, options)), Object.keys(options)[0]);
});

test("countScores() counts what bands, lengths, sequences and visited blocks leave, of all heads", () => {
  const count = (options: AttentionOptions, rest = {}) =>
    countScores(planOf({ ...sizes, ...rest }, options));
  assertEquals(count({}), 2 * 6 * 28);
  assertEquals(count({ kvLengths: [7, 2] }), 6 * (28 + 8));
  assertEquals(count({ causal: true }), 2 * 6 * (4 + 5 + 6 + 7));
  assertEquals(count({ cuSeqlens: { q: [0, 1, 4], k: [0, 5, 7] } }, { B: 1 }), 6 * (5 + 3 * 2));
  const half = blockMask.causal({ queries: 4, keys: 7, block: [2, 7], offset: -2 });
  assertEquals(count({ blockMask: half }), 2 * 6 * 28 / 2);
});

test("attention.inputs() names what a call reads and writes", () => {
  const names = (options: AttentionOptions) =>
    Object.entries(attention.inputs(planOf(sizes, options)))
      .filter(([, input]) => input !== null).map(([name]) => name);
  assertEquals(names({}), ["q", "k", "v"]);
  const out = { data: new Float32Array(2 * 6 * 4 * 8), shape: [2, 6, 4, 8] };
  assertEquals(names({ ...terms[2], ...terms[3], out }), ["q", "k", "v", "bias", "mask", "out"]);
});

test("mayBeRead() finds out over any input, bias and mask among them", () => {
  const memory = new ArrayBuffer(4 * 2 * 6 * 4 * 8);
  const out = { data: new Float32Array(memory), shape: [2, 6, 4, 8] };
  const others: AttentionOptions[] = [
    { bias: { data: new Float32Array(memory), shape: [4, 7] } },
    { mask: { data: new Uint8Array(memory), shape: [4, 7], offset: memory.byteLength - 28 } },
    { mask: { data: new Uint32Array(memory), shape: [4, 7], offset: 31 } },
  ];
  for (const options of others) {
    const plan = planOf(sizes, { ...options, out });
    assert(mayBeRead(plan, plan.out!), Object.keys(options)[0]);
  }
  for (const options of terms) {
    const plan = planOf(sizes, { ...options, out });
    assert(!mayBeRead(plan, plan.out!), Object.keys(options)[0]);
  }
});

test("planAttention() takes the least and the largest softcap that its message names", () => {
  const least = planOf({ Nq: 2, D: 4 }, { softcap: 1e-30 });
  const largest = planOf({ Nq: 2, D: 4 }, { softcap: 1e30 });
  assertEquals([least.softcap, largest.softcap], [1e-30, 1e30]);
});

test("planAttention() takes a scale of 0 as given", () => {
  assertEquals(planOf(sizes, { scale: 0 }).scale, 0);
});

test("planAttention() gives results the rank and layout of q", () => {
  const one = { data: new Float32Array(24), shape: [4, 3, 2] };
  const plain = planAttention(one, one, one, { lse: true });
  assertEquals([plain.outShape, plain.lseShape], [[4, 3, 2], [4, 3]]);
  const turned = planAttention(one, one, one, { lse: true, layout: "bnhd" });
  assertEquals([turned.outShape, turned.lseShape], [[4, 3, 2], [3, 4]]);
});
