import { assert, assertEquals, assertNotEquals } from "@std/assert";
import fc from "fast-check";
import { test } from "node:test";
import type { BlockMask } from "../../src/masks/block_mask.ts";
import * as blockMask from "../../src/masks/patterns/mod.ts";
import type { BlockMaskSize } from "../../src/masks/patterns/size.ts";
import { always } from "../support/arbitrary.ts";
import { assertRefused, type ErrorClass } from "../support/errors.ts";
import { seeded, whole } from "../support/random.ts";

const side = fc.constantFrom(1, 3, 5, 8, 16, 64);
const extent = fc.oneof(
  { weight: 8, arbitrary: fc.integer({ min: 0, max: 40 }) },
  { weight: 1, arbitrary: fc.constantFrom(63, 64, 65, 130) },
);
const few = fc.integer({ min: 1, max: 2 });

/** Random sizes; names that are missing have their defaults. */
const sizes: fc.Arbitrary<BlockMaskSize> = fc.record({
  queries: extent,
  keys: extent,
  batch: few,
  heads: few,
  block: fc.oneof(side, fc.tuple(side, side)),
  offset: fc.integer({ min: -30, max: 50 }),
}, { requiredKeys: ["queries"] });

/** A size with its defaults, as documented. */
function complete(size: BlockMaskSize) {
  const { queries, keys = queries, batch = 1, heads = 1, block = 64 } = size;
  const [height, width] = typeof block === "number" ? [block, block] : block;
  return { queries, keys, batch, heads, height, width, offset: size.offset ?? keys - queries };
}

/** Whether query `q`, which stands on key `p`, sees key `k`. */
type Predicate = (p: number, k: number, q: number, h: number) => boolean;

/**
 * Asserts that a mask has the extents of a size and keeps what a predicate says, with the arrays
 * that `fromFunction` makes of it, element by element.
 */
function assertKeeps(mask: BlockMask, size: BlockMaskSize, predicate: Predicate): void {
  const { queries, keys, batch, heads, height, width, offset } = complete(size);
  assertEquals(
    [mask.queries, mask.keys, mask.batch, mask.heads, ...mask.block],
    [queries, keys, batch, heads, height, width],
  );
  for (let b = 0; b < batch; b++) {
    for (let h = 0; h < heads; h++) {
      for (let q = 0; q < queries; q++) {
        for (let k = 0; k < keys; k++) {
          if (mask.keeps(b, h, q, k) === predicate(q + offset, k, q, h)) continue;
          throw new Error(`Batch ${b}, head ${h}, query ${q}, key ${k} of ${mask}`);
        }
      }
    }
  }
  const { offset: _, ...extents } = size;
  assertSame(mask, blockMask.fromFunction((_, h, q, k) => predicate(q + offset, k, q, h), extents));
}

function assertSame(mask: BlockMask, expected: BlockMask): void {
  const arraysOf = ({ batch, heads, starts, columns, mixed, bits }: BlockMask) =>
    Object.entries({ batch, heads, starts, columns, mixed, bits }).map(String);
  assertEquals(arraysOf(mask), arraysOf(expected));
}

/** Runs a property of random sizes and of what `given` makes. */
function check<T>(given: fc.Arbitrary<T>, holds: (size: BlockMaskSize, given: T) => void): void {
  fc.assert(fc.property(sizes, given, holds), always(80));
}

const nothing = fc.constant(undefined);

test("blockMask.causal() keeps the keys up to the query's own", () => {
  check(nothing, (size) => assertKeeps(blockMask.causal(size), size, (p, k) => k <= p));
});

test("blockMask.prefix() keeps a prefix too", () => {
  check(fc.integer({ min: 0, max: 45 }), (size, length) => {
    assertKeeps(blockMask.prefix(length, size), size, (p, k) => k <= p || k < length);
  });
});

const reach = fc.oneof(fc.integer({ min: 0, max: 30 }), fc.constantFrom(null, Infinity));

test("blockMask.window() keeps the keys on both sides of the query's own", () => {
  check(fc.tuple(reach, reach), (size, [left, right]) => {
    const inside: Predicate = (p, k) =>
      (left === null || k >= p - left) && (right === null || k <= p + right);
    assertKeeps(blockMask.window([left, right], size), size, inside);
  });
});

