/**
 * The records of a job, of its gradients and of tokens on their way into a cache: how TypeScript tells the Wasm kernels what to do. Where each
 * field is, is generated from here for both: classes for AssemblyScript (`asm/records.gen.ts`), and words for
 * TypeScript (`src/wasm/record/*.gen.ts`), which is constants alone, so that nobody downloads their names.
 *
 * Pointers and strides are bytes in linear memory. A job is one batch, one key/value head and a run
 * of query positions; its query rows are all query heads of the group at each position.
 *
 * @module
 */

import type { FieldType } from "../src/wasm/record/job_record.ts";

/** Every field in order, each four bytes. */
export const jobFields = {
  // Queries: position p of group member g begins at q + p * qPosition + g * qHead. In the order of `groupRowsFields`.
  q: "u32",
  qElement: "i32",
  qStorage: "i32",
  qPosition: "i32",
  qHead: "i32",
  // Keys, packed in panels [ceil(keys / 4)][dim][4].
  k: "u32",
  // Values: four columns from 4c on of key j begin at v + j * vKey + c * vColumns.
  v: "u32",
  vKey: "i32",
  vColumns: "i32",
  // Token blocks of a cache instead of keys and values: the address of a list with those of this head's blocks, 0 for
  // none.
  tokenBlocks: "u32",
  // Their layout, and the sizes of keys and values, whether these are in blocks or not; in the order of `blockFields`.
  blockTokens: "i32",
  blockStorage: "i32",
  blockValues: "i32",
  blockScales: "i32",
  dim: "u32",
  valueDim: "u32",
  // Mean of the sequence's keys, which they are stored less; 0 for none.
  means: "u32",
  // Which of `decoding` reads the blocks as they are stored; 0 where they become f32 and panels are filled. By
  // all rows of the head, not of the job: how jobs are cut changes no bit.
  decode: "u32",
  // Output rows, addressed like queries.
  out: "u32",
  outElement: "i32",
  outStorage: "i32",
  outPosition: "i32",
  outHead: "i32",
  // Log-sum-exp per row; 0 where it is not asked for.
  lse: "u32",
  lsePosition: "i32",
  lseHead: "i32",
  // What rounding took from it, likewise.
  lseRest: "u32",
  // Sizes.
  group: "u32",
  positions: "u32",
  keys: "u32",
  // Tiles: query rows (a multiple of 8), keys (a multiple of 4).
  tileRows: "u32",
  tileKeys: "u32",
  // Which micro-kernels: how many of four elements they splat while loading, 0, 1 or 4.
  splats: "u32",
  // Where the panels are kept for merging; 0 where the job sees all keys and ends by itself.
  panels: "u32",
  // Of few queries: bytes from one key to the next where they are rows, 0 where they are packed; whether the job begins the
  // panels, and whether it ends them.
  kRow: "i32",
  begins: "u32",
  ends: "u32",
  // Scores are logarithms to base 2^unit, unit being a power of two. A query's factor is at most 1, so that
  // none becomes infinite by it; position p of the job sees the keys from p + bandFirst to p + bandLast.
  unit: "f32",
  scale: "f32",
  bandFirst: "i32",
  bandLast: "i32",
  // Of a cache that drops tokens: keys from the first on that all rows see wherever these stand, and how many tokens are missing
  // behind them; bands and distances are those of the others.
  kept: "i32",
  gap: "i32",
  // Cap as scores are, and a power of two that scores lack before they are capped; 0 for none.
  softcap: "f32",
  capUnit: "f32",
  // ALiBi: a slope for each group member, 0 for none; the first position's aligned key once more, as
  // distances are computed from it.
  slopes: "u32",
  aligned: "f32",
  // A sink for each group member; 0 for none.
  sinks: "u32",
  // Bias, addressed like queries, keys side by side; 0 for none.
  bias: "u32",
  biasPosition: "i32",
  biasHead: "i32",
  // Mask, likewise; its bytes, or its bits from the lowest of each byte on.
  mask: "u32",
  maskPosition: "i32",
  maskHead: "i32",
  maskIsBits: "i32",
  // Block mask: for each block of queries, from that of the first position on, the address of its
  // first interval and, behind the last, where they end; 0 for none. Positions of a block, and which of
  // them the first position is.
  keyIntervals: "u32",
  maskBlockRows: "u32",
  maskBlockPhase: "u32",
  // Where its gradient record is, if gradients are asked for; 0 for attention.
  gradient: "u32",
  // Where the integers of its keys and values are, what of them is bytes, as `precisions` says, and whether bytes are multiplied
  // by one instruction.
  integers: "u32",
  precision: "u32",
  fused: "u32",
  // Score and mask functions: the address of their program, and what they see of the job: its batch and its query head, the
  // row of its first position, and its first key.
  program: "u32",
  batch: "i32",
  head: "i32",
  firstRow: "i32",
  firstKey: "i32",
} as const satisfies Record<string, FieldType>;

