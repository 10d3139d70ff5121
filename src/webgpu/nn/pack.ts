/**
 * Weights are packed on WebGPU: uploaded as they are, and laid out by a shader.
 *
 * @module
 */

import { throwIfAborted } from "../../check/errors.ts";
import type { Control } from "../../contract/backend.ts";
import { type PackedWeight, panelOutputs } from "../../operations/nn/packed.ts";
import { type BlockSource, packLinear, type PackPlan } from "../../operations/nn/tokens.ts";
import type { HeldArray } from "../../tensor/arrays.ts";
import type { AnyView, View } from "../../tensor/tensor.ts";
import type { Binding } from "../device/buffers.ts";
import { type Course, withCourse } from "../device/course.ts";
import type { Machine } from "../device/machine.ts";
import { pipelineOf } from "../device/pipelines.ts";
import type { Loan } from "../device/submission.ts";
import { accessFlags } from "../shader/access.ts";
import { nnShaders } from "../shader/nn_shaders.gen.ts";
import { encode } from "../shader/parameters.ts";
import { codeOf } from "../shader/sources.ts";
import type { Bound } from "../transfer/box.ts";
import { extent, mostWorkgroups, type Range } from "../transfer/regions.ts";
import { rowThreads } from "../transfer/rows.ts";
import { accessOf, sourceOf } from "../transfer/source.ts";
import { boxOf, checkRow } from "./tensors.ts";
import { blocksOf, panelRanges, panelsIn, panelVectors, weightFlags } from "./weights.ts";

const { cannot } = packLinear;

const fields = {
  /** Fours of inputs, or blocks of 32, of a row. */
  units: "u32",
  inputs: "u32",
  /** Outputs that there are of the panels. */
  outputs: "u32",
  not_a_number: "f32",
  x: "tensor",
} as const;

/** Bytes of blocks that are uploaded at once. */
const uploadBytes = 8 * 1024 * 1024;

/** Bytes of a block. */
const blockBytes = { q8_0: 34, q4_0: 18 } as const;

/** A weight that is read. */
interface Reading {
  readonly code: string;
  /** Panels at once, at most. */
  readonly most: number;
  place(outputs: Range): Promise<Binding | Bound>;
}

function isBlocks(source: View | BlockSource): source is BlockSource {
  return !("strides" in source);
}

/** Blocks of a file. */
function readBlocks({ data, dtype }: BlockSource, target: PackedWeight, loan: Loan): Reading {
  const BLOCK_BYTES = blockBytes[dtype], row = blocksOf(target) * BLOCK_BYTES;
  return {
    code: codeOf("nn/pack_blocks.wgsl", fields, {
      ...{ THREADS: rowThreads, BLOCK_BYTES, Q4: Number(dtype === "q4_0") },
    }, nnShaders),
    most: uploadBytes / (row * panelOutputs),
    async place([from, to]) {
      const part = (data as HeldArray<Uint8Array>).part(from * row, to * row);
      const bytes = new Uint8Array(Math.ceil(part.length / 4) * 4);
      bytes.set(part);
      const binding = await loan.room(bytes.length, "blocks");
      loan.attempt(() => loan.session.gpu.device.queue.writeBuffer(binding.buffer, 0, bytes));
      return binding;
    },
  };
}

/** Floats, wherever they are. */
function readFloats(view: AnyView, target: PackedWeight, loan: Loan): Reading {
  const source = sourceOf(view, loan, "weight"), { dtype } = target;
  return {
    code: codeOf("nn/pack.wgsl", fields, {
      ...{ THREADS: rowThreads, ...weightFlags(target), [`packed_${dtype}`]: 1 },
      ...accessFlags({ x: accessOf(view) }),
    }, nnShaders),
    most: Infinity,
    async place(outputs) {
      const box = boxOf(outputs);
      checkRow(cannot, [source.bytes(box)], loan.session.bounds.bindingBytes);
      return await source.place(box);
    },
  };
}

/** Packs a weight. */
export async function packWeight(
  machine: Machine,
  { source }: PackPlan,
  target: PackedWeight,
  { signal }: Control,
): Promise<void> {
  await withCourse(machine, "pack", cannot, async (course) => {
    const { loan } = course, { session } = loan;
    const reading = isBlocks(source)
      ? readBlocks(source, target, loan)
      : readFloats(source, target, loan);
    const pipeline = await pipelineOf(session.gpu, reading.code, "pack");
    const { most } = reading, rowBytes = target.inputs * 4 * panelOutputs;
    const fitting = Math.min(most, session.bounds.bindingBytes / rowBytes, mostWorkgroups / 2);
    const ranges = panelRanges(session, target, Math.floor(fitting), cannot);
    for (const panels of ranges) {
      throwIfAborted(signal);
      machine.open();
      await packPanels(course, pipeline, reading, target, panels);
      await course.end(0, panels === ranges.at(-1));
    }
  });
  throwIfAborted(signal);
}

async function packPanels(
  { submission }: Course,
  pipeline: GPUComputePipeline,
  { place }: Reading,
  target: PackedWeight,
  panels: Range,
): Promise<void> {
  const { inputs, dtype } = target, first = panels[0] * panelOutputs;
  const end = Math.min(target.outputs, panels[1] * panelOutputs);
  if (first >= end) return; // Outputs beyond the last are 0.
  const from = await place([first, end]), x = "at" in from ? from : null;
  const units = dtype === "int8" ? blocksOf(target) : Math.ceil(inputs / 4);
  const uniforms = encode(fields, { units, inputs, outputs: end - first, not_a_number: NaN, x });
  const [packed, scales] = panelsIn(target, panels);
  const grid = [Math.ceil(units / rowThreads), extent(panels) * panelVectors, 1] as const;
  submission.dispatch(pipeline, uniforms, [from, null, null, packed, scales], grid);
}
