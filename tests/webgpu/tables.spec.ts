import { type AttentionOptions, blockMask } from "@flashtile/attention";
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { test } from "node:test";
import { type AttentionPlan, planAttention } from "../../src/operations/attention/plan.ts";
import { countRowsIn, keysIn, longestOf, queriesOf } from "../../src/webgpu/attention/spans.ts";
import { tablesOf } from "../../src/webgpu/attention/tables.ts";
import { type Cut, keyRangesOf, needsCombining } from "../../src/webgpu/attention/key_ranges.ts";
import { segmentFields } from "../../src/webgpu/shader/segment.ts";
import { cutRegion, type Region } from "../../src/webgpu/transfer/regions.ts";
import { runs } from "../support/arbitrary.ts";

/** A plan for `heads` query heads of 4 columns. */
function planOf(Nq: number, Nk: number, options: AttentionOptions, heads = 1): AttentionPlan {
  const of = (rows: number) => ({
    data: new Float32Array(heads * rows * 4),
    shape: [1, heads, rows, 4],
  });
  return planAttention(of(Nq), of(Nk), of(Nk), options);
}

function cutOf(plan: AttentionPlan, mostKeys = Infinity): Cut & { readonly plan: AttentionPlan } {
  return { plan, terms: true, mostKeys, tileKeys: 16 };
}

function wholeOf({ segments, keyHeads }: AttentionPlan): Region {
  const longest = Math.max(...segments.map(({ queries }) => queries));
  return { batch: [0, segments.length], heads: [0, keyHeads], positions: [0, longest] };
}

/** The fields of each segment, by name. */
function segmentsIn(words: Uint32Array<ArrayBuffer>, count: number) {
  const view = new DataView(words.buffer), names = Object.entries(segmentFields);
  return Array.from(
    { length: count },
    (_, index) =>
      Object.fromEntries(names.map(([name, type], field) => {
        const at = (index * names.length + field) * 4;
        if (type === "f32") return [name, view.getFloat32(at, true)];
        return [name, type === "i32" ? view.getInt32(at, true) : view.getUint32(at, true)];
      })),
  );
}

/** Sequences of 3, 0 and 70 queries against 5, 4 and 600 keys. */
const cuSeqlens = { q: [0, 3, 3, 73], k: [0, 5, 9, 609] };

test("tablesOf() says where each packed sequence is, and what it sees", () => {
  const plan = planOf(73, 609, { cuSeqlens, causal: true, kvLengths: [5, 4, 100] });
  const cut = cutOf(plan), region = wholeOf(plan);
  const { words } = tablesOf(cut, region, keyRangesOf(cut, region));
  const [first, empty, last] = segmentsIn(words, 3);
  assertEquals(
    [first.row, first.queries, first.key, first.keys, first.diagonal, first.band_last],
    [0, 3, 0, 5, 2, 2],
  );
  assertEquals([empty.row, empty.queries, empty.key, empty.keys], [3, 0, 5, 4]);
  assertEquals([last.row, last.queries, last.key, last.keys, last.diagonal], [3, 70, 9, 100, 530]);
  assert(words.length === 3 * Object.keys(segmentFields).length);
});

test("tablesOf() counts positions from the first of the region", () => {
  const plan = planOf(73, 609, { cuSeqlens, window: [7, 1], offset: [0, 0, 2 ** 40] });
  const cut = cutOf(plan);
  const region: Region = { batch: [2, 3], heads: [0, 1], positions: [64, 128] };
  const [segment] = segmentsIn(tablesOf(cut, region, keyRangesOf(cut, region)).words, 1);
  assertEquals([segment.row, segment.queries, segment.key], [0, 6, 0]);
  assertEquals(segment.diagonal, 2 ** 30);
  assertEquals(segment.beyond, Math.fround(2 ** 40 + 64 - 2 ** 30));
  assertEquals([segment.band_first, segment.band_last], [2 ** 30, 2 ** 30]);
});

test("tablesOf() gives each sequence parts of its own", () => {
  const boundaries = { q: [0, 2, 72, 74], k: [0, 1100, 2200, 2210] };
  const plan = planOf(74, 2210, { cuSeqlens: boundaries }, 3);
  const cut = cutOf(plan), region = wholeOf(plan), windows = keyRangesOf(cut, region);
  assert(needsCombining(cut));
  assertEquals(windows.map(({ keys, parts }) => [keys, parts]), [[[0, 1100], 3]]);
  const segments = segmentsIn(tablesOf(cut, region, windows).words, 3);
  assertEquals(segments.map(({ parts }) => parts), [3, 1, 1]);
  assertEquals(segments.map(({ is_split }) => is_split), [1, 0, 0]);
  assertEquals(segments.map(({ partials }) => partials), [0, 18, 228]);
});

