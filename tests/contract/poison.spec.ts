import { blockMask, type Engine } from "@flashtile/attention";
import { referenceAttention } from "@flashtile/attention/reference";
import { assertSameBits } from "../support/bits.ts";
import {
  type Inputs,
  inputsOf,
  type Meaning,
  type Problem,
  randomProblem,
  shapesOf,
  type Sizes,
  sizesOf,
} from "../support/problem.ts";
import { resident, type ResidentTensor } from "../support/resident.ts";
import { contract } from "./backends.ts";

/** Numbers that spread to all that they touch. */
const poisons = [NaN, Infinity, -Infinity] as const;

/** A NaN of each kind of bits: quiet and signalling, both signs, payloads low and high. */
const nanBits = [
  ...[0x7fc00000, 0xffc00000, 0x7f800001, 0xff800001, 0x7fc00001, 0xffc00001],
  ...[0x7fffffff, 0xffffffff, 0x7fc000ff, 0x7fc001ff, 0x7fe00000, 0xfff00200],
];

/** A problem with some key rows, and value rows, overwritten. */
function poisoned(
  problem: Problem,
  names: readonly ("k" | "v")[],
  keys: (b: number, head: number, j: number) => boolean,
  poison: number,
): Problem {
  const { Hkv, Nk, D, Dv } = problem.sizes;
  const overwrite = (data: Float32Array, width: number) =>
    data.map((x, at) => {
      const row = Math.floor(at / width), j = row % Nk, head = Math.floor(row / Nk);
      return keys(Math.floor(head / Hkv), head % Hkv, j) ? poison : x;
    });
  return {
    ...problem,
    ...(names.includes("k") && { k: overwrite(problem.k, D) }),
    ...(names.includes("v") && { v: overwrite(problem.v, Dv) }),
  };
}

/** 1 where a number is NaN. */
function whereNaN(data: ArrayLike<number>): number[] {
  return Array.from(data, (x) => Number.isNaN(x) ? 1 : 0);
}

/** Where the inputs live: an engine may read its own memory in another way. */
const places: Record<string, (engine: Engine, inputs: Inputs) => Inputs & { free(): void }> = {
  "host arrays": (_, inputs) => ({ ...inputs, free: () => {} }),
  "its own memory": (engine, { q, k, v }) => {
    const held: ResidentTensor[] = [q, k, v].map((tensor) => resident(engine, tensor));
    return { q: held[0], k: held[1], v: held[2], free: () => held.forEach((one) => one.free()) };
  },
};

/** Whether a key is hidden from a row. */
type Hides = (row: number, j: number) => boolean;
const always: Hides = (_row, j) => j % 3 === 1, rowByRow: Hides = (row, j) => (row + j) % 3 === 1;

/** `[Nq, Nk]` numbers: one where a key is hidden, another elsewhere. */
function overScores<A extends Uint8Array | Float32Array>(
  { Nq, Nk }: Sizes,
  hidden: Hides,
  into: (length: number) => A,
  [yes, no]: readonly [number, number],
) {
  const data = into(Nq * Nk);
  data.forEach((_, at) => data[at] = hidden(Math.floor(at / Nk), at % Nk) ? yes : no);
  return { data, shape: [Nq, Nk] };
}

function bytesThat(sizes: Sizes, hidden: Hides) {
  return overScores(sizes, hidden, (length) => new Uint8Array(length), [0, 1]);
}

function biasThat(sizes: Sizes, hidden: Hides) {
  return overScores(sizes, hidden, (length) => new Float32Array(length), [-Infinity, 0.5]);
}