/**
 * The program of a score and a mask function, which all jobs of a call share: addresses of instructions and where these end,
 * and places of registers, by their offset from a thread's own; 0 for none.
 */
export const scoreProgramFields = [
  // By what numbers differ by, and for each tile of a panel.
  ...["once", "onceEnd", "query", "queryEnd", "key", "keyEnd", "distance", "distanceEnd"],
  ...["score", "scoreEnd", "mask", "maskEnd", "gradient", "gradientEnd"],
  // Numbers that are written before: a place, and what eight lanes there become.
  ...["constants", "constantsEnd"],
  // What is given.
  ...["b", "h", "q", "k", "qMinusK"],
  // Bytes of a thread's registers, and how many keys instructions work on at a time.
  ...["registerBytes", "chunk"],
  // What masks say of whole tiles: steps that no key changes, and the others, registers that are written before (a place, the least, the greatest), what is given, the
  // result, and bytes of the registers; no steps and no constants where there is no mask.
  ...["querySteps", "queryStepsEnd", "steps", "stepsEnd", "ranges", "rangesEnd"],
  ...["bRange", "hRange", "qRange", "kRange", "result", "rangeBytes"],
] as const;

/** Rows of whatever order: the address of the first, bytes between elements, and their storage. */
export const rowsFields = { at: "u32", element: "i32", storage: "i32" } as const;

/** Rows of one head: `row` bytes from one to the next. */
export const headRowsFields = { at: "u32", element: "i32", storage: "i32", row: "i32" } as const;

/** Rows of all heads of a group: bytes from one position to the next, and from one head. */
export const groupRowsFields = {
  at: "u32",
  element: "i32",
  storage: "i32",
  position: "i32",
  head: "i32",
} as const;

/** Words that the binary keeps for a record of any other call, and for a job that is measured: a multiple of four. */
export const callWords = Math.ceil(Object.keys(jobFields).length / 4) * 4;

/** A block of tokens of a cache: how many it holds, and where in it values and scales begin. */
export const blockFields = {
  tokens: "i32",
  storage: "i32",
  values: "i32",
  scales: "i32",
  dim: "u32",
  valueDim: "u32",
} as const;

/** Tokens of one head that are written into a block, behind the block's layout. */
export const tokenFields = {
  // The block, the slot of the first token, and how many they are.
  block: "u32",
  slot: "u32",
  count: "u32",
  // Contiguous rows.
  k: "u32",
  kStorage: "i32",
  v: "u32",
  vStorage: "i32",
  // Room for one key and one value in f32, and the mean that keys are stored less; 0 for none.
  row: "u32",
  mean: "u32",
} as const;

/**
 * What a job of gradients has beside: `lse` is read there, and `out` is where dQ goes. Words of four
 * bytes, addresses and strides in bytes.
 */
