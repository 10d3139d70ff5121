/**
 * What a call of localGlobalAttention() means: read once, checked.
 *
 * @module
 */

import { readTensor } from "../../check/tensors.ts";
import { isWhole, kindOf } from "../../check/words.ts";
import { type KeyRun, KeyRuns } from "../../masks/key_runs.ts";
import { isGpuBuffer } from "../../tensor/dtype.ts";
import { type AnyTensor, type AnyView, type ReadTensor, viewOf } from "../../tensor/tensor.ts";
import type { TensorPlan } from "../attention/plan.ts";
import { scoresWithin } from "../attention/segments.ts";
import {
  type AttendingCall,
  attendingNames,
  type AttendingOptions,
  callOf,
  type Given,
  planAttending,
  readAttending,
  segmentsFor,
} from "../linear/attending.ts";
import type { LocalGlobalPlan } from "./tokens.ts";

/** Options of `localGlobalAttention()`. */
export interface LocalGlobalOptions extends AttendingOptions {
  /** Rows of a block; the last one may have fewer. About the square root of N costs least. */
  readonly block: number;
  /** Whether a row sees its own block up to itself, and of the others the summaries of those before. */
  readonly causal?: boolean | undefined;
  /**
   * What the rows of a block weigh in its summary: `[block]` for all heads, or `[Hkv, block]`, of any storage and
   * strides, divided by its sum over the rows present. All the same by default: a summary is their mean.
   */
  readonly pool?: AnyTensor | undefined;
}

/** Every option, by name. */
export const localGlobalNames = ["block", "causal", "pool", ...attendingNames] as const;

/** A call, and how its pool was written. */
export interface LocalGlobalCall extends AttendingCall<LocalGlobalPlan> {
  readonly poolShape: readonly number[] | null;
}

/** Reads the rows of a block. */
export function readBlock(block: unknown, doing: string): number {
  if (isWhole(block) && block > 0) return block;
  const Kind = typeof block === "number" ? RangeError : TypeError;
  throw new Kind(`${doing}: \`block\` must be a whole number of at least 1, got ${kindOf(block)}`);
}

/** Reads what rows of a block weigh; of how many heads may not be known yet. */
export function readPool(
  given: unknown,
  block: number,
  keyHeads: number | undefined,
  doing: string,
): ReadTensor | null {
  if (given === undefined) return null;
  const tensor = readTensor("pool", given, doing, true), { shape } = tensor;
  const fits = shape.length === 1 || (shape.length === 2 && shape[0] === (keyHeads ?? shape[0]));
  if (fits && shape.at(-1) === block) return tensor;
  throw new RangeError(
    `${doing}: \`pool\` must be [block = ${block}] or [Hkv${
      keyHeads === undefined ? "" : ` = ${keyHeads}`
    }, block], got [${shape}]`,
  );
}

/** A pool as backends see it: of so many rows, which may be less than it is for. */
export function viewOfPool({ shape, strides, ...tensor }: ReadTensor, rows: number): AnyView {
  const row = { shape: [1, ...shape].slice(-2), strides: strides && [0, ...strides].slice(-2) };
  const { shape: [, , heads], strides: [, , head, element], ...view } = viewOf(
    { ...tensor, ...row } as ReadTensor,
    "bhnd",
  );
  return { ...view, shape: [1, heads, 1, rows], strides: [0, head, 0, element] } as AnyView;
}

/** Summaries of so many blocks before the rows: keys in linear memory begin at whole vectors. */
export function paddedFor(summaries: number): number {
  return Math.ceil(summaries / 8) * 8;
}

/** Sizes of a call. */
interface Sizes {
  readonly rows: number;
  readonly block: number;
  readonly summaries: number;
  readonly causal: boolean;
}

/** Pairs of a row and a key that it sees. */
function countPairs({ rows, block, summaries, causal }: Sizes): number {
  if (rows === 0) return 0;
  const whole = Math.floor(rows / block), rest = rows - whole * block;
  if (!causal) return whole * block ** 2 + rest ** 2 + rows * summaries;
  const local = (n: number) => n * (n + 1) / 2;
  return whole * local(block) + local(rest) + block * whole * (whole - 1) / 2 + rest * whole;
}

/** Which keys each block sees. */
function runsOf({ rows, block, summaries, causal }: Sizes): (index: number) => readonly KeyRun[] {
  const first = paddedFor(summaries);
  return (index) => {
    const own: KeyRun = [first + index * block, first + Math.min(rows, (index + 1) * block)];
    const before = causal ? index : summaries;
    return before === 0 ? [own] : [[0, before], own];
  };
}

/** The plan of attention to summaries and rows. */
function planOf(attention: TensorPlan, block: number, causal: boolean): TensorPlan {
  const { queries: rows } = attention, summaries = Math.ceil(rows / block);
  const keys = paddedFor(summaries) + rows, segments = segmentsFor(attention, keys);
  const band = causal ? { left: Infinity, right: 0 } : attention.band;
  const sizes = { rows, block, summaries, causal };
  const within = rows === 0
    ? 1
    : scoresWithin({ ...segments[0] ?? noSegment, queries: rows }, band);
  const size = { queries: rows, keys, block };
  const blockMask = new KeyRuns(size, countPairs(sizes) / Math.max(1, within), runsOf(sizes));
  return { ...attention, keys, segments, band, blockMask };
}

const noSegment = { batch: 0, firstQuery: 0, queries: 0, firstKey: 0, keys: 0, offset: 0 };

/** Checks that there is a key for each query. */
export function checkRows({ queries, keys }: TensorPlan, doing: string): void {
  if (queries === keys) return;
  throw new RangeError(
    `${doing}: \`k\` must have Nk = ${queries} rows as \`q\` has, since each query stands on the key of its ` +
      `position, got ${keys}`,
  );
}

function checkCausal(causal: unknown, doing: string): boolean {
  if (causal === undefined) return false;
  if (typeof causal === "boolean") return causal;
  throw new TypeError(`${doing}: \`causal\` must be true or false, got ${kindOf(causal)}`);
}

function checkPlace({ data }: ReadTensor, { data: q }: AnyView, doing: string): void {
  if (isGpuBuffer(data) === isGpuBuffer(q)) return;
  const where = isGpuBuffer(q) ? "a GPUBuffer" : "an array";
  throw new TypeError(`${doing}: \`pool\` must be in ${where} as \`q\` is`);
}

/** Reads a call. */
export function readLocalGlobal(
  tensors: Given,
  options: LocalGlobalOptions,
  doing: string,
): LocalGlobalCall {
  const given = readAttending(options, localGlobalNames, doing);
  const asked = readBlock(given.block, doing), causal = checkCausal(given.causal, doing);
  const attention = planAttending(tensors, given, doing);
  checkRows(attention, doing);
  const read = readPool(given.pool, asked, attention.keyHeads, doing);
  const block = Math.min(asked, Math.max(1, attention.queries));
  if (read !== null) checkPlace(read, attention.q, doing);
  const pool = read && viewOfPool(read, block), summaries = Math.ceil(attention.queries / block);
  const forward = planOf(attention, block, causal), padded = paddedFor(summaries);
  const plan = Object.freeze({ forward, block, pool, summaries, padded });
  return {
    ...callOf(plan, given, pool === null ? [] : [pool], doing),
    poolShape: read && read.shape,
  };
}
