/**
 * The oracle: attention and its gradients by the direct formula, in float64, without tiles. Slow,
 * holds one row of scores, and is written to be read beside `docs/SEMANTICS.md`; everything else is
 * measured against it. It shares no code with the backends, and reads the options by itself instead
 * of the plan.
 *
 * @module
 */

export { referenceAttention, type ReferenceResult } from "./forward.ts";
export {
  referenceAttentionBackward,
  type ReferenceBackwardOptions,
  type ReferenceGradients,
} from "./backward.ts";
export type { ReferenceArray, ReferenceTensor } from "./tensor.ts";
