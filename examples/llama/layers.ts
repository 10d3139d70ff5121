/**
 * The parts of a Llama that work on one row, or on one number, at a time.
 *
 * @module
 */

/**
 * RMSNorm: divides each row by the root of its mean square, then multiplies by a gain.
 *
 * @param x The rows, `[rows, gain.length]`.
 * @param rows Number of rows.
 * @param gain A factor for each column.
 * @param epsilon Added to the mean square.
 * @param y Receives the rows; another array than `x`.
 */
export function rmsNorm(
  x: Float32Array,
  rows: number,
  gain: Float32Array,
  epsilon: number,
  y: Float32Array,
): void {
  const width = gain.length;
  for (let row = 0; row < rows; row++) {
    const begin = row * width;
    let squares = 0;
    for (let i = 0; i < width; i++) squares += x[begin + i] * x[begin + i];
    const factor = 1 / Math.sqrt(squares / width + epsilon);
    for (let i = 0; i < width; i++) y[begin + i] = x[begin + i] * factor * gain[i];
  }
}

/**
 * The gate of SwiGLU: `gate = silu(gate) * up` with `silu(x) = x / (1 + exp(-x))`.
 *
 * @param gate The gate's operands; receives the products.
 * @param up What the gate lets pass, as long as `gate` or longer.
 * @param length Numbers to work on.
 */
export function gateSilu(gate: Float32Array, up: Float32Array, length: number): void {
  for (let i = 0; i < length; i++) gate[i] = gate[i] / (1 + Math.exp(-gate[i])) * up[i];
}

/**
 * Adds into the residual stream: `x = x + change`.
 *
 * @param x The stream.
 * @param change What is added, as long as `x` or longer.
 * @param length Numbers to work on.
 */
export function addInto(x: Float32Array, change: Float32Array, length: number): void {
  for (let i = 0; i < length; i++) x[i] += change[i];
}
