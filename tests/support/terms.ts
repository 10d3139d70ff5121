/**
 * Random options of every kind: what a property asks of a random problem. They are drawn as recipes of
 * a few numbers, so that a failure prints what can be read.
 *
 * @module
 */

import fc from "fast-check";
import { type BlockMask, blockMask, type BooleanTensor, type Tensor } from "@flashtile/attention";
import { meaning } from "./arbitrary.ts";
import type { Meaning, Sizes } from "./problem.ts";
import { normals, type Random, seeded, whole } from "./random.ts";

/** A tensor over scores: its seed, the axes that are full, how many are written, and its strides. */
interface ScoresRecipe {
  readonly seed: number;
  readonly full: readonly boolean[];
  readonly rank: number;
  readonly gap: number;
  readonly offset: number;
  readonly turned: boolean;
}

const scores: fc.Arbitrary<ScoresRecipe> = fc.record({
  seed: fc.nat(),
  full: fc.tuple(fc.boolean(), fc.boolean(), fc.boolean(), fc.boolean()),
  rank: fc.integer({ min: 1, max: 4 }),
  gap: fc.constantFrom(0, 0, 1, 5),
  offset: fc.constantFrom(0, 0, 1, 7, 33),
  turned: fc.constantFrom(false, false, true),
});

/** Shape and strides of a recipe, and the elements that it reaches. */
function layOut({ full, rank, gap, offset, turned }: ScoresRecipe, { B, Hq, Nq, Nk }: Sizes) {
  const shape = [B, Hq, Nq, Nk].map((n, axis) => full[axis] ? n : 1).slice(4 - rank);
  const strides = new Array<number>(rank).fill(0);
  let step = 1;
  const order = turned ? [...strides.keys()] : [...strides.keys()].reverse();
  for (const axis of order) {
    strides[axis] = step;
    step = step * Math.max(1, shape[axis]) + gap;
  }
  return { shape, strides, offset, length: offset + step };
}

/** A bias, now and then `-Infinity`. */
function biasFrom(recipe: ScoresRecipe, sizes: Sizes): Tensor {
  const random = seeded(recipe.seed), { length, ...view } = layOut(recipe, sizes);
  const masked = random() < 0.5 ? 0 : 0.3;
  const data = normals(length, random).map((x) => random() < masked ? -Infinity : x);
  return { data, ...view };
}

/** A mask of bytes or of bits that keeps nearly nothing, some or nearly all. */
function maskFrom(recipe: ScoresRecipe, sizes: Sizes): BooleanTensor {
  const random = seeded(recipe.seed), { length, ...view } = layOut(recipe, sizes);
  const kept = [0.02, 0.5, 0.97, 1][whole(random, 0, 3)];
  if (random() < 0.5) {
    return {
      data: Uint8Array.from({ length }, () => random() < kept ? whole(random, 1, 255) : 0),
      ...view,
    };
  }
  const data = new Uint32Array(Math.ceil(length / 32));
  for (let e = 0; e < length; e++) if (random() < kept) data[e >> 5] |= 1 << (e & 31);
  return { data, ...view };
}

interface BlocksRecipe {
  readonly seed: number;
  readonly block: readonly [number, number];
  readonly perBatch: boolean;
  readonly perHead: boolean;
  /** Whether whole blocks are drawn, or elements. */
  readonly coarse: boolean;
}

const extent = fc.constantFrom(1, 3, 4, 5, 8, 16, 33, 64);

const blocks: fc.Arbitrary<BlocksRecipe> = fc.record({
  seed: fc.nat(),
  block: fc.tuple(extent, extent),
  perBatch: fc.boolean(),
  perHead: fc.boolean(),
  coarse: fc.boolean(),
});

function blockMaskFrom(recipe: BlocksRecipe, { B, Hq, Nq, Nk }: Sizes): BlockMask {
  const { block, perBatch, perHead, coarse } = recipe, random = seeded(recipe.seed);
  const kept = [0.1, 0.5, 0.9][whole(random, 0, 2)], whole64 = new Map<string, boolean>();
  const draw = (b: number, h: number, i: number, j: number) => {
    if (!coarse) return random() < kept;
    const place = [b, h, Math.floor(i / block[0]), Math.floor(j / block[1])].join();
    if (!whole64.has(place)) whole64.set(place, random() < kept);
    return whole64.get(place)!;
  };
  const size = { queries: Nq, keys: Nk, block, batch: perBatch ? Math.max(1, B) : 1 };
  return blockMask.fromFunction(draw, { ...size, heads: perHead ? Hq : 1 });
}

