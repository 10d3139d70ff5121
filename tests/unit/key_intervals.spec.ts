import { type BlockMask, blockMask } from "@flashtile/attention";
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { test } from "node:test";
import type { AttentionPlan } from "../../src/operations/attention/plan.ts";
import { intervalBytes, stageIntervals } from "../../src/wasm/attention/key_intervals.ts";
import type { Run } from "../../src/wasm/attention/run.ts";
import { Arena, pageBytes } from "../../src/wasm/memory/arena.ts";
import { intervalFields, intervalWords } from "../../src/wasm/record/job_record.ts";
import { always } from "../support/arbitrary.ts";
import { type Lengths, packedPlanOf, planOf } from "../support/plan.ts";
import { seeded } from "../support/random.ts";
import { longTest } from "../support/share.ts";

const memory = new WebAssembly.Memory({ initial: 32, maximum: 32 });
const arena = new Arena(memory, 1024, 32 * pageBytes);

/** Where intervals are written in these tests, and what is there before. */
const at = 4096, untouched = 0xa5;

/** A run of keys that is visited. */
interface Visit {
  readonly from: number;
  readonly to: number;
  readonly bits: number;
  readonly rowBytes: number;
  readonly origin: number;
}

/** The intervals of a block of queries, from its list's address and its place in the list. */
function intervalsOf(list: number, block: number): Visit[] {
  const words = new Int32Array(memory.buffer);
  const [first, end] = words.subarray(list / 4 + block);
  return Array.from({ length: (end - first) / 4 / intervalWords }, (_, index) => {
    const word = first / 4 + index * intervalWords;
    const read = (field: keyof typeof intervalFields) => words[word + intervalFields[field]];
    const [from, to, bits] = [read("from"), read("to"), read("bits")];
    return { from, to, bits, rowBytes: read("rowBytes"), origin: read("origin") };
  });
}

/** Whether a row of a visit's block sees a key, as the kernel reads it. */
function sees({ from, to, bits, rowBytes, origin }: Visit, row: number, key: number): boolean {
  if (key < from || key >= to) return false;
  const bit = key - origin, bytes = new Uint8Array(memory.buffer);
  return bits === 0 || (bytes[bits + row * rowBytes + (bit >> 3)] >> (bit & 7) & 1) === 1;
}

/** Stages a run's intervals over memory full of a pattern. */
function stage(plan: AttentionPlan, run: Run): number[] {
  new Uint8Array(memory.buffer, at).fill(untouched);
  return stageIntervals(arena, plan, run, at);
}

interface Case {
  readonly plan: AttentionPlan;
  readonly mask: BlockMask;
  readonly run: Run;
}

const extent = fc.constantFrom(1, 3, 5, 8, 16, 24, 33);

/** Random block masks over packed sequences, and a run of one of them. */
const cases: fc.Arbitrary<Case> = fc.record({
  seed: fc.nat(),
  lengths: fc.array(fc.tuple(fc.integer({ min: 1, max: 40 }), fc.nat(90)), {
    minLength: 1,
    maxLength: 4,
  }),
  block: fc.tuple(extent, extent),
  group: fc.constantFrom(1, 2, 3, 20),
  perHead: fc.boolean(),
  coarse: fc.boolean(),
  share: fc.tuple(fc.nat(99), fc.nat(99), fc.nat(99)),
}).map(({ seed, lengths, block, group, perHead, coarse, share }) => {
  const random = seeded(seed), Hq = 2 * group, kept = [0.05, 0.5, 0.95][seed % 3];
  const sum = (axis: 0 | 1) => lengths.reduce((total, both) => total + both[axis], 0);
  const size = { queries: sum(0), keys: sum(1), heads: perHead ? Hq : 1, block };
  let whole = false;
  const mask = blockMask.fromFunction((_b, _h, query, key) => {
    // Runs of whole blocks, of skipped ones and of mixed ones.
    if (coarse && key % block[1] === 0 && query % block[0] === 0) whole = random() < 0.7;
    return coarse && whole || random() < kept;
  }, size);
  const segment = share[0] % lengths.length, queries = lengths[segment][0];
  const from = share[1] % queries, to = from + 1 + share[2] % (queries - from);
  const plan = packedPlanOf(lengths as Lengths[], { Hq, Hkv: 2, D: 4 }, { blockMask: mask });
  return { plan, mask, run: { segment, keyHead: seed % 2, from, to } };
});

/** Calls back for each position of a run: its query, and its row and block within the list. */
function eachPosition(
  { plan, mask, run }: Case,
  look: (query: number, row: number, block: number) => void,
): void {
  const { firstQuery } = plan.segments[run.segment], [rows] = mask.block;
  const phase = (firstQuery + run.from) % rows;
  for (let p = run.from; p < run.to; p++) {
    const row = phase + p - run.from;
    look(firstQuery + p, row % rows, Math.floor(row / rows));
  }
}

