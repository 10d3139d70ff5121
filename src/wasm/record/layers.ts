/**
 * Numbers that tell the kernels of layers what to do; their records are in `layers.gen.ts`.
 *
 * @module
 */

/** Which kernel a job is for. */
export const layerKinds = {
  ...{ linearRows: 20, packWeight: 21, normRows: 22 },
  ...{ pointwiseRows: 23, tableRows: 24, sumRows: 25 },
  ...{ normBackward: 26, scatterRows: 27 },
} as const;

/** How a packed weight is stored. */
export const weightKinds = {
  ...{ weightF32: 0, weightF16: 1, weightBf16: 2, weightInt16: 3, weightInt8: 4 },
  // Of a source alone: in GGUF's blocks.
  ...{ sourceQ8: 5, sourceQ4: 6 },
} as const;

/** How products of rows and weights are formed. */
export const productKinds = { productF32: 0, productInt16: 1, productInt8: 2 } as const;

/** What becomes of numbers; 0 for nothing. */
export const activationKinds = {
  ...{ gelu: 1, geluTanh: 2, silu: 3, relu: 4, tanh: 5 },
  // Their derivatives.
  ...{ geluSlope: 6, geluTanhSlope: 7, siluSlope: 8, reluSlope: 9, tanhSlope: 10 },
} as const;

/** What becomes of two numbers. */
export const combineKinds = { combineAdd: 1, combineMultiply: 2 } as const;
