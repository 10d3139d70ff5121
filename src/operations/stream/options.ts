/**
 * What a stream can be asked, and how it is when that was read.
 *
 * @module
 */

import type { Inputs } from "../../check/tensors.ts";
import type { AnyTensor, ReadTensor } from "../../tensor/tensor.ts";
import type { AttentionOptions } from "../attention/options.ts";
import type { AttentionCall, TensorPlan } from "../attention/plan.ts";

/**
 * Options of `attentionStream()`: those of `attention()` that do not need to know how many keys there
 * are. Positions count over all that is pushed, those of functions too: `causal`, `window` and `alibi` need `offset`, or
 * `causal: "top-left"`.
 */
export type StreamOptions = Pick<
  AttentionOptions,
  | ("causal" | "offset" | "window" | "scale" | "softcap" | "alibi" | "sinks")
  | ("layout" | "out" | "signal" | "precision" | "scoreMod" | "maskMod")
>;

/** Every option, by name. */
export const streamNames = [
  "causal",
  "offset",
  "window",
  "scale",
  "layout",
  "out",
  "signal",
  "softcap",
  "alibi",
  "sinks",
  "precision",
  "scoreMod",
  "maskMod",
] as const;

/** Attention to keys that come one after the other. Made by `attentionStream()`. */
export interface AttentionStream<Result> extends Disposable {
  /**
   * Attends to more keys, behind those before. Need not be awaited: pushes are done in their order, and
   * where one fails, so do those behind it and `finish()`, by the same error. Elements must not change
   * until it settles.
   *
   * @param k Keys, `[B, Hkv, n, D]` in the rank and layout of `q`; n may be another each time, also 0.
   * @param v Values, `[B, Hkv, n, Dv]`.
   * @throws {TypeError} When an argument is of a wrong kind.
   * @throws {RangeError} When shapes do not fit `q` or what was pushed before, or memory is short.
   * @throws {Error} When the stream was finished or closed.
   */
  push(k: AnyTensor, v: AnyTensor): Promise<void>;
  /**
   * The result over all that was pushed, once that is done. Without any keys rows are 0, as wide as
   * those of `q` unless `out` says otherwise, and -Infinity in `lse`, or the sink.
   *
   * @throws {Error} When the stream was finished or closed.
   */
  finish(): Promise<Result>;
  /**
   * Ends the stream without a result, and frees its memory once no call uses it any more. A stream that is
   * neither finished nor closed keeps it until its engine is closed.
   */
  close(): void;
}

/** A stream as it was read. */
export interface StreamCall {
  /** Attention of the queries to themselves: all but what there is of keys. */
  readonly asked: AttentionCall<TensorPlan>;
  /** The caller's tensor for the result, and how it was read: its width is known with the first values. */
  readonly out: AnyTensor | undefined;
  readonly into: ReadTensor | null;
  /** Ends the use of the queries, and of that tensor. */
  leave(): void;
}

/** Keys and values as they were read, and what ends their use. */
export type Pushed = readonly [rows: Inputs, leave: () => void];