test("stageIntervals() says for every row which keys of its segment it sees", () => {
  fc.assert(
    fc.property(cases, (given) => {
      const { plan, mask, run } = given, lists = stage(plan, run);
      assertEquals(lists.length, mask.heads === 1 ? 1 : plan.group);
      const { firstKey, keys } = plan.segments[run.segment];
      for (const [member, list] of lists.entries()) {
        const head = run.keyHead * plan.group + member;
        eachPosition(given, (query, row, block) => {
          const intervals = intervalsOf(list, block);
          for (let key = 0; key < keys; key++) {
            const seen = intervals.filter((visit) => sees(visit, row, key)).length;
            assertEquals(seen, Number(mask.keeps(0, head, query, firstKey + key)));
          }
        });
      }
    }),
    always(150),
  );
});

test("stageIntervals() gives intervals of the segment's keys, ascending and none empty", () => {
  fc.assert(
    fc.property(cases, (given) => {
      const { plan, run } = given, { keys } = plan.segments[run.segment];
      for (const list of stage(plan, run)) {
        eachPosition(given, (_query, _row, block) => {
          let last = 0;
          for (const { from, to } of intervalsOf(list, block)) {
            assert(from >= last && from < to && to <= keys);
            last = to;
          }
        });
      }
    }),
    always(150),
  );
});

longTest(
  "stageIntervals() takes no more than intervalBytes(), with what the kernel reads behind bits",
  () => {
    fc.assert(
      fc.property(cases, (given) => {
        const { plan, mask, run } = given, end = at + intervalBytes(plan, run);
        for (const list of stage(plan, run)) {
          assertEquals(list % 4, 0);
          eachPosition(given, (_query, _row, block) => {
            for (const { bits, rowBytes } of intervalsOf(list, block)) {
              // A word from the last byte of bits on.
              const read = bits === 0 ? 0 : bits + mask.block[0] * rowBytes + 3;
              assert(read <= end, `${read - end} bytes behind its place`);
            }
          });
        }
        const behind = new Uint8Array(memory.buffer, end, 4096);
        assert(behind.every((byte) => byte === untouched), "written behind its place");
      }),
      always(300),
    );
  },
);

/** Extents of the intervals of all blocks of queries, for one head. */
function extentsOf(mask: BlockMask): [from: number, to: number, mixed: boolean][][] {
  const { queries: Nq, keys: Nk } = mask;
  const plan = planOf({ Nq, Nk, D: 4 }, { blockMask: mask });
  const [list] = stage(plan, { segment: 0, keyHead: 0, from: 0, to: Nq });
  return Array.from(
    { length: mask.queryBlocks },
    (_, block) => intervalsOf(list, block).map(({ from, to, bits }) => [from, to, bits !== 0]),
  );
}

test("stageIntervals() makes one visit of whole blocks side by side", () => {
  const size = { queries: 8, keys: 1000, block: [4, 8] as [number, number] };
  assertEquals(extentsOf(blockMask.prefix(1000, size)), [[[0, 1000, false]], [[0, 1000, false]]]);
  const holes = blockMask.fromFunction((_b, _h, _q, key) => key < 160 || key >= 168, size);
  const both: [number, number, boolean][] = [[0, 160, false], [168, 1000, false]];
  assertEquals(extentsOf(holes), [both, both]);
});

test("stageIntervals() makes one visit of mixed blocks side by side, of 256 keys at most", () => {
  const odd = (width: number) =>
    extentsOf(blockMask.fromFunction((_b, _h, _q, key) => key % 2 === 1, {
      queries: 4,
      keys: 600,
      block: [4, width],
    }))[0];
  assertEquals(odd(64), [[0, 256, true], [256, 512, true], [512, 600, true]]);
  assertEquals(odd(512), [[0, 512, true], [512, 600, true]]);
  // Rows of bits are whole bytes: blocks of other widths stay apart.
  assertEquals(odd(300), [[0, 300, true], [300, 600, true]]);
  assertEquals(odd(30).length, 20);
});

test("stageIntervals() gives a block of queries that sees nothing no visit", () => {
  const mask = blockMask.causal({ queries: 8, keys: 4, block: 4, offset: -4 });
  assertEquals(extentsOf(mask), [[], [[0, 4, true]]]);
});

test("intervalBytes() is 0 without a block mask", () => {
  const run = { segment: 0, keyHead: 0, from: 0, to: 9 };
  assertEquals(intervalBytes(planOf({ Nq: 9, D: 4 }), run), 0);
});
