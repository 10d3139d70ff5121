/**
 * Norms and functions of each number on WebGPU.
 *
 * @module
 */

import { throwIfAborted } from "../../check/errors.ts";
import type { Control } from "../../contract/backend.ts";
import { cannotOf } from "../../operations/nn/options.ts";
import type { NormPlan, PointwisePlan, RowsPiece } from "../../operations/nn/tokens.ts";
import { type AnyView, sizeOf } from "../../tensor/tensor.ts";
import { type Course, withCourse } from "../device/course.ts";
import type { Machine } from "../device/machine.ts";
import { pipelineOf } from "../device/pipelines.ts";
import type { Grid } from "../device/submission.ts";
import { accessFlags } from "../shader/access.ts";
import { nnShaders } from "../shader/nn_shaders.gen.ts";
import { encode } from "../shader/parameters.ts";
import { codeOf } from "../shader/sources.ts";
import type { Bound, Box } from "../transfer/box.ts";
import { extent, mostWorkgroups } from "../transfer/regions.ts";
import { rowBoxes, rowThreads } from "../transfer/rows.ts";
import { accessOf, sourceOf } from "../transfer/source.ts";
import { activationNumbers } from "./linear.ts";
import { boxOf, checkBuffers, checkRow, PieceTensors, type Placed } from "./tensors.ts";

const pointwiseFields = {
  rows: "u32",
  columns: "u32",
  vectors: "u32",
  activation: "u32",
  is_sum: "u32",
  x: "tensor",
  y: "tensor",
  out: "tensor",
} as const;

const normFields = {
  rows: "u32",
  columns: "u32",
  vectors: "u32",
  eps: "f32",
  offset: "f32",
  x: "tensor",
  y: "tensor",
  added: "tensor",
  gain: "tensor",
  base: "tensor",
  out: "tensor",
} as const;

/** Vectors of a row that a thread keeps, at most. */
const mostHeld = 8;

/** What is dispatched for some rows. */
interface Dispatched {
  readonly uniforms: Uint8Array<ArrayBuffer>;
  /** Bindings behind `x`, `y`, `out` and `added`. */
  readonly more?: readonly (Bound | null)[];
  readonly grid: Grid;
}

/** How a shader goes through the rows of a piece. */
interface Shader {
  readonly pipeline: GPUComputePipeline;
  /** Threads of a row. */
  readonly threads: number;
  dispatched(box: Box, placed: Placed): Promise<Dispatched> | Dispatched;
}

/** Goes through the rows of all pieces. */
async function goThrough(
  machine: Machine,
  name: string,
  pieces: readonly RowsPiece[],
  signal: Control["signal"],
  prepare: (course: Course, piece: RowsPiece, tensors: PieceTensors) => Promise<Shader>,
): Promise<void> {
  const cannot = cannotOf(name);
  await withCourse(machine, name, cannot, async (course) => {
    const { loan, submission } = course, { session } = loan;
    for (const piece of pieces) {
      if (sizeOf(piece.out.shape) === 0) continue;
      const tensors = new PieceTensors(piece, loan);
      const { pipeline, threads, dispatched } = await prepare(course, piece, tensors);
      const bytes = (box: Box) => tensors.bytes(box);
      for (const { rows } of rowBoxes(session, piece.out.shape, threads, bytes)) {
        throwIfAborted(signal);
        machine.open();
        const box = boxOf(rows);
        checkRow(cannot, bytes(box), session.bounds.bindingBytes);
        const placed = await tensors.place(box), bound = tensors.bindings(placed);
        const { uniforms, more = [], grid } = await dispatched(box, placed);
        const bindings = [bound.x, bound.y, null, bound.out, bound.added, ...more];
        submission.dispatch(pipeline, uniforms, bindings, grid);
        tensors.copyBack(placed, box, submission);
        await course.end(0, true);
        tensors.release();
      }
    }
  });
  throwIfAborted(signal);
}

/** Workgroups for so many threads, along two axes where one has not so many. */
function planeOf(threads: number): Grid {
  const groups = Math.ceil(threads / rowThreads), rows = Math.ceil(groups / mostWorkgroups);
  return [Math.ceil(groups / rows), rows, 1];
}

