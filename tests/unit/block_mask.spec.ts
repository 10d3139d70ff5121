import { attention, tensor } from "@flashtile/attention";
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { test } from "node:test";
import type { BlockMask } from "../../src/masks/block_mask.ts";
import type { PlainBlockMask } from "../../src/masks/blocks.ts";
import * as blockMask from "../../src/masks/patterns/mod.ts";
import { always } from "../support/arbitrary.ts";
import { assertRefused, errorOf } from "../support/errors.ts";
import { seeded, whole } from "../support/random.ts";

/** A mask as one boolean per element, `[batch, heads, queries, keys]`. */
interface Dense {
  readonly extents: readonly [batch: number, heads: number, queries: number, keys: number];
  readonly kept: Uint8Array;
}

/** Extents to build a mask with, from a block size and the extents of a dense one. */
function sizeOf({ extents: [batch, heads, queries, keys] }: Dense, block: [number, number]) {
  return { batch, heads, queries, keys, block };
}

function keptBy({ extents: [batch, heads, queries, keys], kept }: Dense) {
  return (b: number, h: number, q: number, k: number) =>
    kept[(((batch === 1 ? 0 : b) * heads + (heads === 1 ? 0 : h)) * queries + q) * keys + k] === 1;
}

function maskOf(dense: Dense, block: [number, number]): BlockMask {
  return blockMask.fromFunction(keptBy(dense), sizeOf(dense, block));
}

/** A dense mask in regions of which some are full, some empty and some random. */
function randomDense(extents: Dense["extents"], region: number, seed: number): Dense {
  const random = seeded(seed), [batch, heads, queries, keys] = extents;
  const kept = new Uint8Array(batch * heads * queries * keys);
  const across = Math.ceil(keys / region);
  for (let row = 0, kinds: number[] = []; row < batch * heads * queries; row++) {
    if (row % queries % region === 0) kinds = Array.from({ length: across }, () => random());
    for (let key = 0; key < keys; key++) {
      const kind = kinds[Math.floor(key / region)];
      const one = kind < 0.35 ? 1 : kind < 0.7 ? 0 : whole(random, 0, 1);
      kept[row * keys + key] = one;
    }
  }
  return { extents, kept };
}

const side = fc.constantFrom(1, 3, 5, 8, 16, 64);
const block: fc.Arbitrary<[number, number]> = fc.tuple(side, side);
const extent = fc.oneof(
  { weight: 8, arbitrary: fc.integer({ min: 1, max: 40 }) },
  { weight: 1, arbitrary: fc.constantFrom(0, 63, 64, 65, 80) },
);
const few = fc.integer({ min: 1, max: 3 });
const extents: fc.Arbitrary<Dense["extents"]> = fc.tuple(few, few, extent, extent);
const filling = fc.tuple(fc.constantFrom(1, 5, 8, 16, 40), fc.integer());

/** The arrays, element by element: what the documentation of `BlockMask` says. */
function naiveArrays(dense: Dense, [height, width]: [number, number]) {
  const [batch, heads, queries, keys] = dense.extents, keeps = keptBy(dense);
  const starts = [0], columns: number[] = [], mixed: number[] = [], bits: number[] = [];
  let tiles = 0;
  for (let b = 0; b < batch; b++) {
    for (let h = 0; h < heads; h++) {
      for (let q = 0; q < queries; q += height) {
        for (let k = 0; k < keys; k += width) {
          const tile: number[] = [];
          let kept = 0, inside = 0;
          for (let r = 0; r < height; r++) {
            const bytes = new Array<number>(Math.ceil(width / 8)).fill(0);
            for (let c = 0; c < width; c++) {
              if (q + r >= queries || k + c >= keys) continue;
              inside++;
              if (!keeps(b, h, q + r, k + c)) continue;
              kept++;
              bytes[Math.floor(c / 8)] += 2 ** (c % 8);
            }
            tile.push(...bytes);
          }
          if (kept === 0) continue;
          columns.push(k / width);
          mixed.push(kept === inside ? -1 : tiles++);
          if (kept < inside) bits.push(...tile);
        }
        starts.push(columns.length);
      }
    }
  }
  return { starts, columns, mixed, bits };
}