test("blockMask.dilated() keeps the keys of the window at multiples of a distance", () => {
  check(
    fc.record({ window: fc.tuple(reach, reach), dilation: fc.integer({ min: 1, max: 9 }) }),
    (size, pattern) => {
      const [left, right] = pattern.window;
      const inside: Predicate = (p, k) =>
        (left === null || k >= p - left) && (right === null || k <= p + right) &&
        Math.abs(p - k) % pattern.dilation === 0;
      assertKeeps(blockMask.dilated(pattern, size), size, inside);
    },
  );
});

test("blockMask.longformer() keeps a window and what global tokens see", () => {
  const given = fc.record({
    window: fc.integer({ min: 1, max: 20 }),
    dilation: fc.integer({ min: 1, max: 4 }),
    places: fc.array(fc.integer({ min: 0, max: 99 }), { maxLength: 4 }),
  }, { requiredKeys: ["window", "places"] });
  check(given, (size, { places, ...pattern }) => {
    const { keys } = complete(size);
    const global = keys === 0 ? [] : places.map((place) => Math.floor(place / 100 * keys));
    const { window, dilation = 1 } = pattern;
    const sees: Predicate = (p, k) =>
      global.includes(p) || global.includes(k) ||
      (Math.abs(p - k) % dilation === 0 && Math.abs(p - k) / dilation <= Math.floor(window / 2));
    assertKeeps(blockMask.longformer({ ...pattern, global }, size), size, sees);
    assertSame(
      blockMask.longformer({ ...pattern, global: Uint16Array.from(global) }, size),
      blockMask.longformer({ ...pattern, global }, size),
    );
  });
});

test("blockMask.document() keeps the keys of the query's document", () => {
  const ids = fc.array(fc.constantFrom(0, 1, 2, -1, 0.5), { maxLength: 70 });
  check(fc.tuple(ids, ids), ({ queries: _, keys: _k, offset: _o, ...size }, [queries, keys]) => {
    const sorted = queries.slice().sort((a, b) => a - b);
    for (const one of [queries, sorted]) {
      assertKeeps(
        blockMask.document(Float64Array.from(one), size),
        { ...size, queries: one.length },
        (_, k, q) => one[q] === one[k],
      );
    }
    assertKeeps(
      blockMask.document({ queries, keys }, size),
      { ...size, queries: queries.length, keys: keys.length },
      (_, k, q) => queries[q] === keys[k],
    );
  });
});

/** Key blocks: a query block's own, in which its first query stands, and that of a key. */
function blocksOf(size: BlockMaskSize) {
  const { keys, height, width, offset } = complete(size);
  return {
    count: Math.ceil(keys / width),
    own: (q: number) => Math.floor((q - q % height + offset) / width),
    of: (k: number) => Math.floor(k / width),
  };
}

test("blockMask.fromIndices() keeps the blocks that are listed", () => {
  const listed = fc.record({
    ...{ rank: fc.integer({ min: 2, max: 4 }), count: fc.integer({ min: 0, max: 5 }) },
    ...{ seed: fc.nat(), strided: fc.boolean() },
  });
  check(listed, (size, { rank, count, seed, strided }) => {
    const { queries, keys, height, width, ...whole4 } = complete(size), random = seeded(seed);
    const [queryBlocks, keyBlocks] = [Math.ceil(queries / height), Math.ceil(keys / width)];
    const batch = rank < 4 ? 1 : whole4.batch, heads = rank < 3 ? 1 : whole4.heads;
    const shape = [batch, heads, queryBlocks, count].slice(4 - rank);
    const step = strided ? 3 : 1, length = batch * heads * queryBlocks * count;
    const data = new Int32Array(length * step);
    for (let at = 0; at < length; at++) data[at * step] = whole(random, -1, keyBlocks - 1);
    const dense = shape.map((_, axis) => shape.slice(axis + 1).reduce((a, b) => a * b, 1));
    const mask = blockMask.fromIndices(
      { data, shape, strides: dense.map((stride) => stride * step) },
      { queries, keys, block: [height, width] },
    );
    const seen = (b: number, h: number, q: number) => {
      const row = (b * heads + h) * queryBlocks + Math.floor(q / height);
      return Array.from({ length: count }, (_, at) => data[(row * count + at) * step]);
    };
    const expected = blockMask.fromFunction(
      (b, h, q, k) => seen(b, h, q).includes(Math.floor(k / width)),
      { queries, keys, batch, heads, block: [height, width] },
    );
    assertSame(mask, expected);
  });
});

