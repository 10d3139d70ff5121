/**
 * Caches that the calls of a program share, and what they should hold: tokens by their numbers.
 *
 * @module
 */

import type { Engine, KvCache } from "@flashtile/attention";
import { normals, seeded } from "../support/random.ts";

const D = 4;

/** The tokens of each sequence, by number. */
export type Tokens = readonly (readonly number[])[];

/** A change of a cache. */
export type Change =
  | { readonly do: "append"; readonly counts: readonly number[] }
  | { readonly do: "truncate"; readonly sequence: number; readonly length: number }
  | { readonly do: "fork"; readonly from: number; readonly to: number }
  | { readonly do: "evict"; readonly first: number; readonly last: number }
  | { readonly do: "free"; readonly sequence: number };

/** Keys, or values, of one token for each of some sequences. */
function rowsOf(tokens: Tokens, salt: number) {
  const most = Math.max(0, ...tokens.map(({ length }) => length));
  const data = new Float32Array(tokens.length * most * D);
  for (const [sequence, numbers] of tokens.entries()) {
    for (const [at, number] of numbers.entries()) {
      data.set(normals(D, seeded(number * 2 + salt)), (sequence * most + at) * D);
    }
  }
  return { data, shape: [tokens.length, 1, most, D] };
}

function append(cache: KvCache, tokens: Tokens): void {
  const lengths = tokens.map(({ length }) => length);
  cache.append(rowsOf(tokens, 0), rowsOf(tokens, 1), { lengths });
}

/** A cache, and a model of it. */
export class SharedCache {
  readonly cache: KvCache;
  #tokens: Tokens;
  #next = 1;

  constructor(engine: Engine, batch: number, tokens?: Tokens) {
    this.cache = engine.kvCache({ batch, kvHeads: 1, headDim: D, pageSize: 16 });
    this.#tokens = tokens ?? Array.from({ length: batch }, () => []);
    if (tokens !== undefined) append(this.cache, tokens);
    else this.change({ do: "append", counts: new Array(batch).fill(20) });
  }

  get tokens(): Tokens {
    return this.#tokens;
  }

  /** Changes the cache, and the model where that was not refused. */
  change(change: Change): void {
    const after = this.#after(change);
    this.#doTo(change, after);
    this.#tokens = after;
  }

  #after(change: Change): Tokens {
    const tokens = this.#tokens;
    const only = (at: number, then: (old: readonly number[]) => readonly number[]) =>
      tokens.map((old, sequence) => sequence === at ? then(old) : old);
    switch (change.do) {
      case "append":
        return tokens.map((old, at) => {
          return [...old, ...Array.from({ length: change.counts[at] }, () => this.#next++)];
        });
      case "truncate":
        return only(change.sequence, (old) => old.slice(0, change.length));
      case "fork":
        return only(change.to, () => tokens[change.from]);
      case "free":
        return only(change.sequence, () => []);
      case "evict":
        return tokens.map((old) => {
          const gone = old.length - change.first - change.last;
          return gone > 0 ? old.toSpliced(change.first, gone) : old;
        });
    }
  }

  #doTo(change: Change, after: Tokens): void {
    const { cache } = this;
    switch (change.do) {
      case "append":
        return append(cache, after.map((all, at) => all.slice(this.#tokens[at].length)));
      case "truncate":
        return cache.truncate(change.sequence, after[change.sequence].length);
      case "fork":
        return void cache.fork(change.from, change.to);
      case "free":
        return cache.free(change.sequence);
      case "evict":
        return cache.evict({ keepFirst: change.first, keepLast: change.last });
    }
  }
}
