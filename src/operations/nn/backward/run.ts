/**
 * Layers with gradients: what is loaded when one of them is first asked for.
 *
 * @module
 */

export { linearWithGradient } from "./linear.ts";
export { normWithGradient } from "./norm.ts";
export {
  addWithGradient,
  embeddingWithGradient,
  gatedWithGradient,
  meanRowsWithGradient,
  pointwiseWithGradient,
} from "./rows.ts";