test("blockMask.fromIndices() refuses what is no list of blocks", async () => {
  const size = { queries: 8, keys: 12, block: 4 },
    i32 = (...shape: number[]) => ({
      ...{ data: new Int32Array(shape.reduce((a, b) => a * b, 1)), shape },
    });
  const must = "Cannot make a block mask: `indices` must";
  const refused: readonly (readonly [unknown, ErrorClass, string])[] = [
    [
      [0, 1],
      RangeError,
      `${must} have shape [2, n], with heads or batches and heads before, got [2]`,
    ],
    [
      i32(3, 1),
      RangeError,
      `${must} have shape [2, n], with heads or batches and heads before, got [3,1]`,
    ],
    [
      null,
      TypeError,
      `${must} have shape [2, n], with heads or batches and heads before, got null`,
    ],
    [i32(0, 2, 1), RangeError, `${must} have 1 to 4194304 batches times heads, got [0,2,1]`],
    [
      { data: Int32Array.of(0, 3), shape: [2, 1] },
      RangeError,
      `${must} be key blocks from 0 to before 3, or -1 for none, got 3 at index 1`,
    ],
    [
      { data: Float32Array.of(0, -2), shape: [2, 1] },
      RangeError,
      `${must} be key blocks from 0 to before 3, or -1 for none, got -2 at index 1`,
    ],
  ];
  for (const [indices, kind, message] of refused) {
    await assertRefused(() => blockMask.fromIndices(indices as never, size), kind, message);
  }
});

test("blockMask.butterfly() keeps blocks that differ in one bit", () => {
  check(nothing, (size) => {
    const { count, own, of } = blocksOf(size);
    const mask = blockMask.butterfly(size);
    assertKeeps(mask, size, (_, k, q) => {
      const i = own(q);
      return i >= 0 && i < count && (i ^ of(k)).toString(2).replaceAll("0", "").length <= 1;
    });
    assertEquals(mask.bits.length, 0);
  });
});

test("blockMask.bigbird() keeps a window of blocks and global ones", () => {
  const given = fc.record({
    window: fc.integer({ min: 1, max: 6 }),
    global: fc.integer({ min: 0, max: 3 }),
  });
  check(given, (size, { window, global }) => {
    const { count, own, of } = blocksOf(size);
    const mask = blockMask.bigbird({ windowBlocks: window, global, random: 0 }, size);
    assertKeeps(mask, size, (_, k, q) => {
      const isGlobal = (block: number) => block >= 0 && block < Math.min(global, count);
      return isGlobal(own(q)) || isGlobal(of(k)) ||
        Math.abs(own(q) - of(k)) <= Math.floor(window / 2);
    });
    assertEquals(mask.bits.length, 0);
  });
});

/** Key blocks of each row of blocks. */
function rowsOf({ starts, columns }: BlockMask): number[][] {
  return Array.from(
    starts.subarray(1),
    (end, row) => Array.from(columns.subarray(starts[row], end)),
  );
}

test("blockMask.bigbird() draws so many more blocks, each once, or all that are left", () => {
  const given = fc.record({
    windowBlocks: fc.integer({ min: 1, max: 6 }),
    global: fc.integer({ min: 0, max: 3 }),
    random: fc.integer({ min: 0, max: 12 }),
    seed: fc.constantFrom(0, 1, 2 ** 31, 2 ** 32 - 1),
  });
  check(given, (size, pattern) => {
    const { count } = blocksOf(size);
    const all = rowsOf(blockMask.bigbird(pattern, size));
    rowsOf(blockMask.bigbird({ ...pattern, random: 0 }, size)).forEach((fixed, row) => {
      assertEquals(all[row].length, Math.min(count, fixed.length + pattern.random));
      assert(fixed.every((column) => all[row].includes(column)));
      assert(all[row].every((column, at) => column < count && !(column <= all[row][at - 1])));
    });
  });
});