test("keyRangesOf() cuts the keys of one packed sequence, not those of several", () => {
  const plan = planOf(73, 609, { cuSeqlens });
  const cut = cutOf(plan, 256), whole = wholeOf(plan);
  assertEquals(keyRangesOf(cut, whole).length, 1);
  const alone: Region = { ...whole, batch: [2, 3] };
  const windows = keyRangesOf(cut, alone);
  assertEquals(windows.map(({ keys }) => keys), [[0, 208], [208, 416], [416, 600]]);
  assertEquals(windows.map(({ keys }) => keysIn(plan, alone, keys)), [
    [9, 217],
    [217, 425],
    [425, 609],
  ]);
});

test("tablesOf() writes slopes by segment and head, and what each head's sink begins with", () => {
  const options: AttentionOptions = {
    cuSeqlens,
    alibi: { data: Float32Array.from({ length: 12 }, (_, at) => at), shape: [3, 4] },
    sinks: { data: Float32Array.of(1, -Infinity, 2, NaN), shape: [4] },
  };
  const plan = planOf(73, 609, options, 4), cut = cutOf(plan);
  const region: Region = { batch: [1, 3], heads: [1, 4], positions: [0, 70] };
  const { words, values } = tablesOf(cut, region, keyRangesOf(cut, region));
  const floats = new Float32Array(words.buffer);
  const { slopes_at = 0, sinks_at = 0 } = values;
  assertEquals([...floats.subarray(slopes_at, slopes_at + 6)], [5, 6, 7, 9, 10, 11]);
  const lowest = Math.fround(-3.4028234663852886e38);
  assertEquals([...floats.subarray(sinks_at)], [lowest, 0, 2, 1, lowest, NaN]);
});

/** Whether a table of blocks keeps a key, as the shaders read it. */
function keeps(
  { words, values }: ReturnType<typeof tablesOf>,
  head: number,
  row: number,
  key: number,
): boolean {
  const { block, ...others } = values, [, perHead, perRow] = block!.strides;
  const p = (name: keyof typeof others) => others[name] ?? 0;
  const at = block!.at + head * perHead +
    (Math.floor(row / p("block_queries")) - p("first_block")) * perRow +
    Math.floor(key / p("block_keys"));
  if (words[at] < 2) return words[at] === 1;
  const column = key % p("block_keys");
  const byte = (words[at] - 2) * p("block_bytes") +
    row % p("block_queries") * p("block_row_bytes") + (column >> 3);
  return (new Uint8Array(words.buffer)[p("block_bits_at") * 4 + byte] >> (column & 7) & 1) === 1;
}

test("tablesOf() writes the blocks of a region, of any size", () => {
  const blocks: [block: readonly [number, number], heads: number][] = [
    [[5, 3], 1],
    [[7, 20], 2],
    [[64, 64], 2],
    [[1, 1], 1],
  ];
  for (const [block, heads] of blocks) {
    const mask = blockMask.fromFunction(
      (_, h, i, j) => (i * 7 + j * 3 + h) % 5 < 2 || j < 20,
      { queries: 40, keys: 50, block, heads },
    );
    const plan = planOf(40, 50, { blockMask: mask }, 2), cut = cutOf(plan);
    for (const positions of [[0, 40], [13, 29]] as const) {
      const region: Region = { batch: [0, 1], heads: [1, 2], positions };
      const tables = tablesOf(cut, region, keyRangesOf(cut, region));
      for (let row = positions[0]; row < positions[1]; row++) {
        for (let key = 0; key < 50; key++) {
          assertEquals(keeps(tables, 0, row, key), mask.keeps(0, 1, row, key), `${row} ${key}`);
        }
      }
    }
  }
});

test("the regions of packed sequences have every row once, in order", () => {
  const lengths = fc.array(fc.integer({ min: 0, max: 200 }), { minLength: 1, maxLength: 8 });
  fc.assert(
    fc.property(lengths, fc.integer({ min: 1, max: 300 }), (counts, most) => {
      const q = counts.reduce((ends, n) => [...ends, ends.at(-1)! + n], [0]);
      const plan = planOf(q.at(-1)!, q.at(-1)!, { cuSeqlens: { q, k: q } }, 2);
      const fits = (region: Region) => countRowsIn(plan, region) <= most;
      const covered = [0, 0];
      for (const region of cutRegion(wholeOf(plan), fits)) {
        const rows = queriesOf(plan, region), head = region.heads[0];
        if (countRowsIn(plan, region) === 0) continue;
        assert(longestOf(plan, region) <= rows[1] - rows[0]);
        for (let h = head; h < region.heads[1]; h++) {
          assertEquals(rows[0], covered[h]);
          covered[h] = rows[1];
        }
      }
      assertEquals(covered, [q.at(-1), q.at(-1)]);
    }),
    runs(200),
  );
});