/** Asserts that a mask keeps what a function says, by arrays that are its only possible ones. */
function assertIs(mask: BlockMask, expected: Dense): void {
  const { starts, columns, mixed, bits } = mask;
  assertEquals([mask.batch, mask.heads, mask.queries, mask.keys], [...expected.extents]);
  assertEquals(
    Object.entries({ starts, columns, mixed, bits }).map(([name, array]) => `${name} ${array}`),
    Object.entries(naiveArrays(expected, [...mask.block])).map(([name, list]) => `${name} ${list}`),
  );
}

test("BlockMask holds rows of blocks, whole, mixed or not listed", () => {
  const mask = blockMask.causal({ queries: 5, keys: 10, block: [2, 4], offset: 1 });
  assertEquals([mask.queries, mask.keys, mask.batch, mask.heads], [5, 10, 1, 1]);
  assertEquals([[...mask.block], mask.queryBlocks, mask.keyBlocks], [[2, 4], 3, 3]);
  assertEquals(mask.starts, Uint32Array.of(0, 1, 3, 5));
  assertEquals(mask.columns, Uint32Array.of(0, 0, 1, 0, 1));
  assertEquals(mask.mixed, Int32Array.of(0, -1, 1, -1, 2));
  assertEquals(mask.bits, Uint8Array.of(0b0011, 0b0111, 0b0000, 0b0001, 0b0011, 0b0000));
});

test("BlockMask has the arrays that its elements make, and no others", () => {
  fc.assert(
    fc.property(extents, block, filling, (extents, block, [region, seed]) => {
      const dense = randomDense(extents, region, seed);
      assertIs(maskOf(dense, block), dense);
    }),
    always(150),
  );
});

test("BlockMask has rows of several bytes", () => {
  const dense = randomDense([1, 2, 70, 150], 70, 3);
  for (const width of [9, 16, 65, 128]) assertIs(maskOf(dense, [33, width]), dense);
});

test("BlockMask does not change", () => {
  const mask = blockMask.causal({ queries: 4 });
  assert(Object.isFrozen(mask));
  assert(Object.isFrozen(mask.block));
});

test("BlockMask.keeps() and rowRuns() say what is kept", () => {
  fc.assert(
    fc.property(extents, block, filling, (extents, block, [region, seed]) => {
      const dense = randomDense(extents, region, seed);
      const mask = maskOf(dense, block), keeps = keptBy(dense);
      const [batch, heads, queries, keys] = extents;
      for (let row = 0; row < batch * heads * queries; row++) {
        const b = Math.floor(row / queries / heads), h = Math.floor(row / queries) % heads;
        const expected: [number, number][] = [];
        for (let k = 0, before = false; k < keys; k++) {
          const kept = keeps(b, h, row % queries, k);
          if (mask.keeps(b, h, row % queries, k) !== kept) throw new Error(`${[b, h, row, k]}`);
          if (kept && !before) expected.push([k, k]);
          if (kept) expected[expected.length - 1][1] = k + 1;
          before = kept;
        }
        assertEquals(String([...mask.rowRuns(b, h, row % queries)]), String(expected));
      }
    }),
    always(60),
  );
});

test("BlockMask with one batch and head has them for all", () => {
  const mask = blockMask.causal({ queries: 3 });
  assertEquals([mask.keeps(7, 9, 1, 1), mask.keeps(7, 9, 1, 2)], [true, false]);
  assertEquals([...mask.rowRuns(7, 9, 1)], [[0, 2]]);
});

test("BlockMask refuses to be read where it has no element", async () => {
  const mask = blockMask.causal({ queries: 3, keys: 4, batch: 2 });
  const cases: [[number, number, number, number], string][] = [
    [[2, 0, 0, 0], "`b` must be a whole number >= 0 and < 2, got 2"],
    [[0, -1, 0, 0], "`h` must be a whole number >= 0, got -1"],
    [[0, 0, 3, 0], "`query` must be a whole number >= 0 and < 3, got 3"],
    [[0, 0, 0.5, 0], "`query` must be a whole number >= 0 and < 3, got 0.5"],
    [[0, 0, 0, 4], "`key` must be a whole number >= 0 and < 4, got 4"],
  ];
  for (const [at, message] of cases) {
    const expected = `Cannot read a block mask: ${message}`;
    await assertRefused(() => mask.keeps(...at), RangeError, expected);
    if (at[3] !== 0) continue;
    await assertRefused(() => mask.rowRuns(at[0], at[1], at[2]), RangeError, expected);
  }
});