test("blockMask.bigbird() draws by seed, row and head, and the same for every batch", () => {
  const size = { queries: 32, block: 1, heads: 2, batch: 2 };
  const pattern = { windowBlocks: 1, global: 1, random: 3 };
  const make = (seed?: number) => rowsOf(blockMask.bigbird({ ...pattern, seed }, size));
  const mask = make(5);
  assertEquals(make(5), mask);
  assertEquals(make(), make(0));
  for (const seed of [0, 4, 6, 2 ** 31 + 5]) assertNotEquals(make(seed), mask);
  assertEquals(mask.slice(64), mask.slice(0, 64));
  assertNotEquals(mask.slice(32, 64), mask.slice(0, 32));
  // Beside its own block and the global one, each query block has others than the one before.
  const drawn = mask.slice(0, 32).map((row, own) => row.filter((k) => k !== 0 && k !== own));
  assert(new Set(drawn.slice(1).flat()).size > 16);
});

test("blockMask.bigbird() draws every block equally often", () => {
  const size = { queries: 12, block: 1, heads: 2000 };
  const rows = rowsOf(blockMask.bigbird({ windowBlocks: 3, global: 1, random: 3 }, size));
  const counts = new Array<number>(12).fill(0);
  // Query block 5 has the window 4 to 6, block 0 is global: 3 of 8 are drawn.
  rows.forEach((row, r) => r % 12 === 5 && row.forEach((column) => counts[column]++));
  counts.forEach((count, column) => {
    if ([0, 4, 5, 6].includes(column)) return assertEquals(count, 2000);
    // Six standard deviations of the binomial distribution.
    assert(Math.abs(count - 750) < 6 * Math.sqrt(2000 * 3 / 8 * 5 / 8), `${counts}`);
  });
});

test("blockMask.bigbird() takes its block size beside its pattern", () => {
  const pattern = { windowBlocks: 3, global: 1, random: 2, seed: 9 };
  assertSame(
    blockMask.bigbird({ ...pattern, block: [2, 4] }, { queries: 30, block: 16 }),
    blockMask.bigbird(pattern, { queries: 30, block: [2, 4] }),
  );
});

test("blockMask.fromFunction() asks about every element once", () => {
  const asked: string[] = [];
  const size = { queries: 2, keys: 3, batch: 2, heads: 2 };
  blockMask.fromFunction((...at) => asked.push(String(at)) > 0, size);
  assertEquals(new Set(asked).size, 24);
  assertEquals(asked.length, 24);
  assertEquals([asked[0], asked.at(-1)], ["0,0,0,0", "1,1,1,2"]);
});

test("blockMask.fromDense() reads bytes and bits of any rank and strides", () => {
  const given = fc.record({
    rank: fc.constantFrom(2, 3, 4),
    packed: fc.boolean(),
    transposed: fc.boolean(),
    offset: fc.constantFrom(undefined, 0, 1, 31, 40),
    seed: fc.integer(),
  });
  check(given, (size, { rank, packed, transposed, offset = 0, seed }) => {
    const { queries, keys, batch, heads, height, width } = complete(size);
    const shape = [batch, heads, queries, keys].slice(4 - rank);
    const count = shape.reduce((a, b) => a * b);
    const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((a, b) => a * b, 1));
    const random = seeded(seed);
    const bytes = Uint8Array.from({ length: offset + count }, () => whole(random, 0, 1) * 7);
    const words = new Uint32Array(Math.ceil(bytes.length / 32));
    bytes.forEach((byte, e) => words[Math.floor(e / 32)] += byte === 0 ? 0 : 2 ** (e % 32));
    // Queries and keys change places: the square of both must be the same array.
    if (transposed) [shape[rank - 2], shape[rank - 1]] = [keys, queries];
    if (transposed) strides.splice(rank - 2, 2, 1, keys);
    const at = (b: number, h: number, q: number, k: number) =>
      bytes[offset + [b, h, q, k].slice(4 - rank).reduce((e, i, axis) => e + i * strides[axis], 0)];
    const mask = blockMask.fromDense(
      { data: packed ? words : bytes, shape, strides: transposed ? strides : undefined, offset },
      { block: [height, width] },
    );
    const expected = blockMask.fromFunction((b, h, q, k) => at(b, h, q, k) !== 0, {
      batch: rank < 4 ? 1 : batch,
      heads: rank < 3 ? 1 : heads,
      queries: shape[rank - 2],
      keys: shape[rank - 1],
      block: [height, width],
    });
    assertSame(mask, expected);
    assertEquals([mask.queries, mask.keys], [expected.queries, expected.keys]);
  });
});

