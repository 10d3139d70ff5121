/**
 * A call of `attentionWeights()` is read.
 *
 * @module
 */

import { openList, readRows, readTensor } from "../../check/tensors.ts";
import {
  cannot,
  checkOneOf,
  isExtent,
  kindOf,
  readNumbers,
  readOptions,
} from "../../check/words.ts";
import { type AnyTensor, type AnyView, viewOf } from "../../tensor/tensor.ts";
import { type AttentionCall, readAttention, type TensorPlan } from "../attention/plan.ts";
import { checkPlaces } from "../backward/plan.ts";
import { type KeySums, weightsNames, type WeightsOptions } from "./options.ts";

/** A call as it was read. Its plan has keys in the place of values, which nobody reads. */
export interface WeightsCall extends Pick<AttentionCall<TensorPlan>, "plan" | "control"> {
  /** `null` for all of them. */
  readonly rows: readonly number[] | null;
  readonly heads: readonly number[] | null;
  /** `[B, Hq, Nq, 1]`; `null` where it is to be computed. */
  readonly lse: AnyView | null;
  readonly keySums: KeySums;
}

/** Reads indices that ascend. */
function readIndices(name: string, given: unknown, extent: number): readonly number[] | null {
  if (given === undefined) return null;
  const list = openList(name, given);
  const { numbers, wrong } = list
    ? readNumbers(
      list,
      (index, at, before) =>
        isExtent(index) && index < extent && (at === 0 || index > before[at - 1]),
    )
    : { numbers: [], wrong: { value: given } };
  if (wrong === undefined) return numbers;
  const Kind = list ? RangeError : TypeError;
  throw new Kind(
    `${cannot}: \`${name}\` must be whole numbers that ascend, from 0 to before ${extent}, got ${
      kindOf(wrong.value)
    }${list ? ` at index ${numbers.length}` : ""}`,
  );
}

/** Reads a call and decides what it means. */
export function readWeights(
  q: AnyTensor,
  k: AnyTensor,
  options: WeightsOptions = {},
): WeightsCall {
  const given = readOptions(options, weightsNames, cannot);
  const { rows, heads, lse, keySums = false, ...rest } = given;
  checkOneOf("keySums", keySums, [true, false, "kv"]);
  const keys = readTensor("k", k);
  const { plan, control } = readAttention(q, keys, keys, rest);
  const { batch, queryHeads, queries, written } = plan;
  if (heads !== undefined && keySums === "kv") {
    throw new TypeError(
      `${cannot}: \`heads\` are query heads, and \`keySums: "kv"\` sums over all of a group; leave one out`,
    );
  }
  const perRow = [batch, queryHeads, queries].slice(4 - written.q.length);
  const view = lse === undefined ? null : viewOf(readRows("lse", lse, perRow, cannot), "bhnd");
  checkPlaces(plan.q.data, { k: plan.kv.k, lse: view }, cannot);
  return {
    ...{ plan, control, keySums, lse: view },
    rows: readIndices("rows", rows, queries),
    heads: readIndices("heads", heads, queryHeads),
  };
}
