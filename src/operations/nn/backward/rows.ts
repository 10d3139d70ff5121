/**
 * Functions of each number, rows of tables and means, and what gives their gradients.
 *
 * @module
 */

import type { Machinery } from "../../../contract/backend.ts";
import type { AnyTensor } from "../../../tensor/tensor.ts";
import { run } from "../../call.ts";
import type { RowsCall } from "../call.ts";
import { placedOf } from "../rows.ts";
import type { EmbeddingPlan, MeanPlan, PointwisePlan, RowsPiece } from "../tokens.ts";
import type { Differentiable } from "./linear.ts";
import { twinOf } from "./options.ts";
import {
  copiesOf,
  gradientLike,
  matrixOf,
  piecesBy,
  type Ran,
  readGradient,
  readPass,
  runForward,
} from "./pass.ts";
import { embeddingBackward, gatedBackward, meanBackward, pointwiseBackward } from "./tokens.ts";

/** A backward pass of a call that has run: the gradient by its result, and what ends it. */
type Pass = (ran: Ran, ...given: Parameters<Differentiable["backward"]>) => Promise<unknown>;

/** Runs a call; gradients need nothing but its inputs. */
async function withPass(
  asked: Machinery | Promise<Machinery>,
  call: RowsCall<never> | RowsCall<PointwisePlan> | RowsCall<EmbeddingPlan> | RowsCall<MeanPlan>,
  pass: Pass,
): Promise<Differentiable> {
  const name = twinOf(call.operation.name);
  const ran = await runForward(asked, name, call as RowsCall<PointwisePlan>);
  return {
    out: ran.out,
    backward: async (dOut, options = {}) =>
      await pass(ran, dOut, options) as Record<string, AnyTensor>,
  };
}

/** A function of each number. */
export function pointwiseWithGradient(
  asked: Machinery | Promise<Machinery>,
  call: RowsCall<PointwisePlan>,
): Promise<Differentiable> {
  const { plan, x, leading } = call, activation = plan.activation!;
  return withPass(asked, call, ({ backend }, given, pass = {}) => {
    const { signal } = readPass(pass), dOut = readGradient("dOut", given, x.shape);
    return run(backend, {
      operation: pointwiseBackward,
      plan: { activation, rows: plan.rows, used: { x, dOut } },
      control: { signal },
      results: { dx: gradientLike(x) },
      target: ({ dx }) =>
        piecesBy({ x, y: dOut, out: placedOf(dx), sum: null }, leading) as RowsPiece[],
      finish: (made) => ({ ...made }),
    });
  });
}

/** A gate, and what it lets pass. */
export function gatedWithGradient(
  asked: Machinery | Promise<Machinery>,
  call: RowsCall<PointwisePlan>,
): Promise<Differentiable> {
  const { plan, x: gate, leading } = call, up = call.y!, activation = plan.activation!;
  return withPass(asked, call, ({ backend }, given, pass = {}) => {
    const { signal } = readPass(pass), dOut = readGradient("dOut", given, gate.shape);
    return run(backend, {
      operation: gatedBackward,
      plan: { activation, rows: plan.rows, used: { gate, up, dOut } },
      control: { signal },
      results: { dGate: gradientLike(gate), dUp: gradientLike(up) },
      target: ({ dGate, dUp }) =>
        piecesBy({ gate, up, dOut, dGate: placedOf(dGate), dUp: placedOf(dUp) }, leading),
      finish: (made) => ({ ...made }),
    });
  });
}

/** A sum of two. */
export function addWithGradient(
  asked: Machinery | Promise<Machinery>,
  call: RowsCall<PointwisePlan>,
): Promise<Differentiable> {
  const { x: { shape } } = call;
  return withPass(asked, call, ({ backend }, given, pass = {}) => {
    const options = readPass(pass), dOut = readGradient("dOut", given, shape);
    return Promise.resolve(copiesOf(backend, dOut, ["da", "db"], options));
  });
}

/** Rows of a table. */
export function embeddingWithGradient(
  asked: Machinery | Promise<Machinery>,
  call: RowsCall<EmbeddingPlan>,
): Promise<Differentiable> {
  const { plan: { ids, scale, rows }, x: table, out: { shape } } = call;
  return withPass(asked, call, ({ backend }, given, pass = {}) => {
    const { signal } = readPass(pass), dOut = readGradient("dOut", given, shape);
    return run(backend, {
      operation: embeddingBackward,
      plan: { ids, scale, rows, used: { dOut } },
      control: { signal },
      results: { dTable: gradientLike(table) },
      target: ({ dTable }) => ({ dOut: matrixOf(dOut), dTable: matrixOf(placedOf(dTable)) }),
      finish: (made) => ({ ...made }),
    });
  });
}

/** Means of packed sequences. */
export function meanRowsWithGradient(
  asked: Machinery | Promise<Machinery>,
  call: RowsCall<MeanPlan>,
): Promise<Differentiable> {
  const { plan: { bounds }, x, out: { shape } } = call;
  return withPass(asked, call, ({ backend }, given, pass = {}) => {
    const { signal } = readPass(pass), dOut = readGradient("dOut", given, shape);
    return run(backend, {
      operation: meanBackward,
      plan: { bounds, rows: x.shape[0], used: { dOut } },
      control: { signal },
      results: { dx: gradientLike(x) },
      target: ({ dx }) => ({ dOut: matrixOf(dOut), dx: matrixOf(placedOf(dx)) }),
      finish: (made) => ({ ...made }),
    });
  });
}