test("blockMask.fromDense() has blocks of 64 x 64 by default, and reads the highest bit", () => {
  const data = Uint32Array.of(0x8000_0001);
  const mask = blockMask.fromDense({ data, shape: [4, 8], dtype: "bit" });
  assertEquals(mask.block, [64, 64]);
  assertEquals([...mask.rowRuns(0, 0, 0), ...mask.rowRuns(0, 0, 3)], [[0, 1], [7, 8]]);
});

test("blockMask makes one mask however it is said", () => {
  const size = { queries: 70, keys: 90, block: [16, 24] } as const;
  const causal = blockMask.causal(size);
  assertSame(blockMask.window([null, 0], size), causal);
  assertSame(blockMask.window([Infinity, 0], size), causal);
  assertSame(blockMask.dilated({ window: [89, 0], dilation: 1 }, size), causal);
  assertSame(blockMask.prefix(0, size), causal);
  assertSame(blockMask.causal({ ...size, offset: 20, batch: 1, heads: 1 }), causal);
  const dense = Uint8Array.from({ length: 6300 }, (_, e) => Number(e % 90 <= e / 90 + 20));
  assertSame(blockMask.fromDense({ data: dense, shape: [70, 90] }, { block: [16, 24] }), causal);
  assertSame(blockMask.fromFunction((_b, _h, q, k) => k > q + 20, size).not(), causal);
});

test("blockMask draws its patterns", () => {
  const size = { queries: 8, block: 1 };
  const rows = (mask: BlockMask) => String(mask).split("\n").slice(1).join(" ");
  const pictures: [BlockMask, string][] = [
    [
      blockMask.causal({ queries: 5, keys: 2 }),
      "00 00 00 10 11",
    ],
    [
      blockMask.window([1, 1], { queries: 3, keys: 5, offset: 1 }),
      "11100 01110 00111",
    ],
    [
      blockMask.dilated({ window: [4, 2], dilation: 2 }, size),
      "10100000 01010000 10101000 01010100 10101010 01010101 00101010 00010101",
    ],
    [
      blockMask.prefix(3, size),
      "11100000 11100000 11100000 11110000 11111000 11111100 11111110 11111111",
    ],
    [
      blockMask.document([0, 0, 1, 1, 1, 0, 2, 2]),
      "11000100 11000100 00111000 00111000 00111000 11000100 00000011 00000011",
    ],
    [
      blockMask.longformer({ window: 3, global: [0] }, size),
      "11111111 11100000 11110000 10111000 10011100 10001110 10000111 10000011",
    ],
    [
      blockMask.longformer({ window: 2, dilation: 2 }, size),
      "10100000 01010000 10101000 01010100 00101010 00010101 00001010 00000101",
    ],
    [
      blockMask.bigbird({ windowBlocks: 3, global: 1, random: 0 }, size),
      "11111111 11100000 11110000 10111000 10011100 10001110 10000111 10000011",
    ],
    [
      blockMask.butterfly(size),
      "11101000 11010100 10110010 01110001 10001110 01001101 00101011 00010111",
    ],
    [
      blockMask.butterfly({ queries: 5, block: 1 }),
      "11101 11010 10110 01110 10001",
    ],
  ];
  for (const [mask, picture] of pictures) assertEquals(rows(mask), picture);
});

/** Calls that are refused: what, the class of the error, the message without its beginning. */
type Refusal = [act: () => unknown, Kind: ErrorClass, message: string];

async function assertAllRefused(refusals: Refusal[]): Promise<void> {
  for (const [act, Kind, message] of refusals) {
    await assertRefused(act, Kind, `Cannot make a block mask: ${message}`);
  }
}