test("BlockMask.density counts elements, visited counts blocks", () => {
  fc.assert(
    fc.property(extents, block, filling, (extents, block, [region, seed]) => {
      const dense = randomDense(extents, region, seed), mask = maskOf(dense, block);
      const kept = dense.kept.reduce((sum, one) => sum + one, 0);
      assertEquals(mask.density, kept / (dense.kept.length || 1));
    }),
    always(60),
  );
  const mask = blockMask.causal({ queries: 6, block: 2, heads: 3 });
  assertEquals([mask.density, mask.visited], [21 / 36, 6 / 9]);
  const empty = blockMask.causal({ queries: 0, keys: 3 });
  assertEquals([empty.density, empty.visited], [0, 0]);
});

/** Two masks that can be combined: batches and heads equal or 1, and their own block sizes. */
const pairs = fc.tuple(extents, fc.tuple(block, block), fc.tuple(filling, filling)).chain((
  [[batch, heads, queries, keys], blocks, fillings],
) =>
  fc.tuple(
    ...[0, 1].map((which) =>
      fc.tuple(fc.boolean(), fc.boolean()).map(([oneBatch, oneHead]) => {
        const extents = [oneBatch ? 1 : batch, oneHead ? 1 : heads, queries, keys] as const;
        return { dense: randomDense(extents, ...fillings[which]), block: blocks[which] };
      })
    ),
  ).chain(([a, b]) => fc.boolean().map((same) => [a, same ? { ...b, block: a.block } : b]))
);

/** The combination of two dense masks. */
function combined(a: Dense, b: Dense, op: (x: boolean, y: boolean) => boolean): Dense {
  const [, , queries, keys] = a.extents;
  const batch = Math.max(a.extents[0], b.extents[0]), heads = Math.max(a.extents[1], b.extents[1]);
  const x = keptBy(a), y = keptBy(b), kept = new Uint8Array(batch * heads * queries * keys);
  const result = { extents: [batch, heads, queries, keys] as const, kept };
  for (let e = 0; e < kept.length; e++) {
    const k = e % keys, q = Math.floor(e / keys) % queries;
    const h = Math.floor(e / keys / queries) % heads, n = Math.floor(e / keys / queries / heads);
    kept[e] = Number(op(x(n, h, q, k), y(n, h, q, k)));
  }
  return result;
}

test("BlockMask.and(), or() and not() are those of every element, in the first's blocks", () => {
  fc.assert(
    fc.property(pairs, ([first, second]) => {
      const a = maskOf(first.dense, first.block), b = maskOf(second.dense, second.block);
      const both = a.and(b), either = a.or(b), neither = a.not();
      assertIs(both, combined(first.dense, second.dense, (x, y) => x && y));
      assertIs(either, combined(first.dense, second.dense, (x, y) => x || y));
      assertIs(neither, combined(first.dense, first.dense, (x) => !x));
      for (const mask of [both, either, neither]) assertEquals(mask.block, a.block);
    }),
    always(150),
  );
});

test("BlockMask obeys De Morgan, and two nots are none", () => {
  const arraysOf = ({ starts, columns, mixed, bits }: BlockMask) =>
    [starts, columns, mixed, bits].map(String);
  fc.assert(
    fc.property(pairs, ([first, second]) => {
      const a = maskOf(first.dense, first.block), b = maskOf(second.dense, second.block);
      assertEquals(arraysOf(a.and(b).not()), arraysOf(a.not().or(b.not())));
      assertEquals(arraysOf(a.not().not()), arraysOf(a));
      assertEquals(arraysOf(a.and(a)), arraysOf(a));
      assertEquals(arraysOf(a.or(a.not())), arraysOf(a.not().and(a).not()));
    }),
    always(60),
  );
});