export const gradientFields = [
  // Gradients by the output, addressed like queries.
  "dOut",
  "dOutElement",
  "dOutStorage",
  "dOutPosition",
  "dOutHead",
  // What is subtracted from each row's gradients, addressed like `lse`.
  "delta",
  // What its gradients by the output are multiplied by, likewise.
  "factor",
  // Rows of keys and values, from the segment's first on; in the order of `headRowsFields`.
  "k",
  "kElement",
  "kStorage",
  "kRow",
  "v",
  "vElement",
  "vStorage",
  "vRow",
  // The chunk of keys that the job is against.
  "from",
  "to",
  // Panels [width up to a multiple of 4][8] that the job leaves of dQ, and adds to of the chunk's dK and dV.
  "dq",
  "dk",
  "dv",
  // Bytes from there to where earlier rows' parts of dK and dV are summed; 0 where there are none.
  "sums",
  // Rows that tiles end with, and the job's first row, counted from the segment's.
  "unit",
  "firstRow",
  // Gradients of a bias, addressed like it, keys `dBiasKey` bytes apart; 0 for none.
  "dBias",
  "dBiasPosition",
  "dBiasHead",
  "dBiasKey",
  // Bytes from there to what roundings took from its sums; 0 where these are short.
  "dBiasRest",
  // The record of the job that follows on the same thread; 0 for none.
  "next",
] as const;

/** What every job of a program that is loaded later begins with: which of its kernels it is for. */
export const rowsJobFields = { kind: "u32" } as const;

/** Rows of softmax and of its gradients. */
export const softmaxFields = {
  kind: "u32",
  // Which of `softmaxResults`.
  what: "u32",
  // Rows that are read, in the order of `headRowsFields`: of gradients the results.
  x: "u32",
  xElement: "i32",
  xStorage: "i32",
  xRow: "i32",
  // Rows that are written.
  y: "u32",
  yElement: "i32",
  yStorage: "i32",
  yRow: "i32",
  // Gradients by the results.
  g: "u32",
  gElement: "i32",
  gStorage: "i32",
  gRow: "i32",
  rows: "u32",
  columns: "u32",
  scale: "f32",
  // Mask, `maskRow` bytes from one row to the next; its bytes, or its bits from the lowest of each byte on. 0 for none.
  mask: "u32",
  maskRow: "i32",
  maskIsBits: "u32",
} as const satisfies Record<string, FieldType>;

/** Rows of a convolution, of gradients by its taps, or sums of these. Rows are counted from the head's first. */
export const convolutionFields = {
  kind: "u32",
  // Rows that taps are on, from `xFirst` on; all in the order of `headRowsFields`.
  x: "u32",
  xElement: "i32",
  xStorage: "i32",
  xRow: "i32",
  xFirst: "u32",
  // Rows that are written, from `first` on.
  y: "u32",
  yElement: "i32",
  yStorage: "i32",
  yRow: "i32",
  // Weights, from `wFirst` on; one row where all share it.
  w: "u32",
  wElement: "i32",
  wStorage: "i32",
  wRow: "i32",
  wFirst: "u32",
  isShared: "u32",
  // Gradients by results, from `first` on.
  g: "u32",
  gElement: "i32",
  gStorage: "i32",
  gRow: "i32",
  // The rows before the head's first, one less than there are taps; 0 for zeros.
  before: "u32",
  beforeElement: "i32",
  beforeStorage: "i32",
  beforeRow: "i32",
  // Where the head's last rows are to be kept, as many; 0 for nowhere.
  after: "u32",
  afterElement: "i32",
  afterStorage: "i32",
  afterRow: "i32",
  // The job's rows, and all of the head.
  first: "u32",
  rows: "u32",
  total: "u32",
  columns: "u32",
  // Taps, how many of them are on rows before their own, and whether they are turned.
  width: "u32",
  lead: "u32",
  isTurned: "u32",
  // Sums of gradients, f64, and those of some jobs that are added to them.
  sums: "u32",
  partial: "u32",
} as const satisfies Record<string, FieldType>;

