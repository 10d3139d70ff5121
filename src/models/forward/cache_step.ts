/**
 * A step of a pass through the caches of all layers: keys and values are appended, and queries attend. Layers are alike, so that
 * it is read with the first of them, and for those whose windows are others.
 *
 * @module
 */

import { type CheckedTokens, readTokens } from "../../cache/check.ts";
import {
  appendRead,
  type KvCache,
  lockCache,
  pagedOf,
  readCacheCall,
} from "../../cache/kv_cache.ts";
import { placed } from "../../operations/attention/operation.ts";
import type { CacheAttentionOptions } from "../../operations/attention/options.ts";
import { onPages } from "../../operations/attention/plan.ts";
import type { AttentionOfRows } from "./layers.ts";
import type { Calls } from "./calls.ts";
import type { Heads } from "./forward.ts";
import type { Waiting } from "./steps.ts";

/** Whose rows a pass has: as many of each sequence as its `lengths` say, or those of some sequences alone. */
type Whose = Pick<CacheAttentionOptions, "lengths" | "sequences">;

/** How rows attend. */
type Asked = Pick<CacheAttentionOptions, "causal" | "window" | "scale" | "softcap">;

/** One pass, whose rows lie in the same places in every layer. */
export class CacheStep {
  readonly #calls: Calls;
  readonly #whose: Whose & { readonly layout: "bnhd" };
  #tokens: CheckedTokens | undefined;
  /** Attention as it was read, by its window. */
  readonly #known = new Map<string, AttentionOfRows>();

  constructor(calls: Calls, whose: Whose) {
    this.#calls = calls;
    this.#whose = { ...whose, layout: "bnhd" };
  }

  /** A layer's share: `heads` says where rows are by now, since pages may make the memory grow. */
  run(cache: KvCache, heads: () => Heads, asked: Asked): Waiting {
    this.#calls.submit();
    appendRead(cache, this.#tokens ??= this.#read(cache, heads()));
    const unlock = lockCache(cache, "attend");
    try {
      return this.#calls.run(this.#attentionTo(cache, heads, asked));
    } finally {
      unlock();
    }
  }

  #read({ options }: KvCache, { k, v }: Heads): CheckedTokens {
    return readTokens(k, v, options, this.#whose);
  }

  #attentionTo(cache: KvCache, heads: () => Heads, asked: Asked): AttentionOfRows {
    const key = String(asked.window), known = this.#known.get(key);
    if (known !== undefined) {
      const { sequences } = this.#tokens!.rows;
      return { ...known, plan: onPages(known.plan, pagedOf(cache), sequences) };
    }
    const { q, out } = heads();
    const call = placed(readCacheCall(cache, q, { ...asked, ...this.#whose, out }));
    this.#known.set(key, call);
    return call;
  }
}
