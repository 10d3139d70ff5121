/**
 * Linear layers of weights as they are, and their gradients, on Wasm: products of the same tiles. By `x` they are rows of
 * gradients times the weight, packed by its inputs; by the weight the columns of these gradients times the columns of `x`, part
 * after part of the rows, in one order.
 *
 * @module
 */

import type {
  LinearBackwardPiece,
  LinearBackwardPlan,
  LinearGradientTarget,
  PlainLinearPlan,
} from "../../../operations/nn/backward/tokens.ts";
import { layoutOf, type PackedWeight } from "../../../operations/nn/packed.ts";
import type { LinearPlan, RowsPiece } from "../../../operations/nn/tokens.ts";
import type { HeldArray } from "../../../tensor/arrays.ts";
import { copyRowsIn } from "../../../tensor/rows.ts";
import type { View } from "../../../tensor/tensor.ts";
import type { Machine } from "../../team/machine.ts";
import type { Step } from "../../team/steps.ts";
import { mapRows, pointwiseRows, slopeOf, sumParts, sumsOf } from "../layers.ts";
import { linearRows } from "../linear.ts";
import { packWeight } from "../pack.ts";
import { Matrices, rowsOf, turned } from "./matrices.ts";

/** Rows of a part at most and at least, and numbers of `x` and of the result that it has: what is brought at a time. */
const mostRows = 512, leastRows = 128, partNumbers = 4 * 1024 * 1024;

/** Some rows of a piece. */
interface Part {
  readonly piece: LinearBackwardPiece;
  readonly from: number;
  readonly to: number;
  readonly isFirst: boolean;
  readonly isLast: boolean;
}

/** What a pass has beside its plan. */
interface Pass {
  readonly machine: Machine;
  readonly plan: LinearBackwardPlan;
  readonly matrices: Matrices;
  /** Places of a part's rows, for what is not in linear memory. */
  readonly x: View;
  readonly dOut: View;
  /** Sums of gradients by the bias. */
  readonly biasSums: View;
}

/** A linear layer, its weight packed for it. */
export function* plainLinearRows(
  machine: Machine,
  { weight, activation, ...plan }: PlainLinearPlan,
  pieces: readonly RowsPiece[],
): Generator<Step> {
  const matrices = new Matrices(machine.arena), { inputs, outputs } = plan.packed;
  try {
    const packed = matrices.takePacked(inputs, outputs);
    yield* packFor(machine, matrices, weight, packed);
    if (activation === null) {
      return yield* linearRows(machine, { ...plan, activation, packed }, pieces);
    }
    const inner = pieces.map(({ x, sum }) => ({ x, y: null, out: sum!, sum: null }));
    yield* linearRows(machine, { ...plan, activation: null, packed }, inner);
    const outer = pieces.map(({ y, sum, out }) => ({ x: sum!, y, out, sum: null }));
    const combine = outer[0]?.y ? "add" : "none";
    yield* pointwiseRows(machine, { ...plan, activation, combine }, outer);
  } finally {
    matrices.free();
  }
}

/** Packs a weight, which comes into linear memory as it lies: taking columns out of an array number by number takes longer. */
function* packFor(
  machine: Machine,
  matrices: Matrices,
  weight: View,
  packed: PackedWeight,
): Generator<Step> {
  const isTurned = weight.strides[2] < weight.strides[3];
  if (!isTurned || matrices.isHere(weight)) return yield* pack(machine, weight, packed);
  const lying = turned(weight), { shape: [, , rows, columns] } = lying;
  const place = matrices.take(rows, columns);
  yield* pack(machine, turned(matrices.bring(lying, 0, rows, place)), packed);
  matrices.give(place);
}

function pack(machine: Machine, source: View, packed: PackedWeight): Generator<Step> {
  return packWeight(machine, { source, used: {}, rows: packed.outputs }, packed);
}

/** Rows times a packed matrix. */
function multiply(
  machine: Machine,
  packed: PackedWeight,
  piece: Omit<RowsPiece, "sum">,
): Iterable<Step> {
  const plan: LinearPlan = {
    ...{ packed, bias: null, activation: null, precision: "f32" },
    ...{ used: {}, rows: piece.x.shape[2] },
  };
  return linearRows(machine, plan, [{ ...piece, sum: null }]);
}