/** Ways to hide keys that are no bands. */
const ways: Record<string, (sizes: Sizes, hidden: Hides) => Meaning> = {
  "a mask": (sizes, hidden) => ({ mask: bytesThat(sizes, hidden) }),
  "a mask of bits": (sizes, hidden) => {
    const { data, shape } = bytesThat(sizes, hidden);
    const words = new Uint32Array(Math.ceil(data.length / 32));
    data.forEach((kept, at) => words[at >> 5] |= kept << (at & 31));
    return { mask: { data: words, shape } };
  },
  "a bias": (sizes, hidden) => ({ bias: biasThat(sizes, hidden) }),
  "a block mask": (sizes, hidden) => ({
    blockMask: blockMask.fromFunction((_b, _h, query, key) => !hidden(query, key), {
      queries: sizes.Nq,
      keys: sizes.Nk,
      block: [8, 16],
    }),
  }),
  "a mask or a bias": (sizes, hidden) => ({
    mask: bytesThat(sizes, (row, j) => hidden(row, j) && j % 2 === 0),
    bias: biasThat(sizes, (row, j) => hidden(row, j) && j % 2 === 1),
    alibi: { data: new Float32Array(sizes.Hq).fill(0.1), shape: [sizes.Hq] },
    softcap: 5,
    sinks: { data: new Float32Array(sizes.Hq).fill(0.1), shape: [sizes.Hq] },
  }),
};

/** Sizes where keys of every tile are masked for some rows and seen by others. */
const masked = [
  sizesOf({ Hq: 4, Hkv: 2, Nq: 9, Nk: 13, D: 5, Dv: 3 }),
  sizesOf({ B: 2, Hq: 2, Nq: 70, Nk: 70, D: 8 }),
  sizesOf({ Nq: 21, Nk: 300, D: 12, Dv: 5 }),
  sizesOf({ Hq: 2, Hkv: 1, Nq: 300, Nk: 20, D: 4, Dv: 9 }),
];

for (const [place, put] of Object.entries(places)) {
  const needs = place === "its own memory" ? "hostTensors" : undefined;
  contract(
    `attention() lets no poison out of keys that no row sees, in ${place}`,
    async (engine) => {
      for (const sizes of masked) {
        const clean = randomProblem(sizes, 1);
        const offset = Math.min(0, sizes.Nk - sizes.Nq) - 2; // The last keys are seen by no row.
        const options = { causal: true, offset, lse: true } as const;
        const c = put(engine, inputsOf(clean));
        const expected = await engine.attention(c.q, c.k, c.v, options);
        for (const poison of poisons) {
          const unseen = (_b: number, _head: number, j: number) => j > sizes.Nq - 1 + offset;
          const p = put(engine, inputsOf(poisoned(clean, ["k", "v"], unseen, poison)));
          const { out, lse } = await engine.attention(p.q, p.k, p.v, options);
          assertSameBits(out.data, expected.out.data, `out with ${poison}`);
          assertSameBits(lse.data, expected.lse.data, `lse with ${poison}`);
          p.free();
        }
        c.free();
      }
    },
    { needs },
  );

  for (const [way, hide] of Object.entries(ways)) {
    contract(
      `attention() lets no poison out of keys that ${way} hides, in ${place}`,
      async (engine) => {
        for (const sizes of masked) {
          const clean = randomProblem(sizes, 1),
            options = { ...hide(sizes, always), lse: true } as const;
          const c = put(engine, inputsOf(clean));
          const expected = await engine.attention(c.q, c.k, c.v, options);
          for (const poison of poisons) {
            const hidden = (_b: number, _head: number, j: number) => always(0, j);
            const p = put(engine, inputsOf(poisoned(clean, ["k", "v"], hidden, poison)));
            const { out, lse } = await engine.attention(p.q, p.k, p.v, options);
            assertSameBits(out.data, expected.out.data, `out with ${poison}`);
            assertSameBits(lse.data, expected.lse.data, `lse with ${poison}`);
            p.free();
          }
          c.free();
        }
      },
      { needs },
    );

    contract(
      `attention() keeps a NaN to the rows from which ${way} does not hide it, in ${place}`,
      async (engine) => {
        for (const sizes of masked) {
          const { Nq, Nk, Dv, Hq, Hkv, B } = sizes, clean = randomProblem(sizes, 2);
          const options = { ...hide(sizes, rowByRow), lse: true } as const;
          const c = put(engine, inputsOf(clean));
          const expected = await engine.attention(c.q, c.k, c.v, options);
          for (const j of [0, Nk >> 1, Nk - 1]) {
            const there = (b: number, head: number, key: number) =>
              b === B - 1 && head === Hkv - 1 && key === j;
            const p = put(engine, inputsOf(poisoned(clean, ["k", "v"], there, NaN)));
            const { out, lse } = await engine.attention(p.q, p.k, p.v, options);
            const sees = (row: number) => {
              const b = Math.floor(row / (Hq * Nq)), head = Math.floor(row / Nq) % Hq;
              return there(b, Math.floor(head * Hkv / Hq), j) && !rowByRow(row % Nq, j);
            };
            const withNaN = expected.out.data.map((x, at) => sees(Math.floor(at / Dv)) ? NaN : x);
            assertSameBits(out.data, withNaN, `out with NaN at key ${j}`);
            const lseWithNaN = expected.lse.data.map((x, row) => sees(row) ? NaN : x);
            assertSameBits(lse.data, lseWithNaN, `lse with NaN at key ${j}`);
            p.free();
          }
          c.free();
        }
      },
      { needs },
    );
  }

  contract(`attention() keeps a NaN to the rows that see it, in ${place}`, async (engine) => {
    for (const sizes of masked) {
      const { Nq, Nk, Dv, Hq, Hkv } = sizes;
      const clean = randomProblem(sizes, 2);
      const options = { causal: true, lse: true } as const;
      const c = put(engine, inputsOf(clean));
      const expected = await engine.attention(c.q, c.k, c.v, options);
      for (const j of [0, 1, Nk >> 1, Nk - 2, Nk - 1]) {
        for (const name of ["k", "v"] as const) {
          const there = (b: number, head: number, key: number) =>
            b === sizes.B - 1 && head === Hkv - 1 && key === j;
          const p = put(engine, inputsOf(poisoned(clean, [name], there, NaN)));
          const { out, lse } = await engine.attention(p.q, p.k, p.v, options);
          const sees = (row: number) => {
            const b = Math.floor(row / (Hq * Nq)), head = Math.floor(row / Nq) % Hq;
            const there = b === sizes.B - 1 && Math.floor(head * Hkv / Hq) === Hkv - 1;
            return there && j <= row % Nq + Nk - Nq;
          };
          const withNaN = expected.out.data.map((x, at) => sees(Math.floor(at / Dv)) ? NaN : x);
          assertSameBits(out.data, withNaN, `out with NaN at key ${j} of ${name}`);
          const lseWithNaN = expected.lse.data.map((x, row) => name === "k" && sees(row) ? NaN : x);
          assertSameBits(lse.data, lseWithNaN, `lse with NaN at key ${j} of ${name}`);
          p.free();
        }
      }
      c.free();
    }
  }, { needs });
}

