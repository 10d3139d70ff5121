/**
 * Rows of tables and means of rows on WebGPU.
 *
 * @module
 */

import { throwIfAborted } from "../../check/errors.ts";
import type { Control } from "../../contract/backend.ts";
import type { PackedWeight } from "../../operations/nn/packed.ts";
import {
  embedding,
  type EmbeddingPlan,
  type MeanPlan,
  meanRows,
  type RowsPiece,
} from "../../operations/nn/tokens.ts";
import { bytesPerElement, isGpuBuffer } from "../../tensor/dtype.ts";
import { type AnyView, isOnHost, sizeOf, type View } from "../../tensor/tensor.ts";
import type { Binding } from "../device/buffers.ts";
import { type Course, withCourse } from "../device/course.ts";
import type { Machine } from "../device/machine.ts";
import { pipelineOf } from "../device/pipelines.ts";
import type { Loan } from "../device/submission.ts";
import { accessFlags } from "../shader/access.ts";
import { nnShaders } from "../shader/nn_shaders.gen.ts";
import { encode } from "../shader/parameters.ts";
import { codeOf } from "../shader/sources.ts";
import { type Bound, boundOf, denseStrides, emptyBound } from "../transfer/box.ts";
import { cutRegion, extent, mostWorkgroups, type Range } from "../transfer/regions.ts";
import { gridOf, rowBoxes, rowThreads } from "../transfer/rows.ts";
import { sinkOf } from "../transfer/sink.ts";
import { accessOf, sourceOf } from "../transfer/source.ts";
import { gatherRows, newElements, paddedColumns } from "../transfer/upload.ts";
import { boxOf, checkBuffers, checkRow } from "./tensors.ts";
import { blocksOf, panelsIn, weightFlags } from "./weights.ts";

const tableFields = {
  rows: "u32",
  /** Columns, which are a weight's inputs, and vectors of them. */
  inputs: "u32",
  units: "u32",
  blocks: "u32",
  scale: "f32",
  x: "tensor",
  out: "tensor",
} as const;

const meanFields = { columns: "u32", x: "tensor", out: "tensor" } as const;

/** Vectors of columns of a workgroup that makes means. */
const meanVectors = 16;

/** Throws where a call has something that is not where it can be used. */
export function checkEmbedding({ used, packed }: EmbeddingPlan): void {
  if (packed !== null && !isGpuBuffer(packed.data)) {
    throw new TypeError(
      `${embedding.cannot}: \`table\` is in the memory of the wasm backend, where no GPUBuffer can be ` +
        'written; pack it with an engine of { backend: "webgpu" }',
    );
  }
  checkBuffers(used, { over: [], cannot: embedding.cannot });
}

/** Throws where a result would be written over rows that are read. */
export function checkMeans({ used }: MeanPlan): void {
  checkBuffers(used, { over: [], cannot: meanRows.cannot });
}

/** Numbers that a shader looks up; they are written through the queue at once. */
async function upload(loan: Loan, name: string, words: Uint32Array<ArrayBuffer>): Promise<Binding> {
  const binding = await loan.room(Math.max(16, words.byteLength), name);
  loan.attempt(() => loan.session.gpu.device.queue.writeBuffer(binding.buffer, 0, words));
  return binding;
}

/** Where rows are looked up. */
interface Table {
  /** What tells the shader how it is stored. */
  readonly flags: Readonly<Record<string, number>>;
  /** Bytes of its bindings for so many rows of the result. */
  bytes(rows: number): number[];
  /** Its bindings, what uniforms say of it, and which of its rows are wanted. */
  place(
    rows: Range,
  ): Promise<{
    readonly bindings: readonly (Binding | null)[];
    readonly x: Bound | null;
    readonly ids: Uint32Array<ArrayBuffer>;
    readonly used?: GPUBuffer;
  }>;
}

/** A table in a buffer. */
function tableInBuffer(view: AnyView, ids: Uint32Array<ArrayBuffer>, loan: Loan): Table {
  const source = sourceOf(view, loan, "table"), all = boxOf([0, view.shape[2]]);
  return {
    flags: accessFlags({ x: accessOf(view) }),
    bytes: () => [source.bytes(all)],
    async place(rows) {
      const x = await source.place(all);
      return { bindings: [x], x, ids: ids.slice(...rows) };
    },
  };
}

/** A table in an array: its wanted rows are uploaded, one after the other. */
function tableInArray(view: View, ids: Uint32Array<ArrayBuffer>, loan: Loan): Table {
  const columns = paddedColumns(view), rowBytes = columns * bytesPerElement(view.dtype);
  return {
    flags: accessFlags({ x: accessOf(view) }),
    bytes: (rows) => [rows * rowBytes],
    async place([from, to]) {
      const rows = newElements(view, (to - from) * columns);
      for (let at = from; at < to; at++) {
        const target = rows.subarray((at - from) * columns, (at - from + 1) * columns);
        gatherRows(view, 0, 0, ids[at], ids[at] + 1, target, columns);
      }
      const { buffer } = await loan.room(rows.byteLength, "rows of a table");
      loan.attempt(() => loan.session.gpu.device.queue.writeBuffer(buffer, 0, rows));
      const shape = [1, 1, to - from, columns] as const;
      const dense = {
        data: buffer,
        dtype: view.dtype,
        shape,
        strides: denseStrides(shape),
        offset: 0,
      };
      const x = boundOf(dense, boxOf([0, to - from]), loan.session.alignment);
      return {
        ...{ bindings: [x], x, used: buffer },
        ids: Uint32Array.from({ length: to - from }, (_, at) => at),
      };
    },
  };
}