/** Performer attention of the query heads of one key/value head. */
export const performerFields = {
  kind: "u32",
  // Rows of the first query head, in the order of `headRowsFields`, and bytes to the next one's.
  q: "u32",
  qElement: "i32",
  qStorage: "i32",
  qRow: "i32",
  qHead: "i32",
  // Keys; of a projection that is to be packed its directions.
  k: "u32",
  kElement: "i32",
  kStorage: "i32",
  kRow: "i32",
  v: "u32",
  vElement: "i32",
  vStorage: "i32",
  vRow: "i32",
  out: "u32",
  outElement: "i32",
  outStorage: "i32",
  outRow: "i32",
  outHead: "i32",
  rows: "u32",
  group: "u32",
  dim: "u32",
  valueDim: "u32",
  features: "u32",
  // The projection as it is packed.
  projection: "u32",
  // What queries and keys are multiplied by.
  root: "f32",
  isRelu: "u32",
  isCausal: "u32",
  // Whether features of all keys of a chunk are held at once.
  isInChunks: "u32",
  splats: "u32",
  // Rows before these, and how many are a part: a multiple of those that are looked at together.
  position: "u32",
  part: "u32",
  // Sums over the parts before, and those of the part under way.
  before: "u32",
  local: "u32",
  // Whether the part is added to the sums before it where it ends.
  addsParts: "u32",
  // Of parts that are added up: how many they are, and bytes from one to the next.
  parts: "u32",
  partStep: "u32",
  // Where the record of gradients is.
  pass: "u32",
} as const satisfies Record<string, FieldType>;

/** What a job of its gradients has beside. */
export const performerPassFields = {
  // Gradients by results, of rows as `q` has them, and those by queries, keys and values.
  dOut: "u32",
  dOutElement: "i32",
  dOutStorage: "i32",
  dOutRow: "i32",
  dOutHead: "i32",
  dq: "u32",
  dqElement: "i32",
  dqStorage: "i32",
  dqRow: "i32",
  dqHead: "i32",
  dk: "u32",
  dkElement: "i32",
  dkStorage: "i32",
  dkRow: "i32",
  dv: "u32",
  dvElement: "i32",
  dvStorage: "i32",
  dvRow: "i32",
  // Of each query row one over its denominator, and its delta, `rowsHead` bytes from one head to the next; the exponents
  // of sums before each chunk. From one pass to the other where rows see no later keys.
  inverses: "u32",
  deltas: "u32",
  rowsHead: "u32",
  marks: "u32",
  // Gradients by sums: over the parts before, and of the part under way.
  dBefore: "u32",
  dLocal: "u32",
} as const satisfies Record<string, FieldType>;

/** Rows of a linear layer, and the outputs of some panels of its weight. */
export const linearFields = {
  kind: "u32",
  // Rows that are read, that are added and that are written, in the order of `headRowsFields`; 0 for none.
  x: "u32",
  xElement: "i32",
  xStorage: "i32",
  xRow: "i32",
  y: "u32",
  yElement: "i32",
  yStorage: "i32",
  yRow: "i32",
  out: "u32",
  outElement: "i32",
  outStorage: "i32",
  outRow: "i32",
  // The bias, a row; 0 for none.
  bias: "u32",
  biasElement: "i32",
  biasStorage: "i32",
  biasRow: "i32",
  rows: "u32",
  inputs: "u32",
  outputs: "u32",
  // Panels of eight outputs, from the first to before the last.
  firstPanel: "u32",
  endPanel: "u32",
  // Panels, and their scales; bytes of one.
  weight: "u32",
  panelBytes: "u32",
  scales: "u32",
  scaleBytes: "u32",
  // Which of `weightKinds`, of `productKinds` and of `activationKinds`.
  stored: "u32",
  product: "u32",
  activation: "u32",
  // Where it says whether all f16 are finite, 0 for no: else one row, too, is multiplied with panels that become f32 before.
  finite: "u32",
} as const satisfies Record<string, FieldType>;

/** Outputs of a weight that is packed. */
export const packFields = {
  kind: "u32",
  // Rows of inputs, in the order of `headRowsFields`; of blocks, `storage` is which.
  x: "u32",
  xElement: "i32",
  xStorage: "i32",
  xRow: "i32",
  // Outputs of the source, and inputs of a row.
  rows: "u32",
  inputs: "u32",
  // Panels that are written, from the one of the first row on.
  panels: "u32",
  weight: "u32",
  panelBytes: "u32",
  scales: "u32",
  scaleBytes: "u32",
  stored: "u32",
  // Where it is written whether all floats of 16 bits are finite.
  finite: "u32",
} as const satisfies Record<string, FieldType>;

