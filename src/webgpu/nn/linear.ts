/**
 * Linear layers on WebGPU.
 *
 * @module
 */

import { throwIfAborted } from "../../check/errors.ts";
import type { Control } from "../../contract/backend.ts";
import type { Activation } from "../../operations/nn/options.ts";
import { panelOutputs } from "../../operations/nn/packed.ts";
import { linear, type LinearPlan, type RowsPiece } from "../../operations/nn/tokens.ts";
import { isGpuBuffer } from "../../tensor/dtype.ts";
import { type AnyView, sizeOf } from "../../tensor/tensor.ts";
import { type Course, withCourse } from "../device/course.ts";
import type { Machine } from "../device/machine.ts";
import { pipelineOf } from "../device/pipelines.ts";
import { accessFlags } from "../shader/access.ts";
import { nnShaders } from "../shader/nn_shaders.gen.ts";
import { encode } from "../shader/parameters.ts";
import { codeOf } from "../shader/sources.ts";
import { type Bound, emptyBound } from "../transfer/box.ts";
import { cutRegion, extent, mostWorkgroups, type Range, tileUnit } from "../transfer/regions.ts";
import { accessOf, sourceOf } from "../transfer/source.ts";
import { boxOf, checkBuffers, checkRow, PieceTensors, type Placed } from "./tensors.ts";
import { blocksOf, panelRanges, panelsIn, panelVectors, weightFlags } from "./weights.ts";

const { cannot } = linear;

const fields = {
  rows: "u32",
  inputs: "u32",
  /** Of the whole weight. */
  outputs: "u32",
  /** Blocks of a row that have a scale. */
  blocks: "u32",
  /** Vectors of outputs that are bound, and the first of them. */
  vectors: "u32",
  first_vector: "u32",
  activation: "u32",
  has_base: "u32",
  has_y: "u32",
  x: "tensor",
  y: "tensor",
  base: "tensor",
  out: "tensor",
} as const;

/** Numbers of the shader's functions; 0 is none. */
export const activationNumbers: Readonly<Record<Activation, number>> = {
  "gelu": 1,
  "gelu-tanh": 2,
  "silu": 3,
  "relu": 4,
  "tanh": 5,
};

/** A shader for so many rows at most. */
interface Variant {
  readonly most: number;
  readonly path: string;
  readonly constants: Readonly<Record<string, number>>;
  /** Rows and panels of a workgroup. */
  readonly rows: number;
  readonly panels: number;
}

function tile(most: number, rows: number): Variant {
  const TY = rows / 4, constants = { TY, THREADS: 8 * TY };
  return { most, path: "nn/linear.wgsl", constants, rows, panels: 8 };
}

function together(rows: number): Variant {
  const constants = { ROWS: rows };
  return { most: rows, path: "nn/linear_rows.wgsl", constants, rows, panels: 1 };
}

/** By how many rows there are: few share a workgroup for each panel, many are tiles. */
const variants: readonly Variant[] = [together(1), together(4), tile(32, 16), tile(Infinity, 64)];

/** Throws where a call has something that is not where it can be used. */
export function checkLinear({ used }: LinearPlan): void {
  if (!isGpuBuffer(used.weight!.data)) {
    throw new TypeError(
      `${cannot}: \`weight\` is in the memory of the wasm backend, where no GPUBuffer can be read; ` +
        'pack it with an engine of { backend: "webgpu" }',
    );
  }
  checkBuffers(used, { over: ["residual", "y"], cannot });
}

/** What the parts of a piece have in common. */
interface Running {
  readonly course: Course;
  readonly plan: LinearPlan;
  readonly variant: Variant;
  readonly tensors: PieceTensors;
  readonly bias: ReturnType<typeof sourceOf> | null;
  readonly pipeline: GPUComputePipeline;
}

/** Rows of a linear layer. */
export async function linearRows(
  machine: Machine,
  plan: LinearPlan,
  pieces: readonly RowsPiece[],
  { signal }: Control,
): Promise<void> {
  checkLinear(plan);
  await withCourse(machine, "linear", cannot, async (course) => {
    const left = pieces.filter(({ out }) => sizeOf(out.shape) > 0);
    for (const piece of left) {
      const running = await prepare(course, plan, piece), count = piece.out.shape[2];
      for (const rows of rowsOf(running, count)) {
        await runRows(running, rows, () => {
          throwIfAborted(signal);
          machine.open();
        }, piece === left.at(-1) && rows[1] === count);
      }
      running.tensors.release();
    }
  });
  throwIfAborted(signal);
}