/** Outputs of a packed weight. */
function tableOfWeight(packed: PackedWeight, ids: Uint32Array<ArrayBuffer>): Table {
  const [weight, scales] = panelsIn(packed, [0, packed.panels]);
  return {
    flags: { PACKED: 1, ...weightFlags(packed) },
    bytes: () => [weight.size, scales?.size ?? 0],
    place: (rows) =>
      Promise.resolve({ bindings: [null, weight, scales], x: null, ids: ids.slice(...rows) }),
  };
}

function tableOf({ packed, ids: given }: EmbeddingPlan, x: AnyView, loan: Loan): Table {
  const ids = Uint32Array.from(given);
  if (packed !== null) return tableOfWeight(packed, ids);
  return isOnHost(x) ? tableInArray(x, ids, loan) : tableInBuffer(x, ids, loan);
}

/** Rows of a table by their ids. */
export async function embeddingRows(
  machine: Machine,
  plan: EmbeddingPlan,
  [{ x, out }]: readonly RowsPiece[],
  { signal }: Control,
): Promise<void> {
  checkEmbedding(plan);
  if (sizeOf(out.shape) > 0) {
    await withCourse(machine, "embedding", embedding.cannot, async (course) => {
      await lookUp(machine, course, plan, { x, out }, signal);
    });
  }
  throwIfAborted(signal);
}

async function lookUp(
  machine: Machine,
  course: Course,
  plan: EmbeddingPlan,
  { x, out }: Pick<RowsPiece, "x" | "out">,
  signal: Control["signal"],
): Promise<void> {
  const { loan, submission } = course, { session } = loan, inputs = out.shape[3];
  const table = tableOf(plan, x, loan), sink = sinkOf(out, loan, "out", false);
  const code = codeOf("nn/table.wgsl", tableFields, {
    ...{ THREADS: rowThreads, ...table.flags, ...accessFlags({ out: accessOf(out) }) },
  }, nnShaders);
  const pipeline = await pipelineOf(session.gpu, code, "embedding"), units = Math.ceil(inputs / 4);
  const bytes = ({ rows }: { readonly rows: Range }) => [
    ...[sink.bytes(boxOf(rows)), extent(rows) * 4, ...table.bytes(extent(rows))],
  ];
  for (const { rows } of rowBoxes(session, out.shape, units, bytes)) {
    throwIfAborted(signal);
    machine.open();
    checkRow(embedding.cannot, bytes({ rows }), session.bounds.bindingBytes);
    const box = boxOf(rows), placed = await sink.place(box);
    const { bindings, x, ids, used } = await table.place(rows);
    const list = await upload(loan, "ids", ids);
    const uniforms = encode(tableFields, {
      ...{ rows: extent(rows), inputs, units, blocks: blocksOf({ inputs }), scale: plan.scale },
      ...{ x, out: placed },
    });
    const [first = null, second = null, third = null] = bindings;
    const all = [first, second, third, placed, null, list];
    submission.dispatch(pipeline, uniforms, all, gridOf(box, units));
    for (const buffer of [list.buffer, used]) submission.free(buffer);
    submission.copyBack(placed, (bytes) => sink.collect(box, bytes));
    await course.end(0, true);
  }
}

/** Means of packed sequences. */
export async function meansOfRows(
  machine: Machine,
  plan: MeanPlan,
  [{ x, out }]: readonly RowsPiece[],
  { signal }: Control,
): Promise<void> {
  checkMeans(plan);
  if (sizeOf(out.shape) > 0) {
    await withCourse(machine, "means", meanRows.cannot, async (course) => {
      await sumUp(machine, course, plan, { x, out }, signal);
    });
  }
  throwIfAborted(signal);
}

async function sumUp(
  machine: Machine,
  course: Course,
  { bounds }: MeanPlan,
  { x, out }: Pick<RowsPiece, "x" | "out">,
  signal: Control["signal"],
): Promise<void> {
  const { loan, submission } = course, { session } = loan, { cannot } = meanRows;
  const columns = out.shape[3],
    rows = sourceOf(x, loan, "x"),
    sink = sinkOf(out, loan, "out", false);
  const access = accessFlags({ x: accessOf(x), out: accessOf(out) });
  const code = codeOf("nn/means.wgsl", meanFields, access, nnShaders);
  const pipeline = await pipelineOf(session.gpu, code, "means");
  const read = ([from, to]: Range) => boxOf([bounds[from], bounds[to]]);
  const bytes = (sequences: Range) => [rows.bytes(read(sequences)), sink.bytes(boxOf(sequences))];
  const fits = ({ sequences }: { readonly sequences: Range }) =>
    extent(sequences) <= mostWorkgroups &&
    bytes(sequences).every((one) => one <= session.bounds.bindingBytes);
  const whole: Range = [0, out.shape[2]];
  for (const { sequences } of cutRegion({ sequences: whole }, fits)) {
    throwIfAborted(signal);
    machine.open();
    checkRow(cannot, bytes(sequences), session.bounds.bindingBytes);
    const [from, to] = sequences, box = boxOf(sequences), first = bounds[from];
    const isEmpty = bounds[to] === first;
    const placed = await sink.place(box),
      placedX = isEmpty ? await emptyBound(loan) : await rows.place(read(sequences));
    const list = await upload(
      loan,
      "sequences",
      Uint32Array.from(bounds.slice(from, to + 1), (bound) => bound - first),
    );
    const uniforms = encode(meanFields, { columns, x: placedX, out: placed });
    const groups = Math.ceil(columns / 4 / meanVectors);
    submission.dispatch(pipeline, uniforms, [placedX, list, null, placed], [to - from, groups, 1]);
    submission.free(list.buffer);
    submission.copyBack(placed, (bytes) => sink.collect(box, bytes));
    await course.end(0, true);
    rows.release();
  }
}
