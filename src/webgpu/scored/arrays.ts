/**
 * Gradients with respect to the arrays of a score function: workgroups add up tiles in sums of their own, which are added at
 * the end, one after the other.
 *
 * @module
 */

import type { AttentionPlan } from "../../operations/attention/plan.ts";
import type { GradientTarget } from "../../operations/backward/target.ts";
import type { CapturedElements } from "../../scores/functions.ts";
import type { CapturedArray } from "../../scores/kinds.ts";
import type { HeldArray } from "../../tensor/arrays.ts";
import { isGpuBuffer } from "../../tensor/dtype.ts";
import { sizeOf } from "../../tensor/tensor.ts";
import type { GradientFunctions } from "../backward/functions.ts";
import type { Gradient } from "../backward/gradient.ts";
import {
  type GradientInputs,
  tileConstants,
  tileExtent,
  tileFields,
} from "../backward/variants.ts";
import { type Binding, roles } from "../device/buffers.ts";
import { pipelineOf } from "../device/pipelines.ts";
import { type Loan, Submission } from "../device/submission.ts";
import { encode, type Values } from "../shader/parameters.ts";
import { scoredShaders } from "../shader/scored_shaders.gen.ts";
import { codeOf } from "../shader/sources.ts";
import { sumFields } from "../attention/fields.ts";
import { extent, mostWorkgroups, type Region } from "../transfer/regions.ts";
import { type Compiled, sumsOf } from "./places.ts";
import { Scored } from "./scored.ts";

/** Bytes of all workgroups' sums, at most. */
const mostBytes = 2 ** 24;

/** A sum, and what rounding took from it. */
const sumBytes = 8;

const sumThreads = 64;

/** Of those with respect to arrays of a score function. */
const arrayFields = {
  ...tileFields,
  /** Workgroups, and the sums of each. */
  groups: "u32",
  sums: "u32",
  /** Segments by heads of the keys of the piece, and its heads. */
  units: "u32",
  heads: "u32",
  /** Where the piece is among all segments, heads, and tiles of rows. */
  first_segment: "u32",
  first_key_head: "u32",
  first_tile: "u32",
  all_heads: "u32",
  all_tiles: "u32",
} as const;

const fields = { ...sumFields, first: "u32", count: "u32", sums: "u32", groups: "u32" } as const;

/** Tiles of the rows of a head, of all its positions. */
function tilesOfRows({ segments, group }: AttentionPlan): number {
  const longest = segments.reduce((most, { queries }) => Math.max(most, queries), 0);
  return Math.ceil(longest * group / tileExtent);
}

/** Workgroups: as many as there are tiles of rows, unless their sums were too large. By the plan alone. */
function groupsOf({ plan, functions }: Compiled): number {
  const sums = Math.max(1, sumsOf(functions).count);
  const tiles = plan.segments.length * plan.keyHeads * tilesOfRows(plan);
  const most = Math.floor(mostBytes / (sums * sumBytes));
  return Math.max(1, Math.min(tiles, most, mostWorkgroups));
}

/** Uniforms of a piece, without what they say of functions: where it is in the call. */
function sumsBlock(
  { plan, functions }: Compiled,
  groups: number,
  values: Values<typeof tileFields>,
  { batch, heads, positions }: Region,
): Uint8Array<ArrayBuffer> {
  return encode(arrayFields, {
    ...values,
    ...{ groups, sums: sumsOf(functions).count },
    ...{ units: extent(batch) * extent(heads), heads: extent(heads) },
    ...{ first_segment: batch[0], first_key_head: heads[0], all_heads: plan.keyHeads },
    first_tile: Math.floor(positions[0] * plan.group / tileExtent),
    all_tiles: tilesOfRows(plan),
  });
}

/** Adds up what there is of an array where its gradient goes. */
async function bringSums(
  loan: Loan,
  pipeline: GPUComputePipeline,
  partial: Binding,
  values: { readonly first: number; readonly count: number; readonly sums: number; groups: number },
  { data }: CapturedElements,
): Promise<void> {
  const size = 4 * values.count, submission = new Submission(loan.session, "gradients");
  const result: Binding = isGpuBuffer(data)
    ? { buffer: data, offset: 0, size }
    : await loan.room(size, "a gradient");
  const uniforms = encode(fields, { ...values, minus_infinity: -Infinity });
  const grid = Math.min(mostWorkgroups, Math.ceil(values.count / sumThreads));
  submission.dispatch(pipeline, uniforms, [partial, null, null, result], [grid, 1, 1]);
  if (!isGpuBuffer(data)) {
    const readBack = await loan.take(size, roles.readBack, "a gradient on its way back");
    const own = (data as HeldArray<Float32Array>).now();
    submission.copyBack({ ...result, readBack }, (bytes) => own.set(new Float32Array(bytes)));
  }
  await submission.submit(loan, "Cannot differentiate");
}

/** The gradients that a call asks for, all of them at once. */
async function gradientsOfArrays(
  scored: ScoredGradients,
  { captured }: GradientTarget,
  inputs: GradientInputs,
  loan: Loan,
): Promise<Gradient[]> {
  const { plan, functions, code: { scattered } } = scored.compiled, { gpu } = loan.session;
  if (scattered === 0) return [];
  const { firsts, count: sums } = sumsOf(functions), { groups } = scored;
  const constants = { ...tileConstants(inputs), OF_PRODUCTS: 1, SCATTERED: scattered };
  const code = scored.code("scored/arrays.wgsl", arrayFields, constants);
  const [pipeline, adding, partial] = await Promise.all([
    pipelineOf(gpu, code, "backward, dCaptured"),
    pipelineOf(
      gpu,
      codeOf("scored/sum.wgsl", fields, { THREADS: sumThreads }, scoredShaders),
      "sum",
    ),
    loan.room(groups * sums * sumBytes, "sums of gradients"),
  ]);
  const clearing = new Submission(loan.session, "gradients");
  clearing.clear(partial.buffer, 0, partial.size); // What one of the pool holds is undefined.
  loan.attempt(() => clearing.flush());
  const bound = { ...partial, at: 0, strides: [0, 0, 0, 0] } as const;
  const bring = ([array, elements]: [CapturedArray, CapturedElements]) => {
    const values = { first: firsts.get(array)!, count: sizeOf(array.shape), sums, groups };
    return bringSums(loan, adding, partial, values, elements);
  };
  return [{
    goal: "dCaptured",
    pipeline,
    firstVectors: [0],
    columns: plan.dim + plan.valueDim,
    result: {
      bytes: () => partial.size,
      place: () => Promise.resolve(bound),
      collect: () => {},
      async finish() {
        for (const one of captured) await bring(one);
      },
    },
  }];
}

/** The functions of a call whose gradients are made. */
export class ScoredGradients extends Scored implements GradientFunctions {
  readonly groups: number = groupsOf(this.compiled);

  sumsBlock(
    values: Values<typeof tileFields>,
    region: Region,
    at: number,
  ): Uint8Array<ArrayBuffer> {
    const block = sumsBlock(this.compiled, this.groups, values, region);
    return this.uniforms(block, arrayFields, region, at);
  }

  gradients(target: GradientTarget, inputs: GradientInputs, loan: Loan): Promise<Gradient[]> {
    return gradientsOfArrays(this, target, inputs, loan);
  }
}
