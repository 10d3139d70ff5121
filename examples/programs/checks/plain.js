/**
 * Layers in double precision, on rows that are arrays.
 *
 * @module
 */

/** Rows times a matrix, `[outputs, inputs]`. */
export function times(rows, { data, shape: [outputs, inputs] }) {
  return rows.map((row) =>
    Array.from({ length: outputs }, (_, output) => {
      let sum = 0;
      for (let input = 0; input < inputs; input++) {
        sum += row[input] * data[output * inputs + input];
      }
      return sum;
    })
  );
}

/** Sums of rows. */
export function plus(rows, others) {
  return rows.map((row, at) => row.map((x, column) => x + others[at][column]));
}

/** The rows of a table that have these numbers. */
export function rowsOf({ data, shape: [, width] }, ids) {
  return Array.from(ids, (id) => [...data.subarray(id * width, (id + 1) * width)]);
}

export function layerNorm(row) {
  const mean = row.reduce((sum, x) => sum + x, 0) / row.length;
  const variance = row.reduce((sum, x) => sum + (x - mean) ** 2, 0) / row.length;
  return row.map((x) => (x - mean) / Math.sqrt(variance + 1e-5));
}

export function rmsNorm(row) {
  const square = row.reduce((sum, x) => sum + x * x, 0) / row.length;
  return row.map((x) => x / Math.sqrt(square + 1e-5));
}

/** The error function by its series. */
function erf(x) {
  let term = x, sum = x;
  for (let n = 1; Math.abs(term) > 1e-17 && n < 500; n++) {
    term *= -x * x / n;
    sum += term / (2 * n + 1);
  }
  return sum * 2 / Math.sqrt(Math.PI);
}

export function gelu(x) {
  return x / 2 * (1 + erf(x / Math.SQRT2));
}

/** Throws where numbers differ by more than `most`, or are none. */
export function assertClose(what, got, expected, most) {
  if (got.length !== expected.length) {
    throw new Error(`${what}: ${got.length} numbers instead of ${expected.length}`);
  }
  for (let at = 0; at < got.length; at++) {
    if (!(Math.abs(got[at] - expected[at]) <= most)) { // NaN is refused.
      throw new Error(`${what}: ${got[at]} instead of ${expected[at]} at ${at}`);
    }
  }
}
