/**
 * A segment as shaders look it up.
 *
 * @module
 */

import { type FieldType, structOf } from "./parameters.ts";

/** Fields of a segment; positions are counted from the first that the region has. */
export const segmentFields = {
  /** Batch within the bindings. */
  batch: "u32",
  /** Its first row of `q` and of `k` within the bindings. */
  row: "u32",
  key: "u32",
  queries: "u32",
  keys: "u32",
  part_keys: "u32",
  parts: "u32",
  /** Whether it would be in parts by itself, too. */
  is_split: "u32",
  /** Its first row of the partial results: `[part][query head][position]`. */
  partials: "u32",
  /** Position `i` sees the keys from `i + band_first` to `i + band_last`. */
  band_first: "i32",
  band_last: "i32",
  /** Position `i` stands on key `i + diagonal + beyond`: more than 0 where 32 bits hold no more. */
  diagonal: "i32",
  beyond: "f32",
  /** Of a cache that drops tokens: keys from the first on that are seen from everywhere, and how many are missing behind them. */
  kept: "u32",
  gap: "i32",
} as const satisfies Readonly<Record<string, FieldType>>;

export const segmentWords = Object.keys(segmentFields).length;

/** The file that the shaders import as `shared/segment.wgsl`. */
export function segmentSource(): string {
  const values = Object.values(segmentFields).map((type, word) => {
    const text = `tables[at + ${word}]`;
    return type === "u32" ? text : `bitcast<${type}>(${text})`;
  });
  return `${structOf("Segment", segmentFields)}
@group(0) @binding(8) var<storage, read> tables: array<u32>;
fn segment_at(index: u32) -> Segment {
  let at = index * ${segmentWords};
  return Segment(${values.join(", ")});
}
fn table_four(at: vec4u) -> vec4f {
  return bitcast<vec4f>(vec4u(tables[at.x], tables[at.y], tables[at.z], tables[at.w]));
}
`;
}
