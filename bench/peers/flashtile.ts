/**
 * FlashTile itself, by its public interface.
 *
 * @module
 */

import { createEngine } from "../../mod.ts";
import type { Peer } from "./peer.ts";

/** This library. */
export const flashtile: Peer = {
  name: "FlashTile",
  package: "@flashtile/attention",
  note: "attention() of an engine; inputs are copied into its memory on every call",
  async load({ heads, queries, keys, dim, causal, ...data }, { threads }) {
    const engine = await createEngine({ backend: "wasm", threads });
    const q = { data: data.q, shape: [heads, queries, dim] };
    const k = { data: data.k, shape: [heads, keys, dim] };
    const v = { data: data.v, shape: [heads, keys, dim] };
    return {
      layout: "heads first",
      run: async () => (await engine.attention(q, k, v, { causal })).out.data as Float32Array,
      dispose: () => engine.close(),
    };
  },
};
