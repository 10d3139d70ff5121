/**
 * What the job records of attention and of its gradients have in common: where rows are, and what
 * changes scores.
 *
 * @module
 */

import type { Band } from "../../operations/attention/segments.ts";
import { bytesPerElement } from "../../tensor/dtype.ts";
import { copyRowsIn } from "../../tensor/rows.ts";
import type { View } from "../../tensor/tensor.ts";
import type { Arena } from "../memory/arena.ts";
import { elementsOver, type Resident } from "../memory/tensor.ts";
import * as job from "../record/job.gen.ts";
import { type JobRecord, keysPerPart, storageOf } from "../record/job_record.ts";
import type { Piece, Tiles } from "./jobs.ts";
import type { HostPlan, Run } from "./run.ts";
import { type BiasPlace, type MaskPlace, stageBias } from "./terms.ts";

/** Writes what all jobs of a call have in common but where results go. */
export function writeCommon(
  record: JobRecord,
  splats: number,
  plan: HostPlan,
  { tiles, members }: { readonly tiles: Tiles; readonly members: number },
): void {
  record.set(job.qStorage, storageOf[plan.q.dtype]);
  record.set(job.lsePosition, 4);
  record.set(job.group, plan.group / members);
  record.set(job.dim, plan.dim);
  record.set(job.valueDim, plan.valueDim);
  record.set(job.tileRows, tiles.rows);
  record.set(job.tileKeys, tiles.keys);
  record.set(job.splats, splats);
  const { unit, scale, softcap, capUnit } = factorsOf(plan);
  record.setFloat(job.unit, unit);
  record.setFloat(job.scale, scale);
  record.setFloat(job.softcap, softcap);
  record.setFloat(job.capUnit, capUnit);
}

/** Numbers of a record that are no whole ones. */
export interface Factors {
  readonly unit: number;
  readonly scale: number;
  readonly softcap: number;
  readonly capUnit: number;
}

/** What scores are computed with. */
export function factorsOf(plan: HostPlan): Factors {
  return plan.functions === null ? unitsOf(plan) : naturalOf(plan);
}

/** As kernels have it: sums and gradients are to the same base. */
const naturalUnit = /* @__PURE__ */ Math.fround(Math.LOG2E);

/** Functions see scores as they are, to base e. */
function naturalOf({ scale, softcap }: HostPlan): Factors {
  const cap = softcap ?? 0;
  return { scale, unit: naturalUnit, softcap: cap, capUnit: cap && 1 / cap };
}

/**
 * What scores are computed with where nobody sees them: a capped one has its factor where it is capped. Powers of two are taken out
 * of factors, which changes no bit but keeps from overflow what f32 holds: queries, biases, sinks.
 */
function unitsOf({ scale, softcap }: HostPlan): Factors {
  const { factor, power } = splitFactor(softcap === null ? scale * Math.LOG2E : scale / softcap);
  if (softcap !== null) {
    return { scale: factor, capUnit: power, unit: 2, softcap: softcap * Math.LOG2E / 2 };
  }
  // A bias has no other factor than log2(e) / unit.
  const uncapped = { softcap: 0, capUnit: 0 };
  return power === 1
    ? { scale: factor / 2, unit: 2, ...uncapped }
    : { scale: factor, unit: power, ...uncapped };
}

/** A factor of magnitude at most 1, and the power of two that it lacks, from 1 to the largest of f32. */
function splitFactor(factor: number): { factor: number; power: number } {
  const exponent = Math.ceil(Math.log2(Math.abs(factor)));
  const power = 2 ** Math.max(0, Math.min(exponent, 127));
  return { factor: factor / power, power };
}

/** Rows of all heads of a group in linear memory, as a job reads them. */
export interface GroupRows {
  readonly at: number;
  readonly head: number;
  readonly position: number;
  readonly element: number;
}

/**
 * Writes such rows, from a member and a position on, into a field and those behind it: in the order of
 * `groupRowsFields`.
 */
export function writeGroup(
  record: JobRecord,
  field: number,
  rows: GroupRows,
  member: number,
  position = 0,
): void {
  record.set(field, rows.at + position * rows.position + member * rows.head);
  record.set(field + (job.qElement - job.q), rows.element);
  record.set(field + (job.qPosition - job.q), rows.position);
  record.set(field + (job.qHead - job.q), rows.head);
}

/** Bytes of a run's rows where they are not in linear memory. */
export function groupBytes({ shape, dtype }: View, { group }: HostPlan, { from, to }: Run): number {
  return (to - from) * group * shape[3] * bytesPerElement(dtype);
}

