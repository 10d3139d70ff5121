/**
 * Rotary position embedding in the half style: number `i` of a head is paired with `i + D / 2`, and
 * the pair is turned by `position * theta^(-2i / D)`.
 *
 * @module
 */

/** The turns of every position: cosines and sines, each `[context, D / 2]`. */
export interface Rope {
  /** Size of a head, `D`. */
  readonly headDim: number;
  /** Cosines, in double precision: that costs nothing and is one rounding less. */
  readonly cos: Float64Array;
  /** Sines, likewise. */
  readonly sin: Float64Array;
}

/**
 * Computes the turns of every position.
 *
 * @param context Number of positions.
 * @param headDim Size of a head, even.
 * @param theta Base of the wavelengths.
 */
export function createRope(context: number, headDim: number, theta: number): Rope {
  const pairs = headDim / 2;
  const cos = new Float64Array(context * pairs);
  const sin = new Float64Array(context * pairs);
  for (let position = 0; position < context; position++) {
    for (let i = 0; i < pairs; i++) {
      const angle = position * theta ** (-2 * i / headDim);
      cos[position * pairs + i] = Math.cos(angle);
      sin[position * pairs + i] = Math.sin(angle);
    }
  }
  return { headDim, cos, sin };
}

/**
 * Turns rows of heads, in place.
 *
 * @param rope The turns.
 * @param x Queries or keys, `[rows, heads * D]`.
 * @param heads Number of heads in a row.
 * @param positions Position of each row.
 */
export function rotate(
  rope: Rope,
  x: Float32Array,
  heads: number,
  positions: ArrayLike<number>,
): void {
  for (let row = 0; row < positions.length; row++) {
    for (let head = 0; head < heads; head++) {
      rotateHead(rope, x, (row * heads + head) * rope.headDim, positions[row]);
    }
  }
}

function rotateHead(rope: Rope, x: Float32Array, begin: number, position: number): void {
  const pairs = rope.headDim / 2;
  const turn = position * pairs;
  for (let i = 0; i < pairs; i++) {
    const c = rope.cos[turn + i];
    const s = rope.sin[turn + i];
    const a = x[begin + i];
    const b = x[begin + pairs + i];
    x[begin + i] = a * c - b * s;
    x[begin + pairs + i] = b * c + a * s;
  }
}
