/**
 * All weights of a Llama, or all gradients with respect to them, in one array.
 *
 * @module
 */

import type { LlamaConfig } from "./config.ts";
import type { NamedTensor } from "./safetensors_writer.ts";
import { arrangeWeights, type LlamaWeights } from "./weights.ts";

/** The same numbers as one array, as tensors, and as the parts of a Llama. */
export interface Parameters {
  /** All of them, tensor after tensor: what an optimizer goes through. */
  readonly all: Float32Array;
  /** The tensors, in the order of `all`. */
  readonly tensors: readonly NamedTensor[];
  /** What the layers use. */
  readonly weights: LlamaWeights;
}

/**
 * Makes room for the parameters of a Llama, all zero. Who asks twice, for weights and for gradients,
 * finds both in the same places.
 */
export function createParameters(config: LlamaConfig): Parameters {
  const shapes: { name: string; shape: readonly number[]; size: number }[] = [];
  arrangeWeights((name, shape) => {
    const size = shape.reduce((product, extent) => product * extent);
    shapes.push({ name, shape, size });
    return new Float32Array(0);
  }, config);
  const all = new Float32Array(shapes.reduce((total, { size }) => total + size, 0));
  let begin = 0;
  const tensors = shapes.map(({ name, shape, size }) => {
    const data = all.subarray(begin, begin += size);
    return { name, shape, data };
  });
  const inOrder = tensors.values();
  return { all, tensors, weights: arrangeWeights(() => inOrder.next().value!.data, config) };
}
