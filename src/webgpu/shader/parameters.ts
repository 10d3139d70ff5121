/**
 * The uniform block: drawn once here, as a table; the shaders' struct is written from it.
 *
 * @module
 */

/** Types of the fields, each of four bytes. */
export type FieldType = "u32" | "i32" | "f32";

/** The strides of a tensor are in elements; `at` is the element of the binding where it begins. */
const tensor = <Name extends string>(name: Name) =>
  Object.fromEntries(
    ["at", "batch", "head", "row", "column"].map((field) => [`${name}_${field}`, "u32"]),
  ) as Record<`${Name}_${"at" | "batch" | "head" | "row" | "column"}`, "u32">;

/** Every field, in order. */
const fields = {
  /** With log2(e) or 1 / softcap in it, or neither. */
  scale: "f32",
  /** What makes powers of two of scores: log2(e), or 1 where it is in the scale. */
  to_base_two: "f32",
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
  /** Rows from `lse` to what rounding took from it; 0 where that is not asked for. */
  rest_at: "u32",
  /** Partial results where they are combined. */
  part_at: "u32",
  part_batch: "u32",
  part_head: "u32",
  // What follows is for the shaders with terms alone.
  /** Query heads of the region. */
  query_heads: "u32",
  /** The window of keys, counted from a segment's first, and the parts of the windows before. */
  window_begin: "u32",
  window_end: "u32",
  first_part: "u32",
  /** Rows of `q` and `k` that the bindings begin with. */
  first_query: "u32",
  first_key: "u32",
  /** 0 for none. */
  softcap: "f32",
  has_bias: "u32",
  ...tensor("bias"),
  /** All bits of an element, 0 where there is no mask, and log2 of the elements of a word. */
  mask_ones: "u32",
  mask_shift: "u32",
  ...tensor("mask"),
  /** Words of `tables`; 0 where there are none. A sink is a maximum and a sum. */
  slopes_at: "u32",
  sinks_at: "u32",
  /** Blocks of the block mask: strides in words, extents of a block, the first row of them. */
  blocks_at: "u32",
  block_batch: "u32",
  block_head: "u32",
  block_row: "u32",
  block_queries: "u32",
  block_keys: "u32",
  first_block: "u32",
  /** Bits of mixed blocks: word where they begin, bytes of a row and of a block. */
  block_bits_at: "u32",
  block_row_bytes: "u32",
  block_bytes: "u32",
  /** Squares of mask and bias: as blocks, and how many queries and keys there are. */
  class_at: "u32",
  class_batch: "u32",
  class_head: "u32",
  class_row: "u32",
  class_queries: "u32",
  class_keys: "u32",
  /** Whether the bias was looked at, too. */
  bias_classed: "u32",
  /** Pages of a cache: word of `tables` where those of the first segment are, how many words each
   * segment has, and log2 of the tokens of a page. */
  pages_at: "u32",
  page_list: "u32",
  page_shift: "u32",
  /** Word of a page where the means of the first head's keys are. */
  mean_at: "u32",
  // And for those of gradients.
  ...tensor("d_out"),
  /** Word of `tables` where three of each row are; `l_batch` and `l_head` in rows. */
  rows_at: "u32",
  batches: "u32",
  /** What a sum of gradients of products is multiplied by. */
  gradient_scale: "f32",
  /** Heads of the rows for each head of the keys, where not whole groups are taken at once. */
  key_group: "u32",
  /** Segments and query heads that a bias's gradient is summed over; 0 where each has its own. */
  sum_segments: "u32",
  sum_heads: "u32",
} as const satisfies Readonly<Record<string, FieldType>>;

/** Names of the fields. */
export type ParameterName = keyof typeof fields;

/** Every field, in order. */
export const parameterFields: Readonly<Record<ParameterName, FieldType>> = fields;

/** Values of the fields; those that are absent are 0. */
export type Parameters = Readonly<Partial<Record<ParameterName, number>>>;

/** Where a tensor is. */
export function tensorParameters(
  name: "q" | "k" | "v" | "o" | "bias" | "mask" | "d_out",
  { at, strides }: { readonly at: number; readonly strides: readonly number[] },
): Parameters {
  const [batch, head, row, column] = strides;
  return {
    [`${name}_at`]: at,
    [`${name}_batch`]: batch,
    [`${name}_head`]: head,
    [`${name}_row`]: row,
    [`${name}_column`]: column,
  };
}

/** Bytes of the block: uniform blocks are multiples of 16. */
export const parameterBytes: number = Math.ceil(Object.keys(parameterFields).length / 4) * 16;

/** Writes the fields of a table one after the other; those without a value are 0. */
export function writeFields<Name extends string>(
  view: DataView,
  at: number,
  fields: Readonly<Record<Name, FieldType>>,
  values: Readonly<Partial<Record<Name, number>>>,
): void {
  for (const [index, name] of (Object.keys(fields) as Name[]).entries()) {
    const value = values[name] ?? 0, type = fields[name], byte = at + index * 4;
    if (type === "f32") view.setFloat32(byte, value, true);
    else if (type === "i32") view.setInt32(byte, value, true);
    else view.setUint32(byte, value, true);
  }
}

/** The block as bytes. */
export function encodeParameters(parameters: Parameters): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(parameterBytes);
  writeFields(new DataView(bytes.buffer), 0, parameterFields, parameters);
  return bytes;
}

/** A struct of WGSL. */
export function structOf(name: string, fields: Readonly<Record<string, FieldType>>): string {
  const lines = Object.entries(fields).map(([field, type]) => `  ${field}: ${type},`);
  return `struct ${name} {\n${lines.join("\n")}\n}\n`;
}

/** The file that the shaders import as `shared/parameters.wgsl`. */
export function parametersSource(): string {
  return structOf("Parameters", parameterFields) +
    "@group(0) @binding(0) var<uniform> p: Parameters;\n";
}
