import { type BlockMask, blockMask } from "@flashtile/attention";
import { assert, assertEquals } from "@std/assert";
import { assertSameBits } from "../support/bits.ts";
import { emptyRows, expectation, resultsOf } from "../support/exact.ts";
import { type Meaning, type Problem, randomProblem, sizesOf } from "../support/problem.ts";
import { seeded } from "../support/random.ts";
import { type BackendUnderTest, contract } from "./backends.ts";

/** A problem over several blocks of most sizes, with groups. */
const problem = randomProblem(
  sizesOf({ B: 2, Hq: 4, Hkv: 2, Nq: 70, Nk: 90, D: 8, Dv: 6 }),
  1,
);

const extents = { queries: 70, keys: 90 };

/** Sizes of blocks: they divide the extents or not, end with bytes or not, are larger than all. */
const blocks: readonly [number, number][] = [
  [64, 64],
  [35, 45],
  [16, 16],
  [8, 24],
  [7, 13],
  [1, 90],
  [70, 1],
  [3, 100],
  [128, 128],
];

/** A block mask drawn element by element: whole blocks, skipped ones and mixed ones. */
function drawn(
  size: { queries: number; keys: number; batch?: number; heads?: number },
  block: readonly [number, number],
  seed: number,
): BlockMask {
  const random = seeded(seed), kinds = new Map<string, number>();
  return blockMask.fromFunction((b, h, query, key) => {
    const place = [b, h, Math.floor(query / block[0]), Math.floor(key / block[1])].join();
    if (!kinds.has(place)) kinds.set(place, random());
    const kind = kinds.get(place)!;
    return kind < 0.3 || kind < 0.7 && random() < 0.5;
  }, { ...size, block });
}

/** The mask that keeps the same as a block mask, element by element. */
function dense(mask: BlockMask) {
  const { batch, heads, queries, keys } = mask, shape = [batch, heads, queries, keys];
  const data = Uint8Array.from({ length: batch * heads * queries * keys }, (_, at) => {
    const i = Math.floor(at / keys), h = Math.floor(i / queries), b = Math.floor(h / heads);
    return Number(mask.keeps(b, h % heads, i % queries, at % keys));
  });
  return { data, shape };
}

/** Masks that are also options of their own, and those options. */
const named: Record<string, (block: [number, number]) => [BlockMask, Meaning]> = {
  "causal": (block) => [blockMask.causal({ ...extents, block }), { causal: true }],
  "causal, top-left": (block) => [
    blockMask.causal({ ...extents, block, offset: 0 }),
    { causal: "top-left" },
  ],
  "causal with an offset": (block) => [
    blockMask.causal({ ...extents, block, offset: -30 }),
    { causal: true, offset: -30 },
  ],
  "a window": (block) => [
    blockMask.window([9, 2], { ...extents, block }),
    { window: [9, 2] },
  ],
  "a window that looks back": (block) => [
    blockMask.window([5, null], { ...extents, block, offset: 80 }),
    { window: [5, null], offset: 80 },
  ],
};

for (const [name, make] of Object.entries(named)) {
  const check = expectation(problem, make([64, 64])[1]);
  contract(`attention() keeps by blocks what the option keeps: ${name}`, async (engine) => {
    for (const block of blocks) {
      const [mask, option] = make(block), what = `in blocks of ${block}`;
      const byBlocks = await resultsOf(engine, problem, { blockMask: mask });
      check(byBlocks, what);
      const byOption = await resultsOf(engine, problem, option);
      assertEquals(emptyRows(byBlocks.lse), emptyRows(byOption.lse), what);
    }
  }, { daily: 1 / 3 });
}

for (const block of blocks) {
  const own = [1, 2].flatMap((batch) =>
    [1, 4].map((heads) => drawn({ ...extents, batch, heads }, block, 2))
  );
  const checks = own.map((mask) => expectation(problem, { mask: dense(mask) }));
  contract(
    `attention() keeps what a mask keeps, in blocks of ${block[0]} x ${block[1]}`,
    async (engine) => {
      for (const [at, mask] of own.entries()) {
        const what = `of ${mask.batch} batches and ${mask.heads} heads`;
        checks[at](await resultsOf(engine, problem, { blockMask: mask }), what);
      }
    },
  );
}

/** Whether the bits are those of the call without blocks, where all keys are one run. */
function isExact({ lacks }: BackendUnderTest): boolean {
  return lacks?.sameBitsForFewRows === undefined;
}

const checkWhole = expectation(problem, {});

contract("attention() takes a whole block mask as none", async (engine, backend) => {
  const expected = await resultsOf(engine, problem, {});
  for (const block of blocks) {
    const mask = blockMask.prefix(90, { ...extents, block });
    const { out, lse } = await resultsOf(engine, problem, { blockMask: mask });
    checkWhole({ out, lse }, `in blocks of ${block}`);
    if (!isExact(backend)) continue;
    assertSameBits(out, expected.out, `out in blocks of ${block}`);
    assertSameBits(lse, expected.lse, `lse in blocks of ${block}`);
  }
});