contract("attention() keeps a NaN in one value to its column", async (engine) => {
  const problem = randomProblem(sizesOf({ Nq: 20, Nk: 20, D: 4, Dv: 7 }), 3);
  const options = { causal: true } as const;
  const clean = inputsOf(problem);
  const { out: expected } = await engine.attention(clean.q, clean.k, clean.v, options);
  problem.v[9 * 7 + 5] = NaN;
  const { out } = await engine.attention(clean.q, clean.k, clean.v, options);
  const withNaN = expected.data.map((x, at) => at % 7 === 5 && at >= 9 * 7 ? NaN : x);
  assertSameBits(out.data, withNaN);
});

contract("attention() keeps a NaN in a query to its row", async (engine) => {
  const problem = randomProblem(sizesOf({ Hq: 2, Hkv: 1, Nq: 20, Nk: 15, D: 6 }), 4);
  const { q, k, v } = inputsOf(problem);
  const { out: clean, lse: cleanLse } = await engine.attention(q, k, v, { lse: true });
  problem.q[13 * 6 + 2] = NaN;
  const { out, lse } = await engine.attention(q, k, v, { lse: true });
  assertSameBits(out.data, clean.data.map((x, at) => Math.floor(at / 6) === 13 ? NaN : x));
  assertSameBits(lse.data, cleanLse.data.map((x, row) => row === 13 ? NaN : x));
});

contract(
  "attention() gives zero for a row that sees no key, even of a NaN query",
  async (engine) => {
    const { q, k, v } = inputsOf(randomProblem(sizesOf({ Nq: 5, Nk: 3, D: 4 }), 5));
    q.data.fill(NaN);
    const { out, lse } = await engine.attention(q, k, v, { causal: true, lse: true });
    assertSameBits(out.data, Float32Array.from({ length: 20 }, (_, at) => at < 8 ? 0 : NaN));
    assertSameBits(lse.data, [-Infinity, -Infinity, NaN, NaN, NaN]);
  },
);

