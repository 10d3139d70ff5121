/**
 * What a call on a sharded cache is given is read, at once: after that the caller's tensors may change.
 *
 * @module
 */

import { readTensor } from "../../check/tensors.ts";
import { checkLayoutName, checkOneOf, isExtent, kindOf, readOptions } from "../../check/words.ts";
import type { SignalLike } from "../../check/errors.ts";
import { readCounts } from "../../operations/attention/check/segments.ts";
import { HeldArray } from "../../tensor/arrays.ts";
import type { Elements } from "../../tensor/dtype.ts";
import {
  type AnyTensor,
  copyView,
  isOnHost,
  type Layout,
  type NumberList,
  sizeOf,
  viewOf,
} from "../../tensor/tensor.ts";
import type { RopeOptions } from "../../operations/rope/options.ts";
import type { Attending } from "../messages/bodies.ts";
import type { ShardedSizes } from "../sizes.ts";
import type { ReadRows } from "./rows.ts";
import { readTurning, type Turning } from "./turning.ts";

/** Options of `append()` of a sharded cache. */
export interface ShardedAppendOptions {
  /** How many of the tokens count, from the first on, for each sequence; all by default. */
  readonly lengths?: NumberList | undefined;
  /** Order of the axes; `"bhnd"` by default. */
  readonly layout?: Layout | undefined;
  /** Ends the call, which then rejects with `signal.reason`; nothing of it stays. */
  readonly signal?: SignalLike | null | undefined;
}

/** Options of `attend()` and `step()` of a sharded cache. */
export interface ShardedAttendOptions extends ShardedAppendOptions {
  /**
   * Whether each query sees the tokens up to its own; the last that counts stands on its sequence's last token. By
   * default `step()` is causal and `attend()` is not.
   */
  readonly causal?: boolean | undefined;
  /** Tokens before and behind its own that a query sees, `null` for all; as of `attention()`. */
  readonly window?: readonly (number | null)[] | undefined;
  /** Factor of the scores; `1 / sqrt(D)` by default. */
  readonly scale?: number | undefined;
  /** Scores become `softcap * tanh(score / softcap)`; 0, for none, by default. */
  readonly softcap?: number | undefined;
}

/** Options of `step()` of a sharded cache. */
export interface ShardedStepOptions extends ShardedAttendOptions {
  /**
   * How queries and keys are turned before they are sent, as `rope()` has it; not at all by default. `positions` are
   * by default those of the tokens in their sequences, as of a cache on one machine.
   */
  readonly rope?: Omit<RopeOptions, "layout"> | undefined;
}

const appendNames = ["lengths", "layout", "signal"] as const;

const attendNames = [
  ...appendNames,
  "causal",
  "window",
  "scale",
  "softcap",
] as const satisfies readonly (keyof ShardedAttendOptions)[];

/** Rows of a call. */
export interface ReadCall {
  readonly tokens: { readonly k: ReadRows; readonly v: ReadRows } | null;
  readonly queries: (Attending & { readonly q: ReadRows }) | null;
  /** Rows of each sequence that count. */
  readonly counts: readonly number[];
  readonly rows: number;
  readonly layout: Layout;
  readonly signal: SignalLike | null | undefined;
}

function readRows(
  name: string,
  given: AnyTensor,
  layout: Layout,
  expected: readonly (number | null)[],
  axes: string,
  doing: string,
): ReadRows {
  const view = viewOf(readTensor(name, given, doing), layout);
  if (!isOnHost(view)) {
    throw new TypeError(`${doing}: \`${name}\` must be in an array, got a GPUBuffer`);
  }
  const { shape, dtype } = view, [batch, heads, rows, columns] = shape;
  if (expected.some((extent, axis) => extent !== null && extent !== shape[axis])) {
    const wanted = expected.map((extent) => extent ?? "any").join(",");
    throw new RangeError(
      `${doing}: \`${name}\` must have shape ${axes} = [${wanted}], got [${shape}]`,
    );
  }
  const data = new (dtype === "f32" ? Float32Array : Uint16Array)(sizeOf(shape));
  const to = { data: new HeldArray<Elements>(data), dtype, shape, offset: 0 };
  const strides = [rows * heads * columns, columns, heads * columns, 1] as const;
  copyView(view, { ...to, strides });
  if (batch * rows > 0 && heads === 0) throw new RangeError(`${doing}: \`${name}\` has no heads`);
  return { data, dtype, heads, rows, columns };
}

function readLengths(
  lengths: NumberList | undefined,
  batch: number,
  rows: number,
  doing: string,
): readonly number[] {
  if (lengths === undefined) return new Array<number>(batch).fill(rows);
  const each = { count: batch, name: "sequence", letter: "B" };
  return readCounts("lengths", lengths, each, () => [rows, "n"], doing);
}