contract("attention() gives the same bits for a mask of each head, all alike", async (engine) => {
  for (const block of blocks) {
    const shared = blockMask.window([20, 7], { ...extents, block });
    const expected = await resultsOf(engine, problem, { blockMask: shared });
    for (const [batch, heads] of [[2, 1], [1, 4], [2, 4]]) {
      const mask = blockMask.window([20, 7], { ...extents, block, batch, heads });
      const { out, lse } = await resultsOf(engine, problem, { blockMask: mask });
      const what = `of ${batch} batches and ${heads} heads in blocks of ${block}`;
      assertSameBits(out, expected.out, `out ${what}`);
      assertSameBits(lse, expected.lse, `lse ${what}`);
    }
  }
});

contract("attention() gives each query head of a group its own blocks", async (engine) => {
  const mask = blockMask.fromFunction((_b, h, _q, key) => key % 4 === h, {
    ...extents,
    heads: 4,
    block: 8,
  });
  const { Nq, Nk, Dv } = problem.sizes;
  const v = problem.v.map((_, at) => Math.floor(at / Dv) % Nk % 4);
  const { out } = await resultsOf(engine, { ...problem, v }, { blockMask: mask });
  out.forEach((x, at) => {
    const head = Math.floor(at / Dv / Nq) % 4;
    assert(Math.abs(x - head) < 1e-5, `${x} in head ${head}`);
  });
});

contract("attention() gives zero and -Infinity for rows that no block keeps", async (engine) => {
  const { B, Hq, Nq, Dv } = problem.sizes;
  const none = blockMask.fromFunction(() => false, extents);
  const { out, lse } = await resultsOf(engine, problem, { blockMask: none });
  assertSameBits(out, new Float32Array(B * Hq * Nq * Dv));
  assertSameBits(lse, new Float32Array(B * Hq * Nq).fill(-Infinity));
  const sinks = { data: Float32Array.of(1, 2, 3, 4), shape: [4] };
  const withSinks = await resultsOf(engine, problem, { blockMask: none, sinks });
  assertSameBits(withSinks.out, out);
  assertSameBits(withSinks.lse, lse.map((_, row) => Math.floor(row / Nq) % Hq + 1));
});

/** A problem with keys, and their values, overwritten. */
function poisoned(
  { sizes, q, k, v }: Problem,
  poison: number,
  isBad: (b: number, keyHead: number, j: number) => boolean,
): Problem {
  const { Hkv, Nk, D, Dv } = sizes;
  const overwrite = (data: Float32Array, width: number) =>
    data.map((x, at) => {
      const row = Math.floor(at / width), head = Math.floor(row / Nk);
      return isBad(Math.floor(head / Hkv), head % Hkv, row % Nk) ? poison : x;
    });
  return { sizes, q, k: overwrite(k, D), v: overwrite(v, Dv) };
}

contract(
  "attention() lets nothing out of skipped blocks, or of skipped keys in others",
  async (engine) => {
    for (const block of blocks) {
      const kept = drawn({ ...extents, batch: 2, heads: 4 }, block, 4);
      // A third of the keys is skipped by the queries of all heads, block by block or one by one.
      const hidden = (j: number) => (block[1] > 8 ? Math.floor(j / block[1]) : j) % 3 === 1;
      const seen = blockMask.fromFunction((_b, _h, _q, key) => !hidden(key), { ...extents, block });
      const mask = kept.and(seen);
      const expected = await resultsOf(engine, problem, { blockMask: mask });
      for (const poison of [NaN, Infinity, -Infinity]) {
        const bad = poisoned(problem, poison, (_b, _h, j) => hidden(j));
        const { out, lse } = await resultsOf(engine, bad, { blockMask: mask });
        assertSameBits(out, expected.out, `out, ${poison} in blocks of ${block}`);
        assertSameBits(lse, expected.lse, `lse, ${poison} in blocks of ${block}`);
      }
    }
  },
);

contract("attention() keeps a NaN to the rows whose blocks keep it", async (engine) => {
  const { Hq, Hkv, Nq, Dv } = problem.sizes;
  for (const block of blocks) {
    const mask = drawn({ ...extents, batch: 2, heads: 4 }, block, 5);
    const expected = await resultsOf(engine, problem, { blockMask: mask });
    for (const j of [0, 44, 89]) {
      const bad = poisoned(problem, NaN, (b, head, key) => b === 1 && head === 0 && key === j);
      const { out, lse } = await resultsOf(engine, bad, { blockMask: mask });
      const sees = (row: number) => {
        const i = row % Nq, h = Math.floor(row / Nq) % Hq, b = Math.floor(row / Nq / Hq);
        return b === 1 && Math.floor(h * Hkv / Hq) === 0 && mask.keeps(b, h, i, j);
      };
      const what = `key ${j} in blocks of ${block}`;
      const withNaN = expected.out.map((x, at) => sees(Math.floor(at / Dv)) ? NaN : x);
      assertSameBits(out, withNaN, `out, ${what}`);
      assertSameBits(lse, expected.lse.map((x, row) => sees(row) ? NaN : x), `lse, ${what}`);
    }
  }
});

