/**
 * Packed weights as shaders read them: some panels at a time, as many as a binding holds.
 *
 * @module
 */

import { blockInputs, type PackedWeight, panelOutputs } from "../../operations/nn/packed.ts";
import type { Binding } from "../device/buffers.ts";
import type { Session } from "../device/session.ts";
import { cutRange, extent, type Range } from "../transfer/regions.ts";

/** Panels that begin where a binding can, however a weight is stored, and that fill whole tiles. */
export const panelUnit = 16;

/** Vectors of four outputs of a panel. */
export const panelVectors = panelOutputs / 4;

/** What tells shaders how a weight is stored. */
export function weightFlags(
  { dtype, isNibbled }: Pick<PackedWeight, "dtype" | "isNibbled">,
): Record<string, number> {
  const stored = isNibbled ? "INT4" : dtype.toUpperCase();
  return { [`WEIGHT_${stored}`]: 1, WEIGHT_BLOCKS: Number(dtype === "int8") };
}

/** Blocks of a row that have a scale. */
export function blocksOf({ inputs }: Pick<PackedWeight, "inputs">): number {
  return Math.ceil(inputs / blockInputs);
}

/** The buffer of a weight. */
function bufferOf({ data }: PackedWeight): GPUBuffer {
  return data as GPUBuffer;
}

/** Some panels, and their scales where they have any. */
export function panelsIn(
  packed: PackedWeight,
  [from, to]: Range,
): [panels: Binding, scales: Binding | null] {
  const buffer = bufferOf(packed), { panels, panelBytes, scaleBytes, dtype } = packed;
  const part = (first: number, bytes: number): Binding => ({
    ...{ buffer, offset: first + from * bytes, size: (to - from) * bytes },
  });
  return [
    part(0, panelBytes),
    dtype === "int8" ? part(panels * panelBytes, scaleBytes) : null,
  ];
}

/**
 * Ranges of panels that are bound at once.
 *
 * @param most Panels at most, for whatever other reason.
 */
export function panelRanges(
  { bounds: { bindingBytes } }: Session,
  { panels, panelBytes, dtype }: PackedWeight,
  most: number,
  cannot: string,
): Range[] {
  const fitting = Math.floor(bindingBytes / panelBytes);
  const ranges = cutRange([0, panels], Math.min(fitting, most), panelUnit);
  if (ranges.every((range) => extent(range) <= fitting)) return ranges;
  throw new RangeError(
    `${cannot}: ${panelUnit * panelOutputs} outputs of the weight have ${
      panelUnit * panelBytes
    } bytes as ` +
      `${dtype}, of which a shader of this GPU can have ${bindingBytes}: compute on the CPU`,
  );
}
