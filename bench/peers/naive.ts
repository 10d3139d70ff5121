/**
 * The naive loop of this bench.
 *
 * @module
 */

import { naiveAttention } from "../naive.ts";
import { oneThread, type Peer } from "./peer.ts";

/** What one writes without a library. */
export const naive: Peer = {
  name: "naive loop",
  note: "three loops over a whole score matrix, in JavaScript",
  // deno-lint-ignore require-await -- others load a library here
  async load({ heads, queries, keys, dim, causal, ...data }, { threads }) {
    oneThread(threads, "it is one loop");
    const q = { data: data.q, shape: [heads, queries, dim] };
    const k = { data: data.k, shape: [heads, keys, dim] };
    const v = { data: data.v, shape: [heads, keys, dim] };
    return { layout: "heads first", run: () => naiveAttention(q, k, v, causal), dispose: () => {} };
  },
};