test("BlockMask.and() and or() refuse what does not fit", async () => {
  const size = { queries: 4, keys: 6 };
  const mask = blockMask.causal({ ...size, batch: 2, heads: 3 });
  const cannot = "Cannot combine block masks: ";
  const cases: [unknown, typeof RangeError | typeof TypeError, string][] = [
    [undefined, TypeError, "the other must be a BlockMask, got undefined"],
    [{ ...mask }, TypeError, "the other must be a BlockMask, got Object"],
    [
      blockMask.causal({ queries: 4, keys: 5 }),
      RangeError,
      "queries and keys must be equal, got 4 x 6 and 4 x 5",
    ],
    [
      blockMask.causal({ queries: 6 }),
      RangeError,
      "queries and keys must be equal, got 4 x 6 and 6 x 6",
    ],
    [
      blockMask.causal({ ...size, batch: 3 }),
      RangeError,
      "`batch` must be equal or 1, got 2 and 3",
    ],
    [
      blockMask.causal({ ...size, heads: 2 }),
      RangeError,
      "`heads` must be equal or 1, got 3 and 2",
    ],
  ];
  for (const [other, Kind, message] of cases) {
    await assertRefused(() => mask.and(other as BlockMask), Kind, cannot + message);
    await assertRefused(() => mask.or(other as BlockMask), Kind, cannot + message);
  }
});

test("BlockMask.toString() draws small masks element by element", () => {
  assertEquals(
    String(blockMask.causal({ queries: 3, keys: 5, block: 2 })),
    `BlockMask [1, 1, 3, 5], blocks of 2 x 2, density 0.8
11100
11110
11111`,
  );
  assertEquals(
    String(blockMask.fromFunction((b, h, q, k) => b + h === q + k, {
      queries: 2,
      keys: 3,
      batch: 2,
      heads: 2,
    })),
    `BlockMask [2, 2, 2, 3], blocks of 64 x 64, density 0.292
batch 0, head 0:
100
000
batch 0, head 1:
010
100
batch 1, head 0:
010
100
batch 1, head 1:
001
010`,
  );
  assertEquals(String(blockMask.causal({ queries: 32 })).split("\n").length, 33);
});

test("BlockMask.toString() draws large masks block by block", () => {
  assertEquals(
    String(blockMask.window([20, 0], { queries: 24, keys: 33, block: [6, 4] })),
    `BlockMask [1, 1, 24, 33], blocks of 6 x 4, density 0.553
##++.....
####++...
++###++..
.++####++`,
  );
  assertEquals(
    String(blockMask.causal({ queries: 33, heads: 2, block: 16 })),
    `BlockMask [1, 2, 33, 33], blocks of 16 x 16, density 0.515
batch 0, head 0:
+..
#+.
###
batch 0, head 1:
+..
#+.
###`,
  );
});

test("BlockMask.toString() stays short", () => {
  const lines = String(blockMask.causal({ queries: 130, block: [1, 2], heads: 9 })).split("\n");
  assertEquals(
    lines[0],
    "BlockMask [1, 9, 130, 130], blocks of 1 x 2, density 0.504, a character is 3 x 2 blocks",
  );
  assertEquals(lines.length, 1 + 8 * (1 + 44) + 1);
  assertEquals(lines.slice(1, 5).map((line) => line.slice(0, 5)), [
    "batch",
    "+....",
    "#+...",
    "#++..",
  ]);
  assertEquals(lines[45], "#".repeat(33));
  assertEquals(lines.at(-1), "and 1 more");
  // Of the four blocks of a character, the first has all, the second two.
  const [, first] = String(blockMask.butterfly({ queries: 128, block: 1 })).split("\n");
  assertEquals(first, "#++.+...+".padEnd(16, ".") + "+".padEnd(16, ".") + "+".padEnd(32, "."));
});

test("blockMask makes a large mask of few blocks", () => {
  const size = { queries: 16_384 }, n = 256;
  const mask = blockMask.causal(size);
  assertEquals(mask.columns.length, n * (n + 1) / 2);
  assertEquals(mask.mixed.filter((kind) => kind >= 0).length, n);
  assertEquals(mask.bits.length, n * 64 * 8);
  const window = mask.and(blockMask.window([128, 0], size));
  assertEquals(window.columns.length, 3 * n - 3);
  const reversed = mask.not();
  assertEquals(reversed.columns.length, n * (n + 1) / 2);
  assertEquals(reversed.density + mask.density, 1);
});