/** Sequences of 70 queries and 90 keys in all, whose bounds are within blocks. */
const cuSeqlens = { q: [0, 5, 5, 40, 41, 70], k: [0, 20, 21, 60, 60, 90] };
const one = randomProblem(sizesOf({ Hq: 4, Hkv: 2, Nq: 70, Nk: 90, D: 8, Dv: 6 }), 6);

for (const block of blocks) {
  const masks = [1, 4].map((heads) => drawn({ ...extents, heads }, block, 7));
  const meanings = masks.map((mask): Meaning => ({ blockMask: mask, cuSeqlens, causal: true }));
  const checks = meanings.map((meaning) => expectation(one, meaning));
  contract(
    `attention() takes blocks over packed sequences, of ${block[0]} x ${block[1]}`,
    async (engine) => {
      for (const [at, meaning] of meanings.entries()) {
        checks[at](await resultsOf(engine, one, meaning), `of ${masks[at].heads} heads`);
      }
    },
  );
}

contract("attention() sees documents of a block mask as packed sequences", async (engine) => {
  const ids = { queries: new Array<number>(70), keys: new Array<number>(90) };
  for (const [name, ends] of [["queries", cuSeqlens.q], ["keys", cuSeqlens.k]] as const) {
    for (const [id, from] of ends.entries()) ids[name].fill(id, from);
  }
  const check = expectation(one, { cuSeqlens });
  for (const block of blocks) {
    const mask = blockMask.document(ids, { block });
    check(await resultsOf(engine, one, { blockMask: mask }), `in blocks of ${block}`);
  }
});

/** A block mask with every other option. */
const withAll = (() => {
  const random = seeded(8), { B, Hq, Nq, Nk } = problem.sizes;
  const meaning: Meaning = {
    ...{ causal: true, window: [60, 5], kvLengths: [80, 33], softcap: 3 },
    alibi: { data: Float32Array.of(0.1, 0.2, 0.3, 0.4), shape: [Hq] },
    bias: { data: Float32Array.from({ length: Hq * Nq * Nk }, random), shape: [Hq, Nq, Nk] },
    mask: {
      data: Uint8Array.from({ length: B * Hq * Nk }, () => Number(random() < 0.8)),
      shape: [B, Hq, 1, Nk],
    },
    sinks: { data: Float32Array.of(0, 1, -1, 2), shape: [Hq] },
  };
  return blocks.flatMap((block) =>
    [1, 4].map((heads) => {
      const all = { ...meaning, blockMask: drawn({ ...extents, heads }, block, 9) };
      return { all, check: expectation(problem, all), what: `${heads} heads, blocks of ${block}` };
    })
  );
})();

contract(
  "attention() takes a block mask with bands, lengths, bias, mask and sinks",
  async (engine) => {
    for (const { all, check, what } of withAll) {
      check(await resultsOf(engine, problem, all), what);
    }
  },
  { daily: 1 / 3 },
);

/** Few queries against many keys. */
const decoding = randomProblem(sizesOf({ B: 6, Hq: 8, Hkv: 2, Nq: 4, Nk: 8192, D: 16 }), 10);

/** Sparse masks for them. */
const sparse: Record<string, BlockMask> = {
  "causal": blockMask.causal({ queries: 4, keys: 8192 }),
  "a window": blockMask.window([3000, 0], { queries: 4, keys: 8192 }),
  "a window and global keys": blockMask.longformer({ window: 512, global: [0, 5000] }, {
    queries: 4,
    keys: 8192,
  }),
  "drawn for each head": drawn({ queries: 4, keys: 8192, heads: 8 }, [2, 128], 11),
};

for (const [name, mask] of Object.entries(sparse)) {
  const check = expectation(decoding, { blockMask: mask });
  contract(
    `attention() takes blocks of 8,192 keys for few queries: ${name}`,
    async (engine) => check(await resultsOf(engine, decoding, { blockMask: mask })),
    { daily: 1 / 3 },
  );
}

/** Groups of many heads whose blocks have odd numbers of bytes. */
const groups = [[17, 5, 2000], [9, 7, 2700], [29, 5, 1200]].map(([group, Nq, D]) => {
  const given = randomProblem(sizesOf({ Hq: 2 * group, Hkv: 2, Nq, Nk: 24, D, Dv: D }), 12);
  const random = seeded(13), block: [number, number] = [Nq, 8];
  const mask = blockMask.fromFunction(
    (_b, _h, _q, key) => Math.floor(key / 8) !== 1 && random() < 0.5,
    { queries: Nq, keys: 24, heads: 2 * group, block },
  );
  return { group, given, mask, check: expectation(given, { blockMask: mask }) };
});

for (const { group, given, mask, check } of groups) {
  contract(
    `attention() keeps apart the odd blocks of ${group} heads that share one`,
    async (engine) => check(await resultsOf(engine, given, { blockMask: mask })),
    { daily: 1 / 3 },
  );
}