function readTokens(
  k: AnyTensor,
  v: AnyTensor,
  layout: Layout,
  { batch, kvHeads, headDim, valueDim }: ShardedSizes,
  doing: string,
) {
  const keys = readRows("k", k, layout, [batch, kvHeads, null, headDim], "[B, Hkv, n, D]", doing);
  const shape = [batch, kvHeads, keys.rows, valueDim];
  return { k: keys, v: readRows("v", v, layout, shape, "[B, Hkv, n, Dv]", doing) };
}

/** Reads what is appended. */
export function readAppend(
  k: AnyTensor,
  v: AnyTensor,
  options: ShardedAppendOptions,
  sizes: ShardedSizes,
  doing: string,
): ReadCall {
  const { lengths, layout = "bhnd", signal } = readOptions(options, appendNames, doing);
  checkLayoutName(layout, doing);
  const tokens = readTokens(k, v, layout, sizes, doing), { rows } = tokens.k;
  const counts = readLengths(lengths, sizes.batch, rows, doing);
  return { tokens, queries: null, counts, rows, layout, signal };
}

function readWindow(
  window: ShardedAttendOptions["window"],
  doing: string,
): readonly [number | null, number | null] {
  if (window === undefined) return [null, null];
  const isRight = (end: unknown) => end === null || end === Infinity || isExtent(end);
  if (!Array.isArray(window) || window.length !== 2 || !window.every(isRight)) {
    throw new RangeError(
      `${doing}: \`window\` must be [left, right], whole numbers >= 0 or null, got ${
        Array.isArray(window) ? `[${window}]` : kindOf(window)
      }`,
    );
  }
  const [left, right] = window.map((end) => end !== null && end < 2 ** 31 ? end : null);
  return [left, right];
}

function checkFinite(name: string, value: number, doing: string): void {
  if (typeof value === "number" && Number.isFinite(value) && (name === "scale" || value >= 0)) {
    return;
  }
  throw new RangeError(
    `${doing}: \`${name}\` must be a finite number${name === "scale" ? "" : " >= 0"}, got ${
      kindOf(value)
    }`,
  );
}

/** Reads queries. */
export function readAttend(
  q: AnyTensor,
  options: ShardedAttendOptions,
  sizes: ShardedSizes,
): ReadCall {
  const doing = "Cannot attend";
  return readRowsBy(q, null, readOptions(options, attendNames, doing), sizes, doing);
}

/** A step as it was read. */
export interface ReadStep {
  readonly call: ReadCall;
  readonly turning: Turning | null;
}

/** Reads tokens, and the queries of the same. */
export function readStep(
  [q, k, v]: readonly [q: AnyTensor, k: AnyTensor, v: AnyTensor],
  options: ShardedStepOptions,
  sizes: ShardedSizes,
): ReadStep {
  const doing = "Cannot step", read = readOptions(options, [...attendNames, "rope"], doing);
  const call = readRowsBy(q, [k, v], read, sizes, doing), { rope } = read;
  if (rope === undefined) return { call, turning: null };
  return { call, turning: readTurning(rope, call.queries!.q, call.tokens!.k, sizes.batch, doing) };
}

/** Reads rows by options of which each was read. */
function readRowsBy(
  given: AnyTensor,
  tokensGiven: readonly [k: AnyTensor, v: AnyTensor] | null,
  read: ShardedAttendOptions,
  sizes: ShardedSizes,
  doing: string,
): ReadCall {
  const { batch, headDim, kvHeads } = sizes;
  const { layout = "bhnd", causal = tokensGiven !== null, softcap = 0, signal } = read;
  const { scale = 1 / Math.sqrt(headDim) } = read;
  checkLayoutName(layout, doing);
  checkOneOf("causal", causal, [true, false], doing);
  const [left, right] = readWindow(read.window, doing);
  checkFinite("scale", scale, doing);
  checkFinite("softcap", softcap, doing);
  const tokens = tokensGiven && readTokens(...tokensGiven, layout, sizes, doing);
  const rows = tokens ? tokens.k.rows : null;
  const q = readRows("q", given, layout, [batch, null, rows, headDim], "[B, Hq, n, D]", doing);
  if (q.heads === 0 || q.heads % kvHeads !== 0) {
    throw new RangeError(
      `${doing}: Hq must be a multiple of Hkv, got Hq = ${q.heads} in \`q\` and Hkv = ${kvHeads}`,
    );
  }
  const counts = readLengths(read.lengths, batch, q.rows, doing);
  const attending = { queryHeads: q.heads, isCausal: causal, left, right, scale, softcap };
  return { tokens, queries: { ...attending, q }, counts, rows: q.rows, layout, signal };
}