/** Rows of a part, by sizes alone: so bits do not depend on threads. */
function partRows(inputs: number, outputs: number): number {
  const fitting = 2 ** Math.floor(Math.log2(partNumbers / (inputs + outputs)));
  return Math.max(leastRows, Math.min(mostRows, fitting));
}

function partsOf(pieces: readonly LinearBackwardPiece[], most: number): Part[] {
  const parts: Omit<Part, "isFirst" | "isLast">[] = [];
  for (const piece of pieces) {
    const rows = piece.x.shape[2];
    for (let from = 0; from < rows; from += most) {
      parts.push({ piece, from, to: Math.min(rows, from + most) });
    }
  }
  return parts.map((part, at) => ({ ...part, isFirst: at === 0, isLast: at === parts.length - 1 }));
}

/** The gradients of a linear layer. */
export function* linearGradients(
  machine: Machine,
  plan: LinearBackwardPlan,
  { pieces, dWeight, dBias }: LinearGradientTarget,
): Generator<Step> {
  const { weight, isTurned } = plan, [, , outputs, inputs] = weight.shape;
  const most = partRows(inputs, outputs), parts = partsOf(pieces, most);
  if (parts.length === 0) return;
  const rows = parts.reduce((most, { from, to }) => Math.max(most, to - from), 0);
  const matrices = new Matrices(machine.arena);
  try {
    const byInputs = matrices.takePacked(outputs, inputs);
    yield* packFor(machine, matrices, turned(weight), byInputs);
    const sums = matrices.take(dWeight.shape[2], dWeight.shape[3]);
    const pass: Pass = {
      ...{ machine, plan, matrices },
      x: matrices.take(rows, inputs),
      dOut: matrices.take(rows, outputs),
      biasSums: matrices.take(1, sumsOf(outputs)),
    };
    // As many rows are packed each time, but for ends of pieces.
    const packed = matrices.takePacked(rows, isTurned ? outputs : inputs);
    for (const part of parts) {
      const { piece, from, to, isFirst } = part, d = yield* innerGradients(pass, part);
      yield* multiply(machine, byInputs, { x: d, y: null, out: rowsOf(piece.dx, from, to) });
      if (dBias) yield* addToBias(pass, part, d, dBias);
      const x = matrices.bring(piece.x, from, to, pass.x), [a, b] = isTurned ? [x, d] : [d, x];
      const own = { ...layoutOf("f32", to - from, packed.outputs), data: packed.data };
      yield* pack(machine, turned(b), own);
      yield* multiply(machine, own, { x: turned(a), y: isFirst ? null : sums, out: sums });
    }
    const [, , sumRows, sumColumns] = sums.shape,
      target = (dWeight.data as HeldArray<Float32Array>).now();
    copyRowsIn(sums, 0, 0, 0, sumRows, target.subarray(0, sumRows * sumColumns));
  } finally {
    matrices.free();
  }
}

/** Gradients of a part by what goes into the activation, in linear memory. */
function* innerGradients(
  { machine, plan: { activation }, matrices, dOut: place }: Pass,
  { piece: { dOut, inner }, from, to }: Part,
): Generator<Step, View> {
  if (activation === null) return matrices.bring(dOut, from, to, place);
  const out = rowsOf(place, 0, to - from);
  const x = rowsOf(inner!, from, to), y = rowsOf(dOut, from, to);
  yield* mapRows(machine, slopeOf[activation], "multiply", [{ x, y, out, sum: null }]);
  return out;
}

/** Adds those of a part to the gradients by the bias, which are there with the last. */
function addToBias(
  { machine, biasSums }: Pass,
  { from, to, isFirst, isLast }: Part,
  x: View,
  out: View,
): Generator<Step> {
  const part = { sequence: 0, batch: 0, head: 0, from: 0, to: to - from, isFirst, isLast };
  return sumParts(machine, { x, out, sums: biasSums.data.byteOffset, scale: () => 1 }, [part]);
}