test("blockMask takes a number as so many queries and keys", () => {
  const builders: ((size: BlockMaskSize | number) => BlockMask)[] = [
    (size) => blockMask.causal(size),
    (size) => blockMask.prefix(3, size),
    (size) => blockMask.window(5, size),
    (size) => blockMask.dilated({ window: [8, 2], dilation: 2 }, size),
    (size) => blockMask.longformer({ window: 9, global: [0] }, size),
    (size) => blockMask.bigbird({ block: 8, windowBlocks: 1, global: 1, random: 1 }, size),
    (size) => blockMask.butterfly(size),
    (size) => blockMask.fromFunction((_b, _h, q, k) => (q + k) % 3 > 0, size),
  ];
  for (const build of builders) {
    assertEquals(build(150).toPlain(), build({ queries: 150 }).toPlain());
  }
});

test("blockMask counts the keys of a window, the query's own among them", () => {
  const size = { queries: 40, block: 8 };
  for (const [count, side] of [[1, 0], [2, 1], [5, 2], [9, 4], [90, 45]]) {
    assertEquals(
      blockMask.window(count, size).toPlain(),
      blockMask.window([side, side], size).toPlain(),
    );
    assertEquals(
      blockMask.longformer({ window: count, dilation: 3 }, size).toPlain(),
      blockMask.dilated({ window: [side * 3, side * 3], dilation: 3 }, size).toPlain(),
    );
    assertEquals(
      blockMask.dilated({ window: count, dilation: 3 }, size).toPlain(),
      blockMask.dilated({ window: [side * 3, side * 3], dilation: 3 }, size).toPlain(),
    );
  }
});

test("blockMask refuses sizes of a wrong kind or value", async () => {
  const wrong: [unknown, ErrorClass, string][] = [
    [undefined, TypeError, "`size` must be an object, got undefined"],
    ["64", TypeError, '`size` must be an object, got "64"'],
    [-1, RangeError, "`queries` must be a whole number >= 0, got -1"],
    [0.5, RangeError, "`queries` must be a whole number >= 0, got 0.5"],
    [{}, TypeError, "`queries` must be a whole number >= 0, got undefined"],
    [{ queries: "4" }, TypeError, '`queries` must be a whole number >= 0, got "4"'],
    [{ queries: -1 }, RangeError, "`queries` must be a whole number >= 0, got -1"],
    [{ queries: 4, keys: 0.5 }, RangeError, "`keys` must be a whole number >= 0, got 0.5"],
    [{ queries: 4, keys: null }, TypeError, "`keys` must be a whole number >= 0, got null"],
    [{ queries: 4, batch: 0 }, RangeError, "`batch` must be a whole number >= 1, got 0"],
    [{ queries: 4, heads: NaN }, RangeError, "`heads` must be a whole number >= 1, got NaN"],
    [{ queries: 4, block: 0 }, RangeError, "`block` must be whole numbers >= 1, got 0"],
    [
      { queries: 4, block: [8, 1.5] },
      RangeError,
      "`block` must be whole numbers >= 1, got [8,1.5]",
    ],
    [
      { queries: 4, block: ["8", 8] },
      TypeError,
      '`block` must be a number or [queries, keys], got ["8",8]',
    ],
    [{ queries: 4, block: [8] }, TypeError, "`block` must be a number or [queries, keys], got [8]"],
    [{ queries: 4, block: "8" }, TypeError, '`block` must be a number or [queries, keys], got "8"'],
    [{ queries: 4, offset: 0.5 }, RangeError, "`offset` must be a whole number, got 0.5"],
    [{ queries: 4, offset: [1] }, TypeError, "`offset` must be a whole number, got Array"],
    [
      { queries: 4, blocks: 8 },
      TypeError,
      "unknown option `blocks`, known are queries, keys, batch, heads, block, offset; did you mean `block`?",
    ],
  ];
  const builders: ((size: BlockMaskSize) => unknown)[] = [
    (size) => blockMask.causal(size),
    (size) => blockMask.prefix(1, size),
    (size) => blockMask.window([1, 1], size),
    (size) => blockMask.dilated({ window: [1, 1], dilation: 2 }, size),
    (size) => blockMask.longformer({ window: 3, global: [0] }, size),
    (size) => blockMask.bigbird({ windowBlocks: 3, global: 1, random: 1 }, size),
    (size) => blockMask.butterfly(size),
  ];
  for (const build of builders) {
    await assertAllRefused(wrong.map(([size, ...error]) => [() => build(size as never), ...error]));
  }
});

