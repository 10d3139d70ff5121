/**
 * Who does on Wasm layers with gradients, and these: loaded when they are first asked for.
 *
 * @module
 */

export { linearGradients, plainLinearRows } from "./linear.ts";
export { normGradients } from "./norm.ts";
export { embeddingGradients, gatedGradients, meanGradients, pointwiseGradients } from "./rows.ts";