/** Who does a layer of rows, and what is checked before. */
interface RowsRunner<Plan> {
  check(plan: Plan): void;
  run(
    machine: Machine,
    plan: Plan,
    pieces: readonly RowsPiece[],
    control: Control,
  ): Promise<void>;
}

/** A layer whose result may lie over some inputs, by how it goes through the rows of a piece. */
function rowsRunner<Plan extends Pick<PointwisePlan, "used">>(
  name: string,
  over: readonly string[],
  prepare: (
    plan: Plan,
    course: Course,
    piece: RowsPiece,
    tensors: PieceTensors,
  ) => Promise<Shader>,
): RowsRunner<Plan> {
  const check = ({ used }: Plan) => checkBuffers(used, { over, cannot: cannotOf(name) });
  return {
    check,
    async run(machine, plan, pieces, { signal }) {
      check(plan);
      await goThrough(machine, name, pieces, signal, (...piece) => prepare(plan, ...piece));
    },
  };
}

/** Functions of each number. */
export function pointwiseRows(name: string, over: readonly string[]): RowsRunner<PointwisePlan> {
  return rowsRunner(name, over, async (plan, { loan }, piece, { flags }) => {
    const columns = piece.out.shape[3], vectors = Math.ceil(columns / 4);
    const code = codeOf("nn/pointwise.wgsl", pointwiseFields, {
      ...{ THREADS: rowThreads, Y: Number(piece.y !== null), ...flags },
    }, nnShaders);
    const activation = plan.activation === null ? 0 : activationNumbers[plan.activation];
    const asked = { columns, vectors, activation, is_sum: Number(plan.combine === "add") };
    return {
      pipeline: await pipelineOf(loan.session.gpu, code, name),
      threads: vectors,
      dispatched: (box, { x, y, out }) => ({
        uniforms: encode(pointwiseFields, { ...asked, rows: extent(box.rows), x, y, out }),
        grid: planeOf(extent(box.rows) * vectors),
      }),
    };
  });
}

/** How the threads of a workgroup share rows of so many vectors. */
function sharesOf(vectors: number) {
  const power = (least: number) => 2 ** Math.ceil(Math.log2(Math.max(1, least)));
  const lanes = Math.min(rowThreads, power(vectors / 2)), each = power(vectors / lanes);
  return { LANES: lanes, ROWS: rowThreads / lanes, HELD: each > mostHeld ? 0 : each };
}

/** Norms of rows. */
export function normRows(name: string): RowsRunner<NormPlan> {
  return rowsRunner(name, ["x", "residual", "y"], async (plan, { loan }, piece, { flags }) => {
    const columns = piece.out.shape[3], vectors = Math.ceil(columns / 4);
    const shared = { gain: plan.weight as AnyView | null, base: plan.bias as AnyView | null };
    const [gain, base] = Object.entries(shared).map(([name, view]) =>
      view && sourceOf(view, loan, name)
    );
    const shares = sharesOf(vectors);
    const code = codeOf("nn/norm.wgsl", normFields, {
      ...{ THREADS: rowThreads, ...shares, CENTRED: Number(plan.isCentred), ...flags },
      ...{
        Y: Number(piece.y !== null),
        GAIN: Number(gain !== null),
        BASE: Number(base !== null),
      },
      ...accessFlags({
        gain: shared.gain && accessOf(shared.gain),
        base: shared.base && accessOf(shared.base),
      }),
    }, nnShaders);
    return {
      pipeline: await pipelineOf(loan.session.gpu, code, name),
      threads: shares.LANES,
      async dispatched(box, { x, y, out, added }) {
        const row = boxOf([0, 1]);
        const placed = {
          gain: await gain?.place(row) ?? null,
          base: await base?.place(row) ?? null,
        };
        const uniforms = encode(normFields, {
          ...{ rows: extent(box.rows), columns, vectors, eps: plan.eps, offset: plan.offset },
          ...{ ...placed, x, y, out, added },
        });
        return {
          ...{ uniforms, more: [placed.gain, placed.base] },
          grid: [Math.ceil(extent(box.rows) / shares.ROWS), 1, 1],
        };
      },
    };
  });
}
