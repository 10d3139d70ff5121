/**
 * Norms, and what gives their gradients.
 *
 * @module
 */

import { kindOf } from "../../../check/words.ts";
import type { Machinery } from "../../../contract/backend.ts";
import type { AnyTensor } from "../../../tensor/tensor.ts";
import { type Call, type Made, run } from "../../call.ts";
import type { RowsCall } from "../call.ts";
import { placedOf, type PlacedTensor } from "../rows.ts";
import type { NormPlan, RowsPiece } from "../tokens.ts";
import { normPassNames, type NormPassOptions, twinOf } from "./options.ts";
import {
  copyOf,
  gradientLike,
  piecesBy,
  readGradient,
  readPass,
  rowMade,
  runForward,
} from "./pass.ts";
import {
  cannotPass,
  normBackward,
  type NormBackwardPlan,
  type NormGradientTarget,
} from "./tokens.ts";

/** A norm's results, and what gives its gradients. */
export interface DifferentiableNorm {
  readonly out: AnyTensor;
  readonly sum?: AnyTensor;
  backward(dOut: AnyTensor, pass?: NormPassOptions): Promise<Made>;
}

/** Runs a norm, and keeps what its gradients need. */
export async function normWithGradient(
  asked: Machinery | Promise<Machinery>,
  call: RowsCall<NormPlan>,
): Promise<DifferentiableNorm> {
  const { backend, out, sum } = await runForward(asked, twinOf(call.operation.name), call);
  const normed = sum === undefined ? call.x : placedOf(sum);
  return {
    ...{ out, ...(sum && { sum }) },
    backward: async (dOut, pass = {}) => await run(backend, readBackward(call, normed, dOut, pass)),
  };
}

function readSumGradient(
  given: unknown,
  { y, x: { shape } }: RowsCall<NormPlan>,
): PlacedTensor | null {
  if (given === undefined) return null;
  if (y !== null) return readGradient("dSum", given, shape);
  throw new RangeError(
    `${cannotPass}: \`dSum\` is for a norm with a \`residual\`, this one has none, got ${
      kindOf(given)
    }`,
  );
}

/** Reads a backward pass; `normed` is what was normalised. */
function readBackward(
  call: RowsCall<NormPlan>,
  normed: PlacedTensor,
  given: AnyTensor,
  pass: NormPassOptions,
): Call<NormBackwardPlan, NormGradientTarget, Made> {
  const { plan, x, y, leading, out: { shape } } = call;
  const { dSum: givenSum, signal } = readPass(pass, normPassNames);
  const dOut = readGradient("dOut", given, shape), dSum = readSumGradient(givenSum, call);
  const { isCentred, weight, bias, eps, offset, rows } = plan, width = shape.slice(-1);
  return {
    operation: normBackward,
    plan: {
      ...{ isCentred, weight, eps, offset, rows },
      used: { normed, weight, dOut, dSum },
    },
    control: { signal },
    results: {
      dx: gradientLike(x),
      ...(weight && { dWeight: gradientLike(x, width) }),
      ...(bias && { dBias: gradientLike(x, width) }),
      ...(y && { dResidual: gradientLike(x) }),
    },
    target: ({ dx, dWeight, dBias }) => ({
      pieces: piecesBy(
        { x: normed, y: dOut, out: placedOf(dx), sum: dSum },
        leading,
      ) as RowsPiece[],
      dWeight: rowMade(dWeight),
      dBias: rowMade(dBias),
    }),
    finish(made) {
      if (made.dResidual) copyOf(placedOf(made.dx), made.dResidual);
      return { ...made };
    },
  };
}