test("blockMask refuses patterns of a wrong kind or value", async () => {
  const size = { queries: 10 };
  const { prefix, window, dilated, longformer, bigbird, document, fromFunction } = blockMask;
  const sides =
    "`window` must be [left, right] of whole numbers >= 0 or null, or how many keys, got ";
  const counted = "`window` must be a whole number of keys >= 1, or [left, right], got ";
  const bird = { windowBlocks: 3, global: 1, random: 1 };
  const ids = (given: unknown) => () => document(given as never);
  await assertAllRefused([
    [() => prefix(-1, size), RangeError, "`length` must be a whole number >= 0, got -1"],
    [
      () => prefix(size as never, size),
      TypeError,
      "`length` must be a whole number >= 0, got Object",
    ],
    [() => window("3" as never, size), TypeError, `${sides}"3"`],
    [() => window(0, size), RangeError, `${counted}0`],
    [() => dilated({ window: 2.5, dilation: 1 }, size), RangeError, `${counted}2.5`],
    [() => window([3] as never, size), TypeError, `${sides}[3]`],
    [() => window([3, undefined] as never, size), TypeError, `${sides}[3,undefined]`],
    [() => window([3, -1], size), RangeError, `${sides}[3,-1]`],
    [() => window([0.5, null], size), RangeError, `${sides}[0.5,null]`],
    [() => window([-Infinity, NaN], size), RangeError, `${sides}[-Infinity,NaN]`],
    [() => dilated(null as never, size), TypeError, "`pattern` must be an object, got null"],
    [
      () => dilated({ window: [1, 1], dilation: 0 }, size),
      RangeError,
      "`dilation` must be a whole number >= 1, got 0",
    ],
    [
      () => dilated({ window: [1, 1], dilatation: 1 } as never, size),
      TypeError,
      "unknown option `dilatation`, known are window, dilation; did you mean `dilation`?",
    ],
    [
      () => longformer({ window: 0 }, size),
      RangeError,
      "`window` must be a whole number >= 1, got 0",
    ],
    [
      () => longformer({ window: 3, dilation: 1.5 }, size),
      RangeError,
      "`dilation` must be a whole number >= 1, got 1.5",
    ],
    [
      () => longformer({ window: 3, global: 0 as never }, size),
      TypeError,
      "`global` must be an array of numbers, got 0",
    ],
    [
      () => longformer({ window: 3, global: [1, "2"] as never }, size),
      TypeError,
      '`global` must be an array of numbers, got "2" in it',
    ],
    [
      () => longformer({ window: 3, global: [1, 10] }, size),
      RangeError,
      "`global` must be a whole number from 0 to 9, got 10",
    ],
    [
      () => longformer({ window: 3, globals: [1] } as never, size),
      TypeError,
      "unknown option `globals`, known are window, dilation, global; did you mean `global`?",
    ],
    [
      () => bigbird({ ...bird, windowBlocks: 0 }, size),
      RangeError,
      "`windowBlocks` must be a whole number >= 1, got 0",
    ],
    [
      () => bigbird({ windowBlocks: 3, random: 1 } as never, size),
      TypeError,
      "`global` must be a whole number >= 0, got undefined",
    ],
    [
      () => bigbird({ ...bird, random: 1.5 }, size),
      RangeError,
      "`random` must be a whole number >= 0, got 1.5",
    ],
    [
      () => bigbird({ ...bird, seed: 2 ** 32 }, size),
      RangeError,
      "`seed` must be a whole number from 0 to 4294967295, got 4294967296",
    ],
    [
      () => bigbird({ ...bird, block: 0 }, size),
      RangeError,
      "`block` must be whole numbers >= 1, got 0",
    ],
    [
      () => bigbird({ ...bird, blocks: 3 } as never, size),
      TypeError,
      "unknown option `blocks`, known are block, windowBlocks, global, random, seed; did you mean `block`?",
    ],
    [ids(undefined), TypeError, "`ids` must be an array of numbers, got undefined"],
    [ids(5), TypeError, "`ids` must be an array of numbers, got 5"],
    [ids("0011"), TypeError, '`ids` must be an array of numbers, got "0011"'],
    [ids([0, , 1]), TypeError, "`ids` must be an array of numbers, got undefined in it"],
    [ids({ queries: [0] }), TypeError, "`ids.keys` must be an array of numbers, got undefined"],
    [ids({ queries: 1, keys: [0] }), TypeError, "`ids.queries` must be an array of numbers, got 1"],
    [
      () => document([0, 1], { queries: 2 } as never),
      TypeError,
      "unknown option `queries`, known are batch, heads, block",
    ],
    [
      () => document([0, 1], { block: -1 }),
      RangeError,
      "`block` must be whole numbers >= 1, got -1",
    ],
    [
      () => fromFunction(null as never, size),
      TypeError,
      "`keeps` must be a function, got null",
    ],
    [
      () => fromFunction(() => true, { ...size, offset: 1 } as never),
      TypeError,
      "unknown option `offset`, known are queries, keys, batch, heads, block",
    ],
  ]);
});