/** Rows on which a layer does anything but multiply. */
export const layerFields = {
  kind: "u32",
  // Rows that are read, in the order of `headRowsFields`; 0 for none.
  x: "u32",
  xElement: "i32",
  xStorage: "i32",
  xRow: "i32",
  y: "u32",
  yElement: "i32",
  yStorage: "i32",
  yRow: "i32",
  // Rows that are written.
  out: "u32",
  outElement: "i32",
  outStorage: "i32",
  outRow: "i32",
  // Of gradients by norms it is read: what is added to them.
  sum: "u32",
  sumElement: "i32",
  sumStorage: "i32",
  sumRow: "i32",
  // What columns are multiplied by, and what is added.
  weight: "u32",
  weightElement: "i32",
  weightStorage: "i32",
  weightRow: "i32",
  bias: "u32",
  biasElement: "i32",
  biasStorage: "i32",
  biasRow: "i32",
  rows: "u32",
  columns: "u32",
  // Which of `activationKinds`, and whether the other rows are multiplied with, added or none.
  activation: "u32",
  combine: "u32",
  isCentred: "u32",
  eps: "f32",
  offset: "f32",
  scale: "f32",
  // Rows of a table, by whole numbers of 32 bits; 0 where they follow one another.
  ids: "u32",
  // A packed weight whose outputs are the table, 0 for none: its panels and their scales, bytes of one, and which of
  // `weightKinds`.
  packed: "u32",
  panelBytes: "u32",
  scales: "u32",
  scaleBytes: "u32",
  stored: "u32",
  // Sums of rows, f32, of which the job has the first, the last or none; of gradients by norms what its rows come to, by
  // weights and by biases; or a table that rows are added to.
  sums: "u32",
  isFirst: "u32",
  isLast: "u32",
} as const satisfies Record<string, FieldType>;

/** A product of matrices, y = a x. */
export const productFields = {
  kind: "u32",
  // As those of attention.
  splats: "u32",
  // Rows of the factors, and of the result where the job is the last, in the order of `headRowsFields`.
  a: "u32",
  aElement: "i32",
  aStorage: "i32",
  aRow: "i32",
  x: "u32",
  xElement: "i32",
  xStorage: "i32",
  xRow: "i32",
  y: "u32",
  yElement: "i32",
  yStorage: "i32",
  yRow: "i32",
  // Of a and y; of x and y; and of what is summed over.
  rows: "u32",
  columns: "u32",
  depth: "u32",
  // Sums, in panels of eight rows [columns up to a multiple of 4][8]; whether they begin here, and end.
  sums: "u32",
  isFirst: "u32",
  isLast: "u32",
} as const satisfies Record<string, FieldType>;

/** Blocks of rows that become summaries, and their gradients. */
export const summariesFields = {
  kind: "u32",
  // Rows, in the order of `headRowsFields`; of gradients those that the pool's need.
  x: "u32",
  xElement: "i32",
  xStorage: "i32",
  xRow: "i32",
  // Where they are copied to, 0 for nowhere; of gradients those of these copies.
  y: "u32",
  yElement: "i32",
  yStorage: "i32",
  yRow: "i32",
  // Summaries; of gradients theirs.
  s: "u32",
  sElement: "i32",
  sStorage: "i32",
  sRow: "i32",
  // Gradients of the rows.
  target: "u32",
  targetElement: "i32",
  targetStorage: "i32",
  targetRow: "i32",
  // What rows of a block weigh, 0 for the same all; and where the gradients of that go, f64, 0 for nowhere.
  pool: "u32",
  poolElement: "i32",
  poolStorage: "i32",
  dPool: "u32",
  rows: "u32",
  columns: "u32",
  block: "u32",
} as const satisfies Record<string, FieldType>;
