/**
 * Numbers that tell the kernels of programs that are loaded later what to do; their records are in `rows.gen.ts`.
 *
 * @module
 */

/** Which kernel a job is for. */
export const rowsKinds = {
  ...{ softmax: 0, softmaxBackward: 1 },
  // Rows, gradients by taps, and their sums over rows.
  ...{ convolution: 2, convolutionTaps: 3, convolutionSums: 4 },
  // The projection, sums of parts, their sum, rows that see all keys or none behind, and both passes of gradients.
  ...{ performerProjection: 10, performerLearn: 11, performerAdd: 12, performerAnswer: 13 },
  ...{ performerAttend: 14, performerRowsBackward: 15, performerKeysBackward: 16 },
  // Matrices; blocks of rows, and gradients by these.
  ...{ product: 5, summaries: 6, summariesBackward: 7 },
} as const;

/** What becomes of the rows of a softmax. */
export const softmaxResults = { softmax: 0, logSoftmax: 1, logSumExp: 2 } as const;

/** What products sum before they add it up: where depths are cut. */
export const productPart = 1536;

/** Bytes that the first binary keeps for the static memory of programs that are loaded later. */
export const staticBytes = {
  rows: 512,
  linear: 1024,
  integer: 1024,
  narrow: 512,
  scored: 1024,
  nn: 1024,
  weights: 1024,
} as const;