async function prepare(course: Course, plan: LinearPlan, piece: RowsPiece): Promise<Running> {
  const { loan } = course, { bias, packed } = plan, rows = piece.out.shape[2];
  const tensors = new PieceTensors(piece, loan), offsets = bias as AnyView | null;
  const variant = variants.find(({ most }) => rows <= most)!;
  const code = codeOf(variant.path, fields, {
    ...{ ...variant.constants, ...weightFlags(packed), ...tensors.flags },
    // What is not there is bound all the same: a shader for each combination would have to be compiled.
    ...(piece.y === null && accessFlags({ y: { dtype: "f32", vectors: true } })),
    ...accessFlags({ base: offsets ? accessOf(offsets) : { dtype: "f32", vectors: true } }),
  }, nnShaders);
  return {
    ...{ course, plan, variant, tensors },
    bias: offsets && sourceOf(offsets, loan, "bias"),
    pipeline: await pipelineOf(loan.session.gpu, code, "linear"),
  };
}

/** Multiply-adds of some rows and panels. */
function workOf({ packed }: LinearPlan, rows: number, panels: number): number {
  return rows * panels * packed.inputs * panelOutputs;
}

/** Panels of a submit at least, whatever time they take, with rows of one tile. */
function rangesOf({ course, plan }: Running, rows: number): Range[] {
  const { session } = course.loan, most = session.work / workOf(plan, Math.min(rows, tileUnit), 1);
  return panelRanges(session, plan.packed, Math.min(mostWorkgroups, Math.floor(most)), cannot);
}

/** Cuts a piece; no tile is cut because of the time it takes. */
function* rowsOf(running: Running, count: number): Generator<Range> {
  const { course, plan, variant, tensors } = running, { work, bounds } = course.loan.session;
  const panels = Math.max(...rangesOf(running, count).map(extent));
  const fits = ({ rows }: { readonly rows: Range }) =>
    Math.ceil(extent(rows) / variant.rows) <= mostWorkgroups &&
    tensors.bytes(boxOf(rows)).every((bytes) => bytes <= bounds.bindingBytes) &&
    (extent(rows) <= tileUnit || workOf(plan, extent(rows), panels) <= work);
  for (const { rows } of cutRegion({ rows: [0, count] as Range }, fits)) {
    checkRow(cannot, tensors.bytes(boxOf(rows)), bounds.bindingBytes);
    yield rows;
  }
}

/** Dispatches some rows, panels by panels; `check` is asked before each. */
async function runRows(
  running: Running,
  rows: Range,
  check: () => void,
  isLast: boolean,
): Promise<void> {
  const { course, plan, tensors, bias } = running,
    box = boxOf(rows),
    ranges = rangesOf(running, extent(rows));
  check();
  const placed = await tensors.place(box), base = await bias?.place(boxOf([0, 1])) ?? null;
  for (const panels of ranges) {
    check();
    const isEnd = panels === ranges.at(-1);
    await dispatchPanels(running, { ...placed, base }, rows, panels);
    if (isEnd) tensors.copyBack(placed, box, course.submission);
    await course.end(workOf(plan, extent(rows), extent(panels)), isLast && isEnd);
  }
}

async function dispatchPanels(
  { course, plan, variant, tensors, pipeline }: Running,
  { base, ...placed }: Placed & { readonly base: Bound | null },
  rows: Range,
  panels: Range,
): Promise<void> {
  const { loan, submission } = course, { packed, activation } = plan, { x, y, out } = placed;
  const uniforms = encode(fields, {
    ...{ rows: extent(rows), inputs: packed.inputs, outputs: packed.outputs },
    ...{ blocks: blocksOf(packed), vectors: extent(panels) * panelVectors },
    first_vector: panels[0] * panelVectors,
    activation: activation === null ? 0 : activationNumbers[activation],
    ...{ has_base: Number(base !== null), has_y: Number(y !== null), x, y, base, out },
  });
  const bound = tensors.bindings(placed), [weight, scales] = panelsIn(packed, panels);
  const nothing = base === null || y === null ? await emptyBound(loan) : null;
  submission.dispatch(
    pipeline,
    uniforms,
    [bound.x, weight, scales, bound.out, base ?? nothing, y === null ? nothing : bound.y],
    [Math.ceil(extent(panels) / variant.panels), Math.ceil(extent(rows) / variant.rows), 1],
  );
  submission.free(nothing?.buffer);
}
