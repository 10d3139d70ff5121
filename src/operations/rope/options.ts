/**
 * What `rope()` is asked, as it is now. What it means is worked out by what is loaded at the first call.
 *
 * @module
 */

import { openList, readTensor } from "../../check/tensors.ts";
import { bare, kindOf, readNumbers, readOptions } from "../../check/words.ts";
import {
  type AnyTensor,
  type Layout,
  type NumberList,
  type ReadTensor,
  sizeOf,
} from "../../tensor/tensor.ts";

/** How angles are changed for contexts longer than those that a model was trained with. */
export type RopeScaling =
  /** Positions are divided by `factor` (arXiv 2306.15595). */
  | { readonly type: "linear"; readonly factor: number }
  /** `theta` grows, so that the slowest pair turns `factor` times as slowly. */
  | { readonly type: "ntk"; readonly factor: number }
  /** As Llama 3.1: slow pairs are divided by `factor`, fast ones are not, those between in part. */
  | {
    readonly type: "llama3";
    readonly factor: number;
    /** Context of the training. */
    readonly originalLength: number;
    /** Turns within it below which a pair is slow; default 1. */
    readonly lowFrequencyFactor?: number | undefined;
    /** Turns within it above which a pair is fast; default 4. */
    readonly highFrequencyFactor?: number | undefined;
  }
  /** YaRN (arXiv 2309.00071): the same by parts, and rows grow longer. */
  | {
    readonly type: "yarn";
    readonly factor: number;
    readonly originalLength: number;
    /** Turns above which a pair is fast; default 32. */
    readonly betaFast?: number | undefined;
    /** Turns below which a pair is slow; default 1. */
    readonly betaSlow?: number | undefined;
    /** Factor of the rotated rows; default `0.1 ln(factor) + 1`. */
    readonly attentionFactor?: number | undefined;
    /** Whether the first and the last of the pairs between are whole ones, rounded outwards; default true. */
    readonly truncate?: boolean | undefined;
  }
  /** LongRoPE (arXiv 2402.13753): the frequency of each pair is divided by a factor of its own. */
  | {
    readonly type: "longrope";
    /** `dims / 2` of them. */
    readonly factors: NumberList;
    /** Factor of the rotated rows; default 1. */
    readonly attentionFactor?: number | undefined;
  };

/** Options of `rope()`. */
export interface RopeOptions {
  /**
   * Positions of the rows: that of the first, the others follow; or one for each, `[N]` for all
   * batches, or `[B, N]`, also flat. With `sections` `[axes, N]`, or `[axes, B, N]`; a number or a list of one
   * axis is then for all. Default 0.
   */
  readonly positions?: number | NumberList | undefined;
  /** Base of the angles; default 10000. */
  readonly theta?: number | undefined;
  /**
   * Which elements are a pair: `i` and `i + dims / 2` (`"half"`, GPT-NeoX, Llama's released form), or
   * `2i` and `2i + 1` (`"interleaved"`, GPT-J). Default `"half"`.
   */
  readonly style?: "half" | "interleaved" | undefined;
  /** How many elements of a row are rotated, from the first on; default D. */
  readonly dims?: number | undefined;
  /** How angles are changed for contexts longer than those trained on; default none. */
  readonly scaling?: RopeScaling | undefined;
  /**
   * Positions along several axes, as time, height and width of what a picture has (M-RoPE, Qwen2-VL, arXiv
   * 2409.12191): how many pairs each turns, whole numbers whose sum is `dims / 2`.
   */
  readonly sections?: NumberList | undefined;
  /**
   * Which pairs these are: one axis behind the other (`"blocks"`, Qwen2-VL), or in turn (`"interleaved"`,
   * Qwen3-VL), where pair `a + n axes` is the `n`-th of axis `a`, and those that are left are the first's.
   * Default `"blocks"`.
   */
  readonly sectionStyle?: "blocks" | "interleaved" | undefined;
  /** Order of the axes; default `"bhnd"`. */
  readonly layout?: Layout | undefined;
}

/** What the messages of `rope()` begin with. */
export const cannot = "Cannot rotate";

/** Every option, by name. */
export const ropeNames = [
  ...["positions", "theta", "style", "dims", "scaling", "sections"] as const,
  ...["sectionStyle", "layout"] as const,
];

/** Whatever a scaling may have; what each must have depends on its type. */
const scalingNames = [
  "type",
  "factor",
  "originalLength",
  "lowFrequencyFactor",
  "highFrequencyFactor",
  "betaFast",
  "betaSlow",
  "attentionFactor",
  "truncate",
  "factors",
] as (keyof RopeScaling & string)[];

/** A list of positions, or of factors, as it was. */
export interface ReadList {
  /** What it was, where that is no list. */
  readonly kind: string;
  readonly shape?: readonly number[];
  /** As many as are finite; none of a list that has more than there are elements to turn. */
  readonly numbers: readonly number[];
  /** The first that is not. */
  readonly wrong?: { readonly value: unknown };
}

type LongScaling = Extract<RopeScaling, { readonly type: "longrope" }>;

/** A scaling as it was read. */
export type ReadScaling =
  | Exclude<RopeScaling, LongScaling>
  | (Omit<LongScaling, "factors"> & { readonly factors: ReadList });

/** A call as it was read. */
export interface RopeCall {
  readonly q: ReadTensor;
  readonly k: ReadTensor | null;
  readonly positions: number | ReadList;
  readonly options: Omit<RopeOptions, "positions" | "scaling" | "sections"> & {
    readonly scaling?: ReadScaling | undefined;
    readonly sections?: ReadList | undefined;
  };
}

function readList(name: string, given: unknown, { shape }: ReadTensor): ReadList {
  const list = openList(name, given, cannot, true);
  const isShort = list !== undefined && list.length <= sizeOf(shape);
  return {
    ...{ kind: kindOf(given), shape: list?.shape },
    ...(isShort ? readNumbers(list, Number.isFinite) : { numbers: [] }),
  };
}

/** Reads a scaling; what is none is refused later. */
function readScaling(given: RopeScaling | undefined, rows: ReadTensor): ReadScaling | undefined {
  if (Object(given) !== given) return given as undefined;
  const scaling = readOptions(given as LongScaling, scalingNames as never, cannot);
  const { factors } = scaling;
  return factors === undefined
    ? scaling as never
    : { ...scaling, factors: readList("scaling.factors", factors, rows) };
}

/** Reads a call. */
export function readRope(
  q: AnyTensor | ReadTensor,
  k: AnyTensor | ReadTensor | null | undefined,
  options: RopeOptions = {},
): RopeCall {
  const all = readOptions(options, ropeNames, cannot), { positions = 0, sections } = all;
  const rows = readTensor("q", q, cannot);
  return {
    q: rows,
    k: (k ?? null) === null ? null : readTensor("k", k, cannot),
    positions: typeof positions === "number" ? positions : readList("positions", positions, rows),
    options: bare<RopeCall["options"]>(all as never, {
      scaling: readScaling(all.scaling, rows),
      sections: sections === undefined ? sections : readList("sections", sections, rows),
    }),
  };
}
