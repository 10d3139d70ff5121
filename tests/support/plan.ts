/**
 * Plans of any size, over tensors that take no memory.
 *
 * @module
 */

import { type AttentionOptions, blockMask, type Tensor } from "@flashtile/attention";
import fc from "fast-check";
import { planAttention, type TensorPlan } from "../../src/operations/attention/plan.ts";
import type { View } from "../../src/tensor/tensor.ts";

/** A plan over arrays. */
type HostPlan = TensorPlan<View>;
import { HeldArray } from "../../src/tensor/arrays.ts";
import type { Extents } from "../../src/tensor/tensor.ts";
import { shapesOf, type Sizes, sizesOf } from "./problem.ts";

const nothing = new Float32Array(1);

/** A tensor of this shape that reads one element everywhere. */
function hollow(shape: readonly number[]): Tensor {
  return { data: nothing, shape, strides: shape.map(() => 0) };
}

/** The plan of a call of these sizes. */
export function planOf(
  sizes: Partial<Sizes> & Pick<Sizes, "Nq" | "D">,
  options?: AttentionOptions,
): HostPlan {
  const { q, k, v } = shapesOf(sizesOf(sizes));
  return planAttention(hollow(q), hollow(k), hollow(v), options) as HostPlan;
}

/** Queries and keys of a packed sequence. */
export type Lengths = readonly [queries: number, keys: number];

/** Where sequences of these lengths begin and end. */
export function boundariesOf(lengths: readonly Lengths[]): { q: number[]; k: number[] } {
  const q = [0], k = [0];
  for (const [queries, keys] of lengths) {
    q.push(q.at(-1)! + queries);
    k.push(k.at(-1)! + keys);
  }
  return { q, k };
}

/** The plan of packed sequences. */
export function packedPlanOf(
  lengths: readonly Lengths[],
  sizes: Pick<Sizes, "D"> & Partial<Sizes>,
  options?: AttentionOptions,
): HostPlan {
  const cuSeqlens = boundariesOf(lengths);
  const all = { ...sizes, B: 1, Nq: cuSeqlens.q.at(-1)!, Nk: cuSeqlens.k.at(-1)! };
  return planOf(all, { ...options, cuSeqlens });
}

/** Which axes of `[B, Hq, Nq, Nk]` a term has all elements of, and how it is stored. */
export interface TermShape {
  readonly full: readonly boolean[];
  readonly dtype: "f32" | "u8" | "bit";
}

/** A plan with a bias, or a mask, that takes no memory either: it must not be read. */
export function withTerm(plan: HostPlan, { full, dtype }: TermShape): HostPlan {
  const shape: Extents = [plan.batch, plan.queryHeads, plan.queries, plan.keys];
  const dense = [shape[1] * shape[2] * shape[3], shape[2] * shape[3], shape[3], 1];
  const strides = dense.map((stride, axis) => full[axis] ? stride : 0) as unknown as Extents;
  const view = { shape, strides, offset: 0 };
  if (dtype === "f32") return { ...plan, bias: { ...view, data: new HeldArray(nothing), dtype } };
  const data = dtype === "u8" ? new Uint8Array(1) : new Uint32Array(1);
  return { ...plan, mask: { ...view, data: new HeldArray(data), dtype } };
}

const few = fc.integer({ min: 1, max: 8 });
const group = fc.oneof(
  { weight: 3, arbitrary: fc.integer({ min: 1, max: 12 }) },
  { weight: 1, arbitrary: fc.constantFrom(16, 17, 64, 65, 200) },
);
const dim = fc.oneof(
  { weight: 3, arbitrary: fc.integer({ min: 1, max: 200 }) },
  { weight: 1, arbitrary: fc.constantFrom(512, 700, 3000) },
);
const heads = { Hkv: few, group, D: dim, Dv: dim };

/** Plans of batches, whose waves are few enough to look at each. */
export const batchedPlans: fc.Arbitrary<HostPlan> = fc.record({
  ...heads,
  B: fc.integer({ min: 0, max: 4 }),
  Nq: fc.oneof(fc.integer({ min: 0, max: 20 }), fc.integer({ min: 0, max: 4000 })),
  Nk: fc.oneof(fc.integer({ min: 1, max: 400 }), fc.integer({ min: 1, max: 20_000 })),
}).map(({ group, ...sizes }) => planOf({ ...sizes, Hq: sizes.Hkv * group }));

const length = fc.oneof(
  { weight: 3, arbitrary: fc.integer({ min: 0, max: 6 }) },
  { weight: 2, arbitrary: fc.integer({ min: 0, max: 90 }) },
  { weight: 1, arbitrary: fc.integer({ min: 0, max: 5000 }) },
);

/** Plans of packed sequences, empty ones among them. */
export const packedPlans: fc.Arbitrary<HostPlan> = fc.record({
  ...heads,
  lengths: fc.array(fc.tuple(length, length), { maxLength: 40 }),
}).map(({ group, lengths, ...sizes }) =>
  packedPlanOf(lengths, { ...sizes, Hq: sizes.Hkv * group })
);

const block = fc.tuple(fc.constantFrom(1, 3, 8, 64), fc.constantFrom(1, 3, 8, 33, 64));

/** Plans with a block mask, for all heads or for each, of batches or packed sequences. */
export const blockPlans: fc.Arbitrary<HostPlan> = fc.record({
  Hkv: fc.integer({ min: 1, max: 3 }),
  group: fc.oneof(fc.integer({ min: 1, max: 6 }), fc.constantFrom(40, 300)),
  D: fc.integer({ min: 1, max: 64 }),
  lengths: fc.array(fc.tuple(fc.nat(70), fc.nat(150)), { minLength: 1, maxLength: 5 }),
  block,
  perHead: fc.boolean(),
  window: fc.tuple(fc.nat(40), fc.nat(40)),
}).map(({ group, lengths, block, perHead, window, ...sizes }) => {
  const Hq = sizes.Hkv * group, { q, k } = boundariesOf(lengths);
  const size = { queries: q.at(-1)!, keys: k.at(-1)!, heads: perHead ? Hq : 1, block };
  const options = { blockMask: blockMask.window(window, size) };
  return packedPlanOf(lengths, { ...sizes, Hq }, options);
});

/** Any of these. */
export const anyPlan: fc.Arbitrary<HostPlan> = fc.oneof(batchedPlans, packedPlans, blockPlans);

const full = fc.tuple(fc.boolean(), fc.boolean(), fc.boolean(), fc.boolean());

/** Any plan with a bias and a mask of any broadcast. */
export const anyPlanWithTerms: fc.Arbitrary<HostPlan> = fc.record({
  plan: anyPlan,
  bias: fc.option(full),
  mask: fc.option(full),
  dtype: fc.constantFrom<"u8" | "bit">("u8", "bit"),
}).map(({ plan, bias, mask, dtype }) => {
  const biased = bias === null ? plan : withTerm(plan, { full: bias, dtype: "f32" });
  return mask === null ? biased : withTerm(biased, { full: mask, dtype });
});

/** Numbers of threads. */
export const anyThreads = fc.constantFrom(1, 1, 2, 3, 4, 8, 16);
