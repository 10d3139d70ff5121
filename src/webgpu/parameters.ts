/**
 * The uniform block: drawn once here, as a table; the shaders' struct is written from it.
 *
 * @module
 */

/** Types of the fields, each of four bytes. */
export type FieldType = "u32" | "i32" | "f32";

/** The strides of a tensor are in elements; `at` is the element of the binding where it begins. */
const tensor = (name: string) =>
  Object.fromEntries(
    ["at", "batch", "head", "row", "column"].map((field) => [`${name}_${field}`, "u32"]),
  );

/** Every field, in order. */
export const parameterFields = {
  /** Logarithms are to base two: log2(e) is in it. */
  scale: "f32",
  minus_infinity: "f32",
  not_a_number: "f32",
  /** Query heads per key/value head. */
  group: "u32",
  /** Rows, `position * group + head in group`, from `first_row` to `end_row`. */
  first_row: "u32",
  end_row: "u32",
  /** Tiles of rows; a part of the keys follows another. */
  tiles: "u32",
  keys: "u32",
  part_keys: "u32",
  parts: "u32",
  dim: "u32",
  dim_vectors: "u32",
  value_dim: "u32",
  /** First vector of the values, and how many: more than a workgroup holds are done apart. */
  value_from: "u32",
  value_vectors: "u32",
  partial_vectors: "u32",
  /** Query `i` sees the keys from `i + band_first` to `i + band_last`. */
  band_first: "i32",
  band_last: "i32",
  ...tensor("q"),
  ...tensor("k"),
  ...tensor("v"),
  ...tensor("o"),
  /** `lse`, or the partial results: rows. */
  l_at: "u32",
  l_batch: "u32",
  l_head: "u32",
  l_part: "u32",
  /** Partial results where they are merged. */
  part_at: "u32",
  part_batch: "u32",
  part_head: "u32",
} as Readonly<Record<ParameterName, FieldType>>;

type TensorField<Name extends string> = `${Name}_${"at" | "batch" | "head" | "row" | "column"}`;

/** Names of the fields. */
export type ParameterName =
  | "scale"
  | "minus_infinity"
  | "not_a_number"
  | "group"
  | "first_row"
  | "end_row"
  | "tiles"
  | "keys"
  | "part_keys"
  | "parts"
  | "dim"
  | "dim_vectors"
  | "value_dim"
  | "value_from"
  | "value_vectors"
  | "partial_vectors"
  | "band_first"
  | "band_last"
  | TensorField<"q" | "k" | "v" | "o">
  | "l_at"
  | "l_batch"
  | "l_head"
  | "l_part"
  | "part_at"
  | "part_batch"
  | "part_head";

/** Values of the fields; those that are absent are 0. */
export type Parameters = Readonly<Partial<Record<ParameterName, number>>>;

/** Bytes of the block: uniform blocks are multiples of 16. */
export const parameterBytes: number = Math.ceil(Object.keys(parameterFields).length / 4) * 16;

/** The block as bytes. */
export function encodeParameters(parameters: Parameters): Uint8Array<ArrayBuffer> {
  const view = new DataView(new ArrayBuffer(parameterBytes));
  for (const [index, [name, type]] of Object.entries(parameterFields).entries()) {
    const value = parameters[name as ParameterName] ?? 0;
    if (type === "f32") view.setFloat32(index * 4, value, true);
    else if (type === "i32") view.setInt32(index * 4, value, true);
    else view.setUint32(index * 4, value, true);
  }
  return new Uint8Array(view.buffer);
}

/** The file that the shaders import as `shared/parameters.wgsl`. */
export function parametersSource(): string {
  const fields = Object.entries(parameterFields).map(([name, type]) => `  ${name}: ${type},`);
  return `struct Parameters {\n${
    fields.join("\n")
  }\n}\n@group(0) @binding(0) var<uniform> p: Parameters;\n`;
}