test("blockMask refuses sizes that no array can hold", async () => {
  const cases: [{ queries: number; keys?: number; block?: number }, number][] = [
    [{ queries: 2 ** 52, block: 1 }, 2 ** 52 + 1],
    [{ queries: 1, keys: 2 ** 52, block: 1 }, 2 ** 52 + 1],
    [{ queries: 64, block: 2 ** 26 }, 2 ** 49],
  ];
  for (const [size, length] of cases) {
    await assertRefused(
      () => blockMask.causal(size),
      RangeError,
      `Cannot make a block mask: it needs an array of ${length} elements, which is too long`,
    );
  }
});

const sized = { queries: 100, keys: 90, block: [16, 32] } as const;

/** Masks of each kind of block, of batches and heads, and with none. */
const masks: [string, BlockMask][] = [
  ["causal", blockMask.causal(sized)],
  ["with batches and heads", maskOf(randomDense([2, 3, 40, 70], 8, 5), [8, 24])],
  ["everything", blockMask.causal(sized).not().or(blockMask.causal(sized))],
  ["nothing", blockMask.causal(sized).and(blockMask.causal(sized).not())],
  ["no queries", blockMask.causal({ queries: 0, keys: 8, block: 4 })],
  ["no keys", blockMask.causal({ queries: 8, keys: 0, block: 4 })],
];

for (const [name, mask] of masks) {
  test(`fromPlain() gives the mask that toPlain() was called of: ${name}`, () => {
    const copy = blockMask.fromPlain(structuredClone(mask.toPlain()));
    assertEquals(copy.toPlain(), mask.toPlain());
    assertEquals([copy.density, copy.visited], [mask.density, mask.visited]);
    assertEquals(copy.and(mask).toPlain(), mask.toPlain());
  });
}

test("nobody else makes a BlockMask", () => {
  const Mask = blockMask.causal(sized).constructor as new (...given: unknown[]) => unknown;
  return assertRefused(
    () => new Mask(Symbol(), blockMask.causal(sized).toPlain()),
    TypeError,
    "Cannot make a block mask: only `blockMask` makes them",
  );
});

test("toPlain() gives copies", () => {
  const mask = blockMask.causal(sized), before = String(mask), plain = mask.toPlain();
  plain.mixed.fill(-1);
  plain.bits.fill(255);
  plain.columns.fill(0);
  assertEquals(String(mask), before);
});

test("fromPlain() copies what it is given, and makes blocks what their bits say", () => {
  const plain = blockMask.causal({ queries: 16, block: 8 }).toPlain();
  plain.bits.fill(255);
  const mask = blockMask.fromPlain(plain);
  plain.columns.fill(7);
  assertEquals(mask.density, 0.75);
  assertEquals(Array.from(mask.mixed), [-1, -1, -1]);
});

/** What is no mask's plain data, and what of it is named. */
const wrongs: [string, Record<string, unknown>, typeof TypeError, string][] = [
  [
    "no extents",
    { queries: undefined },
    TypeError,
    "`queries` must be a whole number >= 0, got un",
  ],
  ["half a key", { keys: 2.5 }, RangeError, "`keys` must be a whole number >= 0, got 2.5"],
  ["a batch less", { batch: -1 }, RangeError, "`batch` must be a whole number >= 0, got -1"],
  ["no heads", { heads: "2" }, TypeError, '`heads` must be a whole number >= 0, got "2"'],
  ["no block", { block: undefined }, TypeError, "`block[0]` must be a whole number >= 1, got und"],
  ["an empty block", { block: [16, 0] }, RangeError, "`block[1]` must be a whole number >= 1, got"],
  ["other extents", { queries: 200 }, RangeError, "`starts` is not that of a mask of 200 x 90"],
  ["more batches", { batch: 2 ** 31 }, RangeError, "`starts` is not that of a mask"],
  ["fewer keys", { keys: 40 }, RangeError, "`columns` is not that of a mask"],
  ["a list", { starts: [0, 1] }, TypeError, "`starts` must be a Uint32Array, got "],
  ["bytes", { mixed: new Uint8Array(8) }, TypeError, "`mixed` must be a Int32Array, got Uint8Arr"],
  ["no bits", { bits: new Uint8Array(3) }, RangeError, "`bits` is not that of a mask"],
  ["other blocks", { block: [16, 16] }, RangeError, "`bits` is not that of a mask"],
];