/** Boundaries of packed sequences, empty ones among them. */
function boundaries(random: Random, rows: number, sequences: number): Int32Array {
  const inner = Array.from({ length: sequences - 1 }, () => whole(random, 0, rows));
  return Int32Array.from([0, ...inner.sort((a, b) => a - b), rows]);
}

function packedFrom(seed: number, { Nq, Nk }: Sizes): Pick<Meaning, "cuSeqlens"> {
  const random = seeded(seed), sequences = whole(random, 1, 5);
  const [q, k] = [boundaries(random, Nq, sequences), boundaries(random, Nk, sequences)];
  return { cuSeqlens: { q, k } };
}

/** Offsets and lengths of sequences instead of batches. */
function perSequence(given: Meaning, { cuSeqlens }: Meaning, seed: number): Meaning {
  if (!cuSeqlens) return given;
  const random = seeded(seed), count = cuSeqlens.q.length - 1;
  const each = <T>(make: (index: number) => T) =>
    Array.from({ length: count }, (_, at) => make(at));
  const { offset, kvLengths, ...rest } = given;
  return {
    ...rest,
    offset: typeof offset === "object" ? each(() => whole(random, -9, 20)) : offset,
    kvLengths: kvLengths &&
      each((at) => whole(random, 0, cuSeqlens.k[at + 1] - cuSeqlens.k[at])),
  };
}

/** Options of every kind, and the recipe that they were made from. */
export interface Asked {
  readonly meaning: Meaning;
}

/** Random combinations of all options. */
export function anyMeaning(sizes: Sizes): fc.Arbitrary<Asked> {
  // One in two: a `freq` of 1 would give none ever.
  const maybe = <T>(arbitrary: fc.Arbitrary<T>) =>
    fc.option(arbitrary, { nil: undefined, freq: 2 });
  return fc.record({
    plain: meaning(sizes),
    softcap: maybe(fc.constantFrom(0.5, 2, 30)),
    chunk: fc.oneof(
      { weight: 3, arbitrary: fc.constant(undefined) },
      { weight: 1, arbitrary: fc.constantFrom(1, 3, 8, 50, 64, 200) },
    ),
    slopes: maybe(fc.record({ seed: fc.nat(), perBatch: fc.boolean() })),
    bias: maybe(scores),
    mask: maybe(scores),
    sinks: maybe(fc.nat()),
    blocks: maybe(blocks),
    packed: sizes.B === 1 ? maybe(fc.nat()) : fc.constant(undefined),
  }).map((recipe) => {
    const shown = JSON.stringify(recipe);
    return Object.defineProperty({ meaning: cook(recipe, sizes) }, fc.toStringMethod, {
      value: () => shown,
    });
  });
}

interface Recipe {
  readonly plain: Meaning;
  readonly softcap?: number;
  readonly chunk?: number;
  readonly slopes?: { readonly seed: number; readonly perBatch: boolean };
  readonly bias?: ScoresRecipe;
  readonly mask?: ScoresRecipe;
  readonly sinks?: number;
  readonly blocks?: BlocksRecipe;
  readonly packed?: number;
}

function cook(recipe: Recipe, sizes: Sizes): Meaning {
  const { plain, softcap, chunk, slopes, bias, mask, sinks, blocks, packed } = recipe,
    { Hq } = sizes;
  const sequences = packed === undefined ? {} : packedFrom(packed, sizes);
  const segments = sequences.cuSeqlens ? sequences.cuSeqlens.q.length - 1 : sizes.B;
  // Distances beyond 2^24 are no whole numbers of f32, and of a far offset nothing is left to compare.
  const near = typeof plain.offset === "number" && Math.abs(plain.offset) > 2 ** 24
    ? { ...plain, offset: undefined }
    : plain;
  return {
    ...perSequence(slopes ? near : plain, sequences, packed ?? 0),
    ...sequences,
    softcap,
    chunk,
    alibi: slopes && {
      data: normals(segments * Hq, seeded(slopes.seed)).map((x) => Math.abs(x) / 8),
      shape: slopes.perBatch ? [segments, Hq] : [Hq],
      strides: slopes.perBatch ? [Hq, 1] : [1],
    },
    bias: bias && biasFrom(bias, sizes),
    mask: mask && maskFrom(mask, sizes),
    sinks: sinks === undefined ? undefined : { data: normals(Hq, seeded(sinks)), shape: [Hq] },
    blockMask: blocks && blockMaskFrom(blocks, sizes),
  };
}
