/**
 * Calls of layers: what all of them have in common, from the options to the result.
 *
 * @module
 */

import { checkWritable } from "../../check/tensors.ts";
import { BackendUnavailableError, type SignalLike } from "../../check/errors.ts";
import type { Backend } from "../../contract/backend.ts";
import type { Operation } from "../../contract/operation.ts";
import { HeldArray } from "../../tensor/arrays.ts";
import { isGpuBuffer } from "../../tensor/dtype.ts";
import { type AnyTensor, copyView, mayOverlap, mayOverlapAny } from "../../tensor/tensor.ts";
import type { Call, Made, NewTensor } from "../call.ts";
import type { LinearDType, LinearPrecision } from "./options.ts";
import { piecesOf, placedOf, type PlacedTensor, readShaped } from "./rows.ts";
import type { RowsPiece, RowsPlan } from "./tokens.ts";

/** A result of a call. */
export interface Written {
  /** The caller's tensor as it was read; `null` for one of its own. */
  readonly own: PlacedTensor | null;
  /** The same as it was given. */
  readonly given: AnyTensor | null;
  readonly shape: readonly number[];
  /** What it is stored like where it has a tensor of its own. */
  readonly like: PlacedTensor;
  /** Inputs in whose place it may be written, element for element. */
  readonly over: readonly (PlacedTensor | null)[];
}

/** A call whose rows are `x`, and `y` if there is one, and become those of `out`, and of `sum` if that is asked for. */
export interface RowsCall<Plan extends RowsPlan> {
  readonly operation: Operation<Plan, readonly RowsPiece[]>;
  readonly plan: Plan;
  /** The axes that all of these have in front of their last; of `x` others where pieces are not made by rows. */
  readonly leading: readonly number[];
  readonly x: PlacedTensor;
  readonly y: PlacedTensor | null;
  /** What else is read, in which no result may be written. */
  readonly reads: readonly (PlacedTensor | null)[];
  readonly out: Written;
  readonly sum: Written | null;
  readonly signal: SignalLike | null | undefined;
  /** Pieces where rows of `x` are not those of `out`. */
  pieces?(x: PlacedTensor, out: PlacedTensor): RowsPiece[];
}

/** Results by name. */
export interface Results {
  readonly out: AnyTensor;
  readonly sum?: AnyTensor;
}

/** Reads the tensor that a result goes to. */
export function readWritten(
  name: string,
  given: AnyTensor | undefined,
  rest: Omit<Written, "own" | "given">,
  doing: string,
): Written {
  if (given === undefined) return { own: null, given: null, ...rest };
  const own = readShaped(name, given, rest.shape, doing);
  checkWritable(own, doing);
  return { own, given, ...rest };
}

/** Checks that no two results share elements. */
export function checkResultsApart(out: Written, sum: Written | null, doing: string): void {
  if (out.own === null || !sum?.own || !mayOverlap(out.own, sum.own)) return;
  throw new RangeError(`${doing}: \`out\` and \`sum\` must not share elements`);
}

/** Checks that a weight can be kept so where it is to be: integers of 16 bits are for the CPU. */
export function checkStored({ name }: Backend, dtype: LinearDType): void {
  if (name === "wasm" || dtype !== "int16") return;
  throw new BackendUnavailableError(
    name,
    'it keeps no weights as "int16"; pack them as "f16", or make the engine with { backend: "wasm" }',
  );
}

/** Checks that products can be formed so where a weight is: by integers on the CPU alone. */
export function checkFormed({ name }: Backend, precision: LinearPrecision): void {
  if (name === "wasm" || precision === "f32") return;
  throw new BackendUnavailableError(
    name,
    `it forms no products by \`precision: "${precision}"\`; leave it out, or make the engine with ` +
      '{ backend: "wasm" }',
  );
}

/** Whether two tensors have their elements at the same places. */
function isSame(a: PlacedTensor, b: PlacedTensor): boolean {
  return HeldArray.is(a.data) && HeldArray.is(b.data) && a.dtype === b.dtype &&
    a.data.byteOffset === b.data.byteOffset && a.offset === b.offset &&
    a.strides.every((step, axis) => step === b.strides[axis] || a.shape[axis] === 1);
}

/**
 * Whether a result can go where it is wanted while inputs are read: else it is made apart, and copied. On a GPU it is not:
 * who runs there refuses what cannot.
 */
function isDirect({ own, over }: Written, all: readonly (PlacedTensor | null)[]): boolean {
  if (own === null || isGpuBuffer(own.data)) return true;
  const others = all.filter((read) => !read || !over.includes(read) || !isSame(own, read));
  return !mayOverlapAny(own, others);
}

/** What is made for results: those without a tensor, and those that cannot go to theirs at once. */
function resultsOf<Plan extends RowsPlan>(
  { x, y, reads, out, sum }: RowsCall<Plan>,
): Record<string, NewTensor> {
  const all = [x, y, ...reads], made: Record<string, NewTensor> = {};
  for (const [name, written] of [["out", out], ["sum", sum]] as const) {
    if (written === null || (written.own !== null && isDirect(written, all))) continue;
    const { own, like, shape } = written, { data, dtype } = own ?? like;
    made[name] = { like: data, dtype, shape };
  }
  return made;
}

/** Rows of all tensors side by side. */
function targetOf<Plan extends RowsPlan>(call: RowsCall<Plan>, made: Made): readonly RowsPiece[] {
  const placed = (name: "out" | "sum") =>
    made[name] === undefined ? call[name]?.own ?? null : placedOf(made[name]);
  const { x, y, leading } = call, out = placed("out")!;
  if (call.pieces) return call.pieces(x, out);
  return piecesOf(leading, [x, y, out, placed("sum")])
    .map(([x, y, out, sum]) => ({ x, y, out, sum }) as RowsPiece);
}

/** What the caller gets of a result: its own tensor, filled by now. */
function finished({ given, own, shape }: Written, made: AnyTensor | undefined): AnyTensor {
  if (made === undefined) return given!;
  if (own === null) return made;
  for (const [from, to] of piecesOf(shape.slice(0, -1), [placedOf(made), own])) {
    copyView(from!, to!);
  }
  return given!;
}

/** What becomes of a call. */
export function callOf<Plan extends RowsPlan>(
  call: RowsCall<Plan>,
): Call<Plan, readonly RowsPiece[], Results> {
  const { operation, plan, out, sum, signal } = call;
  return {
    ...{ operation, plan, control: { signal }, results: resultsOf(call) },
    target: (made) => targetOf(call, made),
    finish(made) {
      const own = { out: finished(out, made.out) };
      return sum === null ? own : { ...own, sum: finished(sum, made.sum) };
    },
  };
}