for (const [name, wrong, Kind, message] of wrongs) {
  test(`fromPlain() refuses ${name}`, async () => {
    const plain = { ...blockMask.causal(sized).toPlain(), ...wrong } as unknown as PlainBlockMask;
    const error = await errorOf(() => blockMask.fromPlain(plain)) as Error;
    assert(
      error instanceof Kind && error.message.startsWith(`Cannot make a block mask: ${message}`),
    );
  });
}

/** Arrays that do not belong to each other, and which is named. */
const changes: [string, (plain: PlainBlockMask) => Partial<PlainBlockMask>, string][] = [
  ["fewer columns than rows have", ({ columns }) => ({ columns: columns.slice(0, -1) }), "columns"],
  ["another number of kinds", ({ mixed }) => ({ mixed: mixed.slice(0, -1) }), "mixed"],
  ["rows that end before they begin", ({ starts }) => {
    const descending = starts.slice();
    descending[2] = 0;
    return { starts: descending };
  }, "starts"],
  ["rows behind the last entry", ({ starts, columns }) => {
    const beyond = starts.slice();
    beyond[1] = columns.length + 1;
    return { starts: beyond };
  }, "starts"],
  ["mixed blocks in another order", ({ mixed }) => {
    const swapped = mixed.slice(), first = swapped.indexOf(0), second = swapped.indexOf(1);
    [swapped[first], swapped[second]] = [1, 0];
    return { mixed: swapped };
  }, "mixed"],
  ["a row whose blocks do not ascend", ({ columns, starts }) => {
    const swapped = columns.slice(), at = starts[5];
    [swapped[at], swapped[at + 1]] = [swapped[at + 1], swapped[at]];
    return { columns: swapped };
  }, "columns"],
];

for (const [name, change, named] of changes) {
  test(`fromPlain() refuses ${name}`, () => {
    const plain = blockMask.causal(sized).toPlain();
    return assertRefused(
      () => blockMask.fromPlain({ ...plain, ...change(plain) }),
      RangeError,
      `Cannot make a block mask: \`${named}\` is not that of a mask of 100 x 90 elements`,
    );
  });
}

test("fromPlain() makes no mask with other addresses of any number that was changed", () => {
  const given = maskOf(randomDense([1, 2, 40, 70], 8, 5), [8, 24]);
  let refused = 0;
  for (const name of ["starts", "columns", "mixed"] as const) {
    for (let index = 0; index < given[name].length; index++) {
      for (const change of [1, -1, 1000, -1000]) {
        const plain = given.toPlain();
        plain[name][index] += change;
        try {
          const { starts, columns, keyBlocks } = blockMask.fromPlain(plain);
          assertEquals(starts.at(-1), columns.length);
          assert(columns.every((column) => column < keyBlocks));
        } catch (error) {
          assert(error instanceof RangeError, String(error));
          refused++;
        }
      }
    }
  }
  assert(refused > 100, String(refused));
});

test("a mask of another copy of the library is read as plain data", async () => {
  const mine = blockMask.causal(sized), band = blockMask.window([9, 3], sized);
  const others = (plain: unknown) => ({ [Symbol.for("flashtile.BlockMask/1")]: () => plain });
  assertEquals(Object.keys(others(0)).length, 0);
  const both = band.and(others(mine.toPlain()) as unknown as BlockMask);
  assertEquals(both.toPlain(), band.and(mine).toPlain());
  const x = (n: number) => tensor(Float32Array.from({ length: n * 8 }, Math.sin), [n, 8]);
  const attend = async (mask: unknown) => {
    const options = { blockMask: mask as BlockMask };
    return (await attention(x(100), x(90), x(90), options)).out.data;
  };
  assertEquals(await attend(others(mine.toPlain())), await attend(mine));
  await assertRefused(
    () => attend(others({ ...mine.toPlain(), starts: new Uint32Array(2) })),
    RangeError,
    "Cannot make a block mask: `starts` is not that of a mask of 100 x 90 elements",
  );
  await assertRefused(
    () => attend(Object.create(mine)),
    TypeError,
    "Cannot attend: `blockMask` must be a BlockMask, as `blockMask.causal()` and its like make, got BlockMask",
  );
});