/** Where the rows of a run are that live in linear memory. */
export function groupAt(
  plan: HostPlan,
  { segment, keyHead, from }: Run,
  resident: Resident,
): GroupRows {
  const { batch, firstQuery } = plan.segments[segment];
  const [, head, position, element] = resident.strides;
  const first = headAt(resident, batch, keyHead * plan.group);
  return { at: first + (firstQuery + from) * position, head, position, element };
}

/** Brings the rows of a run into linear memory, to `at`, unless they live there; says where they are. */
export function placeGroup(
  arena: Arena,
  plan: HostPlan,
  run: Run,
  view: View,
  resident: Resident | undefined,
  at: number,
): GroupRows {
  if (resident) return groupAt(plan, run, resident);
  const { segment, keyHead, from, to } = run;
  const { batch, firstQuery } = plan.segments[segment], firstHead = keyHead * plan.group;
  const length = (to - from) * view.shape[3], element = bytesPerElement(view.dtype);
  const head = length * element;
  for (let g = 0; g < plan.group; g++) {
    const rows = elementsOver(arena, at + g * head, length, view.dtype);
    copyRowsIn(view, batch, firstHead + g, firstQuery + from, firstQuery + to, rows);
  }
  return { at, head, position: view.shape[3] * element, element };
}

/** Where a head of a batch begins. */
export function headAt({ at, strides }: Resident, batch: number, head: number): number {
  return at + batch * strides[0] + head * strides[1];
}

/** Where the bias of a run is read. */
export function biasOf(
  arena: Arena,
  plan: HostPlan,
  resident: Resident | undefined,
  run: Run,
  at: number,
): BiasPlace {
  if (resident === undefined) return stageBias(arena, plan, run, at);
  const [, head, position, key] = resident.strides;
  const { batch, firstQuery, firstKey } = plan.segments[run.segment];
  const bias = headAt(resident, batch, run.keyHead * plan.group) +
    (firstQuery + run.from) * position + firstKey * key;
  return { at: bias, position, head };
}

/** Where the bias, the mask and the intervals of a run are. */
export interface PlacedTerms {
  readonly bias: BiasPlace | null;
  readonly mask: MaskPlace | null;
  /** For each query head that has its own. */
  readonly intervals: readonly number[] | null;
}

/** The fields of a record about softcap, ALiBi, sinks, bias, mask and block mask. */
export function writeTerms(
  plan: HostPlan,
  space: { readonly slopes: number; readonly sinks: number },
  record: JobRecord,
  run: Run,
  { bias, mask, intervals }: PlacedTerms,
  piece: Pick<Piece, "member" | "from" | "part"> & { readonly firstKey?: number },
): void {
  const skipped = piece.from - run.from, { firstKey = piece.part * keysPerPart } = piece;
  const { firstQuery, offset } = plan.segments[run.segment];
  const head = run.keyHead * plan.group + piece.member;
  if (plan.slopes !== null) {
    record.set(job.slopes, space.slopes + (run.segment * plan.queryHeads + head) * 4);
    record.setFloat(job.aligned, piece.from + offset - firstKey);
  }
  // A sink belongs to one part only.
  if (plan.sinks !== null && piece.part === 0) record.set(job.sinks, space.sinks + head * 4);
  if (bias !== null) {
    record.set(
      job.bias,
      bias.at + skipped * bias.position + piece.member * bias.head + firstKey * 4,
    );
    record.set(job.biasPosition, bias.position);
    record.set(job.biasHead, bias.head);
  }
  if (mask !== null) {
    const skippedKeys = mask.isBits ? firstKey / 8 : firstKey;
    record.set(
      job.mask,
      mask.at + skipped * mask.position + piece.member * mask.head + skippedKeys,
    );
    record.set(job.maskPosition, mask.position);
    record.set(job.maskHead, mask.head);
    record.set(job.maskIsBits, Number(mask.isBits));
  }
  if (intervals === null) return;
  const [rows] = plan.blockMask!.block;
  // The run's list begins with the block that its first position is in.
  const phase = (firstQuery + run.from) % rows + skipped;
  record.set(
    job.keyIntervals,
    intervals[intervals.length === 1 ? 0 : piece.member] +
      Math.floor(phase / rows) * 4,
  );
  record.set(job.maskBlockRows, rows);
  record.set(job.maskBlockPhase, phase % rows);
}

/** Writes the keys that position 0 of a job sees, aligned with key `aligned`. Far ones are as those that fit 32 bits. */
export function writeBand(record: JobRecord, { left, right }: Band, aligned: number): void {
  // Added up before they are bounded: a far offset and a far band can make a near sum.
  const bound = (key: number) => Math.max(-(2 ** 31), Math.min(key, 2 ** 31 - 1));
  record.set(job.bandFirst, bound(aligned - left));
  record.set(job.bandLast, bound(aligned + right));
}
