/**
 * Fields of the uniforms of the shaders that attend.
 *
 * @module
 */

/** Of sums with what rounding takes from them: WGSL has no such number. */
export const sumFields = { minus_infinity: "f32" } as const;

/** Of results. */
const resultFields = {
  ...sumFields,
  not_a_number: "f32",
  /** What makes powers of two of scores: log2(e), or 1 where it is in the scale. */
  to_base_two: "f32",
  /** Query heads per key/value head. */
  group: "u32",
  value_dim: "u32",
  /** First vector of the values: more than a workgroup holds are done apart. */
  value_from: "u32",
  out: "tensor",
  /** `lse`, or the partial results: rows. */
  l: "tensor",
  l_part: "u32",
  /** Rows from `lse` to what rounding took from it; 0 where that is not asked for. */
  rest_at: "u32",
} as const;

/** Of what attends to keys. */
const keyFields = {
  ...resultFields,
  /** With log2(e) or 1 / softcap in it, or neither. */
  scale: "f32",
  dim: "u32",
  dim_vectors: "u32",
  /** Tiles of rows; a part of the keys follows another. */
  tiles: "u32",
  q: "tensor",
  k: "tensor",
  v: "tensor",
} as const;

/** Of the plain forward shader. */
export const plainFields = {
  ...keyFields,
  /** Rows, `position * group + head in group`. */
  end_row: "u32",
  keys: "u32",
  part_keys: "u32",
  /** Query `i` sees the keys from `i + band_first` to `i + band_last`. */
  band_first: "i32",
  band_last: "i32",
} as const;

/** Of what combines the parts of the keys. */
export const combineFields = {
  ...resultFields,
  end_row: "u32",
  query_heads: "u32",
  parts: "u32",
  value_vectors: "u32",
  partial_vectors: "u32",
  /** Rows of the first part. */
  part: "tensor",
} as const;

/** Of a bias and a mask as they lie, and of the squares of them that are looked at before. */
const hiddenFields = {
  bias: "tensor",
  /** All bits of an element, 0 where there is no mask, and log2 of the elements of a word. */
  mask_ones: "u32",
  mask_shift: "u32",
  mask: "tensor",
  /** In words of `tables`; at 0 where there are none. */
  class: "tensor",
} as const;

/** Of the shader that looks at them. */
export const classFields = {
  ...hiddenFields,
  /** How many queries and keys there are. */
  class_queries: "u32",
  class_keys: "u32",
} as const;

/** Of the block mask: words of `tables`, at 0 where there are none; extents of a block, the first row of them. */
export const blockFields = {
  block: "tensor",
  block_queries: "u32",
  block_keys: "u32",
  first_block: "u32",
  /** Bits of mixed blocks: word where they begin, bytes of a row and of a block. */
  block_bits_at: "u32",
  block_row_bytes: "u32",
  block_bytes: "u32",
} as const;

/** Of what is looked up: words of `tables`, 0 where there are none. A sink is a maximum and a sum. */
export const tableFields = { ...blockFields, slopes_at: "u32", sinks_at: "u32" } as const;

/** Of the pages of a cache. */
export const pageFields = {
  /** Word of `tables` where those of the first segment are, how many words each segment has. */
  pages_at: "u32",
  page_list: "u32",
  /** Log2 of the tokens of a page. */
  page_shift: "u32",
  /** Word of a page where the means of the first head's keys are. */
  mean_at: "u32",
} as const;

/** Of all that makes scores of products. */
export const scoreFields = {
  ...hiddenFields,
  ...tableFields,
  scale: "f32",
  /** 0 for none. */
  softcap: "f32",
  has_bias: "u32",
  group: "u32",
  /** Query heads of the region. */
  query_heads: "u32",
  /** The range of keys, counted from a segment's first. */
  keys_begin: "u32",
  keys_end: "u32",
  /** Rows of `q` and `k` that the bindings begin with. */
  first_query: "u32",
  first_key: "u32",
} as const;

/** Of the forward shader with terms. */
export const termFields = {
  ...keyFields,
  ...scoreFields,
  ...pageFields,
  /** Parts of the ranges of keys before. */
  first_part: "u32",
  /** Whether the bias was looked at, too. */
  bias_classed: "u32",
} as const;
