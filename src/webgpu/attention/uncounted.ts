/**
 * Rows that are in no segment of a call, which see nothing: their results are those of attention to no
 * keys.
 *
 * @module
 */

import type { AttentionPlan } from "../../operations/attention/plan.ts";
import type { Target } from "../../operations/attention/target.ts";
import type { AnyView } from "../../tensor/tensor.ts";

/** Some rows of a batch. */
type Rows = readonly [batch: number, from: number, to: number];

function rowsOf<V extends AnyView>(view: V, [batch, from, to]: Rows): V {
  const { shape, strides, offset } = view;
  return {
    ...view,
    shape: [1, shape[1], to - from, shape[3]],
    offset: offset + batch * strides[0] + from * strides[2],
  };
}

/** The call of some rows that see no key. */
function emptyPlan(plan: AttentionPlan, rows: Rows): AttentionPlan {
  const queries = rows[2] - rows[1], none = { strides: [0, 0, 0, 0], offset: 0 } as const;
  const { q, keyHeads, dim, valueDim } = plan;
  return {
    ...plan,
    ...{ batch: 1, queries, keys: 0, q: rowsOf(q, rows), out: null },
    kv: {
      kind: "tensors",
      k: { ...q, ...none, shape: [1, keyHeads, 0, dim] },
      v: { ...q, ...none, shape: [1, keyHeads, 0, valueDim] },
    },
    segments: [{ batch: 0, firstQuery: 0, queries, firstKey: 0, keys: 0, offset: 0 }],
    ...{ softcap: null, slopes: null, bias: null, mask: null, sinks: null, blockMask: null },
    functions: null,
  };
}

/** Calls that give the rest of a call's rows. */
export function* uncountedOf(
  plan: AttentionPlan,
  { out, lse }: Target,
): Generator<{ readonly plan: AttentionPlan; readonly target: Target }> {
  for (const { batch, queries } of plan.segments) {
    if (queries === plan.queries) continue;
    const rows = [batch, queries, plan.queries] as const;
    const target = { out: rowsOf(out, rows), lse: lse && rowsOf(lse, rows) } as Target;
    yield { plan: emptyPlan(plan, rows), target };
  }
}