test("blockMask.fromDense() refuses what is no mask", async () => {
  const data = new Uint8Array(6), shape = [2, 3];
  const cases: [unknown, ErrorClass, string][] = [
    [
      data,
      TypeError,
      "unknown option `0`, known are data, shape, dtype, strides, offset; " +
      "an array stands there; `tensor()` makes tensors of arrays",
    ],
    [null, TypeError, "`mask` must be an object, got null"],
    [
      { data: [0, 1], shape: [1, 2] },
      TypeError,
      "`mask.data` must be a Uint8Array or Uint32Array, got Array",
    ],
    [
      { data, shape, dtype: "bit" },
      TypeError,
      '`mask.dtype` must be u8 for a Uint8Array, got "bit"',
    ],
    [
      { data: new Uint32Array(1), shape, dtype: "u8" },
      TypeError,
      '`mask.dtype` must be bit for a Uint32Array, got "u8"',
    ],
    [{ data }, TypeError, "`mask.shape` must be an array, got undefined"],
    [{ data, shape: [2, -3] }, RangeError, "`mask.shape` must hold whole numbers >= 0, got [2,-3]"],
    [
      { data, shape: [6] },
      RangeError,
      "`mask` must have rank 2 [Nq, Nk], 3 [H, Nq, Nk] or 4 [B, H, Nq, Nk], got [6]",
    ],
    [
      { data, shape: [1, 1, 1, 2, 3] },
      RangeError,
      "`mask` must have rank 2 [Nq, Nk], 3 [H, Nq, Nk] or 4 [B, H, Nq, Nk], got [1,1,1,2,3]",
    ],
    [
      { data, shape, strides: 3 },
      TypeError,
      "`mask.strides` must be an array of whole numbers >= 0, got 3",
    ],
    [
      { data, shape, strides: [3, -1] },
      TypeError,
      "`mask.strides` must be an array of whole numbers >= 0, got [3,-1]",
    ],
    [
      { data, shape, strides: [1] },
      RangeError,
      "`mask.strides` must have one number per axis of [2,3], got [1]",
    ],
    [{ data, shape, offset: -1 }, RangeError, "`mask.offset` must be a whole number >= 0, got -1"],
    [
      { data, shape, offset: 1 },
      RangeError,
      "`mask` with shape [2,3], strides [3,1] and offset 1 needs 7 elements, `data` has 6",
    ],
    [
      { data: new Uint32Array(2), shape: [5, 13] },
      RangeError,
      "`mask` with shape [5,13], strides [13,1] and offset 0 needs 65 elements, `data` has 64",
    ],
    [
      { data, shape: [0, 1, 2, 3] },
      RangeError,
      "`batch` must be a whole number >= 1, got 0",
    ],
  ];
  await assertAllRefused(
    cases.map(([mask, ...error]) => [() => blockMask.fromDense(mask as never), ...error]),
  );
  await assertAllRefused([
    [
      () => blockMask.fromDense({ data, shape }, { block: 0 }),
      RangeError,
      "`block` must be whole numbers >= 1, got 0",
    ],
    [
      () => blockMask.fromDense({ data, shape }, { queries: 2 } as never),
      TypeError,
      "unknown option `queries`, known are block",
    ],
  ]);
});
