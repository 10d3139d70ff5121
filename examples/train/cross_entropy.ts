/**
 * How badly logits predict tokens.
 *
 * @module
 */

/** A loss, and its gradient. */
export interface CrossEntropy {
  /** Mean negative logarithm of the probabilities of the tokens, in nats. */
  readonly loss: number;
  /** Gradient with respect to the logits, `[tokens, vocab]`. */
  readonly dLogits: Float32Array;
}

/**
 * The cross-entropy of predictions, with the gradient `(p - [token]) / tokens`: both are made of the
 * same exponentials.
 *
 * @param logits The predictions, `[tokens, vocab]`.
 * @param tokens What was to be predicted.
 */
export function crossEntropy(logits: Float32Array, tokens: Uint8Array): CrossEntropy {
  const vocab = logits.length / tokens.length;
  const dLogits = new Float32Array(logits.length);
  let total = 0;
  for (let row = 0; row < tokens.length; row++) {
    const begin = row * vocab, end = begin + vocab, token = begin + tokens[row];
    let greatest = -Infinity;
    for (let i = begin; i < end; i++) greatest = Math.max(greatest, logits[i]);
    let denominator = 0;
    for (let i = begin; i < end; i++) {
      denominator += dLogits[i] = Math.exp(logits[i] - greatest);
    }
    total += Math.log(denominator) + greatest - logits[token];
    const factor = 1 / (denominator * tokens.length);
    for (let i = begin; i < end; i++) dLogits[i] *= factor;
    dLogits[token] -= 1 / tokens.length;
  }
  return { loss: total / tokens.length, dLogits };
}