contract("attention() gives NaN for a NaN of any bits", async (engine) => {
  for (const bits of nanBits) {
    for (const name of ["q", "k", "v"] as const) {
      const problem = randomProblem(sizesOf({ Nq: 9, Nk: 11, D: 4, Dv: 4 }), 6);
      const { q, k, v } = inputsOf(problem);
      new Uint32Array(problem[name].buffer)[5] = bits;
      const { out, lse } = await engine.attention(q, k, v, { lse: true });
      const exact = referenceAttention(q, k, v);
      const what = `0x${bits.toString(16)} in ${name}`;
      assertSameBits(whereNaN(out.data), whereNaN(exact.out.data), `out, ${what}`);
      assertSameBits(whereNaN(lse.data), whereNaN(exact.lse.data), `lse, ${what}`);
    }
  }
});

contract("attention() lets no NaN of any bits out of masked keys", async (engine) => {
  const clean = randomProblem(sizesOf({ Nq: 9, Nk: 9, D: 4, Dv: 4 }), 7);
  const options = { causal: true, offset: -2, lse: true } as const;
  const c = inputsOf(clean);
  const expected = await engine.attention(c.q, c.k, c.v, options);
  for (const bits of nanBits) {
    const { q, k, v } = inputsOf({ ...clean, k: clean.k.slice(), v: clean.v.slice() });
    for (const { data } of [k, v]) new Uint32Array(data.buffer).fill(bits, 7 * 4);
    const { out, lse } = await engine.attention(q, k, v, options);
    assertSameBits(out.data, expected.out.data, `0x${bits.toString(16)}`);
    assertSameBits(lse.data, expected.lse.data, `0x${bits.toString(16)}`);
  }
});

/** Zero, or the number itself where it is not finite. */
function notFinite(data: ArrayLike<number>): number[] {
  return Array.from(data, (x) => Number.isFinite(x) ? 0 : x);
}

contract("attention() gives what the formula gives for infinities", async (engine) => {
  for (const name of ["q", "k", "v"] as const) {
    for (const infinity of [Infinity, -Infinity]) {
      const problem = randomProblem(sizesOf({ Nq: 10, Nk: 12, D: 3, Dv: 5 }), 8);
      const { q, k, v } = inputsOf(problem);
      problem[name][7] = infinity;
      const { out, lse } = await engine.attention(q, k, v, { causal: true, lse: true });
      const exact = referenceAttention(q, k, v, { causal: true });
      assertSameBits(notFinite(out.data), notFinite(exact.out.data), `out, ${infinity} in ${name}`);
      assertSameBits(notFinite(lse.data), notFinite(exact.lse.data), `lse, ${infinity} in ${name}`);
    }
  }
});

/** Which axes of `[B, H, N, D]` a tensor repeats by stride 0. */
const repeats = [0, 1, 2, 3, 4, 5, 6, 7].map((bits) =>
  [0, 1, 2, 3].map((axis) => bits >> axis & 1)
);

for (const [place, put] of Object.entries(places)) {
  const needs = place === "its own memory" ? "hostTensors" : undefined;
  contract(
    `attention() gives zero for rows that see no key of repeated values, in ${place}`,
    async (
      engine,
    ) => {
      const sizes = sizesOf({ B: 2, Hq: 2, Nq: 11, Nk: 6, D: 3, Dv: 4 });
      const { q, k } = inputsOf(randomProblem(sizes, 9));
      const shape = shapesOf(sizes).v;
      for (const repeat of repeats) {
        const strides = [48, 24, 4, 1].map((stride, axis) => repeat[axis] ? 0 : stride);
        const v = { data: new Float32Array(96).fill(NaN), shape, strides };
        const p = put(engine, { q, k, v });
        const { out } = await engine.attention(p.q, p.k, p.v, { causal: true });
        const expected = out.data.map((_, at) => Math.floor(at / 4) % 11 < 5 ? 0 : NaN);
        assertSameBits(out.data, expected, `strides [${strides}]`);
        p.free();
      }
    },
    { needs },
  );
}
