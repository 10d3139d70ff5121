/**
 * What a call of linformerAttention() means: read once, checked.
 *
 * @module
 */

import { readTensor } from "../../check/tensors.ts";
import { isGpuBuffer } from "../../tensor/dtype.ts";
import { type AnyTensor, type AnyView, type ReadTensor, viewOf } from "../../tensor/tensor.ts";
import type { TensorPlan } from "../attention/plan.ts";
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
import type { LinformerPlan } from "./tokens.ts";

/** Options of `linformerAttention()`. */
export interface LinformerOptions extends AttendingOptions {
  /**
   * What makes `r` keys of all: `[r, N]` for all heads, or `[Hkv, r, N]`, of any storage and strides. Of more
   * columns than there are keys the first are used.
   */
  readonly projectK: AnyTensor;
  /** The same for values; `projectK` by default, which then makes both. */
  readonly projectV?: AnyTensor | undefined;
}

/** Every option, by name. */
export const linformerNames = ["projectK", "projectV", ...attendingNames] as const;

/** A call, and how its projections were written. */
export interface LinformerCall extends AttendingCall<LinformerPlan> {
  readonly shapes: {
    readonly projectK: readonly number[];
    readonly projectV: readonly number[] | null;
  };
}

function checkNotCausal(causal: unknown, doing: string): void {
  if (causal === undefined || causal === false) return;
  throw new TypeError(
    `${doing}: \`causal\` has no meaning here, since each key that is made is a mixture of keys at all ` +
      "positions, of which none can be hidden; take `localGlobalAttention()` or `performerAttention()`",
  );
}

/** Reads a projection by itself, and against the keys. */
function readProjection(
  name: string,
  given: unknown,
  { keyHeads, keys, q }: TensorPlan,
  doing: string,
): ReadTensor {
  if (given === undefined) {
    throw new TypeError(`${doing}: \`${name}\` must be given, a tensor [r, N] or [Hkv, r, N]`);
  }
  const tensor = readTensor(name, given, doing, true), { shape } = tensor;
  if (shape.length !== 2 && (shape.length !== 3 || shape[0] !== keyHeads)) {
    throw new RangeError(
      `${doing}: \`${name}\` must be [r, N] or [Hkv = ${keyHeads}, r, N], got [${shape}]`,
    );
  }
  const [rows, columns] = shape.slice(-2);
  if (rows === 0) throw new RangeError(`${doing}: \`${name}\` must have r of at least 1, got 0`);
  if (columns < keys) {
    throw new RangeError(
      `${doing}: \`${name}\` must have at least Nk = ${keys} columns, one for each key, got ${columns}`,
    );
  }
  checkPlace(name, tensor, q, doing);
  return tensor;
}

/** Checks that a tensor is where `q` is. */
function checkPlace(name: string, { data }: ReadTensor, q: AnyView, doing: string): void {
  if (isGpuBuffer(data) === isGpuBuffer(q.data)) return;
  const where = isGpuBuffer(q.data) ? "a GPUBuffer" : "an array";
  throw new TypeError(`${doing}: \`${name}\` must be in ${where} as \`q\` is`);
}

/** The columns that are used, of one batch. */
function viewOfProjection(tensor: ReadTensor, keys: number): AnyView {
  const view = viewOf(tensor, "bhnd"), [, heads, rows] = view.shape;
  return { ...view, shape: [1, heads, rows, keys] };
}

/** Reads a call. */
export function readLinformer(
  tensors: Given,
  options: LinformerOptions,
  doing: string,
): LinformerCall {
  const given: LinformerOptions & { readonly causal?: unknown } = readAttending(
    options,
    [...linformerNames, "causal"] as unknown as typeof linformerNames,
    doing,
  );
  checkNotCausal(given.causal, doing);
  const attention = planAttending(tensors, given, doing), { keys } = attention;
  const readK = readProjection("projectK", given.projectK, attention, doing);
  const readV = given.projectV === undefined
    ? null
    : readProjection("projectV", given.projectV, attention, doing);
  const mixtures = readK.shape.at(-2)!;
  if (readV !== null && readV.shape.at(-2) !== mixtures) {
    throw new RangeError(
      `${doing}: \`projectV\` must have r = ${mixtures} as \`projectK\` has, got ${
        readV.shape.at(-2)
      }`,
    );
  }
  const projectK = viewOfProjection(readK, keys);
  const projectV = readV && viewOfProjection(readV, keys);
  const forward = { ...attention, keys: mixtures, segments: segmentsFor(attention, mixtures) };
  const plan = Object.freeze({ forward, mixtures, projectK, projectV });
  const reads = [projectK, ...(projectV === null ? [] : [projectV])];
  return {
    ...callOf(plan, given, reads, doing),
    shapes: { projectK: readK.shape, projectV: readV && readV.shape },
  };
}
