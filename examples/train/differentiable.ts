/**
 * What the parts of a model are, that is to be trained.
 *
 * @module
 */

/**
 * A result, and the way back from it, as every function of the library with gradients gives one: the operands that
 * these need are remembered by its closure, so that a model's backward pass is its forward pass read from the end.
 */
export interface Differentiable<Gradient = Float32Array> {
  /** The result. */
  readonly out: Float32Array;
  /**
   * Goes back, once. Gradients with respect to weights are added to those that are there.
   *
   * @param dOut Gradient of the loss by `out`.
   * @returns Gradient of the loss by the operand.
   */
  backward(dOut: Float32Array): Promise<Gradient>;
}

/** Weights, and where the gradients with respect to them are added up. */
export interface Learned<Weights> {
  /** The weights. */
  readonly weight: Weights;
  /** The gradients, as the weights are. */
  readonly gradient: Weights;
}

/** Adds an array to another one of its length. */
export function addInto(sum: Float32Array, more: Float32Array): void {
  for (let at = 0; at < sum.length; at++) sum[at] += more[at];
}

/** Adds arrays of one length. */
export function sum(first: Float32Array, ...others: readonly Float32Array[]): Float32Array {
  const total = first.slice();
  for (const other of others) addInto(total, other);
  return total;
}
