/**
 * What score and mask functions are written with: nodes of three kinds, which stand for numbers that nobody knows while the
 * function runs.
 *
 * @module
 */

/** What a node stands for: a number of 32 bits as scores are, a whole number of 32 bits, or whether something holds. */
export type Kind = "score" | "whole" | "condition";

/** What numbers of either kind have; the other operand is of the same kind, or a literal, which takes it. */
export interface Numeric<Self> {
  /** `this + other`. */
  add(other: Self | number): Self;
  /** `this - other`. */
  sub(other: Self | number): Self;
  /** `this * other`. */
  mul(other: Self | number): Self;
  /** `floor(this / other)`; of whole numbers 0 where `other` is. */
  floorDiv(other: Self | number): Self;
  /** `this - other * floor(this / other)`: it has the divisor's sign; of whole numbers 0 where `other` is. */
  mod(other: Self | number): Self;
  /** The lesser of both; NaN where one is. */
  min(other: Self | number): Self;
  /** The greater of both; NaN where one is. */
  max(other: Self | number): Self;
  /** `lo` where it is less, `hi` where it is greater than that. */
  clamp(lo: Self | number, hi: Self | number): Self;
  /** Without its sign. */
  abs(): Self;
  /** With the other sign. */
  neg(): Self;
  /** Whether it is less than the other. */
  lt(other: Self | number): Condition;
  /** Whether it is at most the other. */
  le(other: Self | number): Condition;
  /** Whether it is greater than the other. */
  gt(other: Self | number): Condition;
  /** Whether it is at least the other. */
  ge(other: Self | number): Condition;
  /** Whether both are the same. */
  eq(other: Self | number): Condition;
  /** Whether they differ. */
  ne(other: Self | number): Condition;
}

/** A number as scores are, f32. */
export interface Score extends Numeric<Score> {
  /** `this / other`. */
  div(other: Score | number): Score;
  /** e to the power of it. */
  exp(): Score;
  /** Its natural logarithm. */
  log(): Score;
  /** Its square root. */
  sqrt(): Score;
  /** Its hyperbolic tangent. */
  tanh(): Score;
  /** `1 / (1 + exp(-this))`. */
  sigmoid(): Score;
  /** The whole number towards zero from it; 0 of NaN, the nearest there is of what is beyond 32 bits. */
  toI32(): Whole;
}

/** A whole number, i32: it wraps around beyond 32 bits. */
export interface Whole extends Numeric<Whole> {
  /** The same as a score. */
  toF32(): Score;
}

/** Whether something holds for a query and a key. */
export interface Condition {
  /** Whether both hold. */
  and(other: Condition | boolean): Condition;
  /** Whether one of them holds. */
  or(other: Condition | boolean): Condition;
  /** Whether it does not. */
  not(): Condition;
}

/** Where the elements of a captured array are. */
export type CapturedData = Float32Array | Int32Array | GPUBuffer;

/** How elements are stored. */
export type CapturedDType = "f32" | "i32";

/** An array that functions read. */
export interface CapturedArray {
  /** The elements, the last axis fastest. They are read anew by each call. */
  readonly data: CapturedData;
  /** Extents of one to three axes, each at least 1. */
  readonly shape: readonly number[];
  /** How they are stored. */
  readonly dtype: CapturedDType;
  /** Whether gradients with respect to it are wanted. */
  readonly grad: boolean;
}

/** Where a score is. */
export interface Place {
  /** The batch; with `cuSeqlens` the sequence. */
  readonly b: Whole;
  /** The query head. */
  readonly h: Whole;
  /** The row of the query, from 0; within its sequence with `cuSeqlens`, its position with a cache. */
  readonly q: Whole;
  /** The row of the key, likewise. */
  readonly k: Whole;
}

/** What a score becomes, once it is scaled and before all else; -Infinity masks the key, as in a bias. */
export type ScoreMod = (score: Score, place: Place) => Score | number;

/** Which keys a query sees. */
export type MaskMod = (place: Place) => Condition | boolean;

/** Functions among the options of a call: see docs/SEMANTICS.md. On the CPU. */
export interface ScoreFunctions {
  /**
   * What a score becomes, once it is scaled and before `softcap`, `bias` and masks; -Infinity masks the key. It is run once
   * a call, with nodes in place of numbers: operators are their methods, `if` is `where()`, arrays are `captured()`.
   *
   * ```ts
   * import { attention, tensor } from "@flashtile/attention";
   *
   * const x = tensor(new Float32Array(2 * 6 * 4).fill(0.5), [2, 6, 4]);
   * const { out } = await attention(x, x, x, {
   *   scoreMod: (score, { q, k }) => score.sub(q.sub(k).abs().toF32().mul(0.1)),
   * });
   * console.log(out.shape); // [2, 6, 4]
   * ```
   *
   * As `score_mod` of FlexAttention (Dong et al., arXiv 2412.05496).
   *
   * @throws {TypeError} When it does what cannot be done for all scores at once; the message says what to write.
   */
  readonly scoreMod?: ScoreMod | undefined;
  /**
   * Which keys a query sees, in addition to all other masks. What it hides is not computed where that can be known of whole
   * tiles: of whole numbers that are compared.
   *
   * ```ts
   * import { attention, tensor } from "@flashtile/attention";
   *
   * const x = tensor(new Float32Array(2 * 6 * 4).fill(0.5), [2, 6, 4]);
   * const { out } = await attention(x, x, x, {
   *   maskMod: ({ q, k }) => q.ge(k).and(q.sub(k).lt(3)),
   * });
   * console.log(out.shape); // [2, 6, 4]
   * ```
   *
   * @throws {TypeError} When it does what cannot be done for all scores at once; the message says what to write.
   */
  readonly maskMod?: MaskMod | undefined;
}
