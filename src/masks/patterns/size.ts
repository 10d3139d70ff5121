/**
 * How large a mask is to be, as callers say it, and the checks that all patterns share.
 *
 * @module
 */

import { openList } from "../../check/tensors.ts";
import {
  isWhole,
  kindOf,
  mostHeads,
  readNumbers,
  readOptions,
  readShort,
} from "../../check/words.ts";
import { cannot, checkWhole, type Grid } from "../blocks.ts";

/** Extents of a mask, its blocks, and where its queries stand. */
export interface BlockMaskSize {
  /** Queries, Nq. */
  readonly queries: number;
  /** Keys, Nk; as many as queries by default. */
  readonly keys?: number | undefined;
  /** Batches; 1, the default, is shared by all. */
  readonly batch?: number | undefined;
  /** Query heads; 1, the default, is shared by all. */
  readonly heads?: number | undefined;
  /**
   * `[queries, keys]` of a block, or one number for both; 64 by default. Need not divide the
   * extents.
   */
  readonly block?: number | readonly number[] | undefined;
  /**
   * Position of query 0 among the keys, possibly negative: query `i` stands on key `i + offset`. By
   * default `keys - queries`, as with `causal` of `attention()`: the last query stands on the last
   * key.
   */
  readonly offset?: number | undefined;
}

/** A checked size. */
export interface Size extends Grid {
  readonly offset: number;
}

const sizeNames = ["queries", "keys", "batch", "heads", "block", "offset"];

/** A size as it may be given: a number is one of so many queries and keys. */
export type GivenSize = BlockMaskSize | number;

/** A size whose extents and blocks have names. */
export function namedSize(size: GivenSize): BlockMaskSize {
  return typeof size === "number" ? { queries: size } : size;
}

/** Checks a size, and fills in its defaults; `unused` has no meaning to the pattern. */
export function checkSize(size: GivenSize, unused: readonly string[] = []): Size {
  const names = sizeNames.filter((name) => !unused.includes(name));
  const { queries, keys = queries, batch = 1, heads = 1, block = 64, offset } = readObject(
    "size",
    namedSize(size) as unknown as Record<string, unknown>,
    names,
  );
  checkWhole("queries", queries);
  checkWhole("keys", keys);
  checkWhole("batch", batch, 1);
  checkWhole("heads", heads, 1);
  if (batch * heads > mostHeads) {
    throw new RangeError(
      `${cannot}: \`batch\` times \`heads\` must be at most ${mostHeads}, got ${batch} times ${heads}`,
    );
  }
  const extents = typeof block === "number" ? [block, block] : readShort(block);
  if (extents?.length !== 2 || !extents.every((extent) => typeof extent === "number")) {
    throw new TypeError(
      `${cannot}: \`block\` must be a number or [queries, keys], got ${
        extents === undefined ? kindOf(block) : `[${extents.map(kindOf)}]`
      }`,
    );
  }
  if (!extents.every((extent) => isWhole(extent) && extent >= 1)) {
    const got = typeof block === "number" ? block : `[${extents.map(kindOf)}]`;
    throw new RangeError(`${cannot}: \`block\` must be whole numbers >= 1, got ${got}`);
  }
  if (offset !== undefined) checkWhole("offset", offset, -Infinity);
  return {
    queries,
    keys,
    batch,
    heads,
    block: Object.freeze([extents[0], extents[1]] as const),
    offset: offset ?? keys - queries,
  };
}

/** Reads an object of nothing but `known`, each once. */
export function readObject<T extends object>(
  name: string,
  value: T,
  known: readonly (keyof T & string)[],
): T {
  if (typeof value !== "object" || value === null) {
    throw new TypeError(`${cannot}: \`${name}\` must be an object, got ${kindOf(value)}`);
  }
  return readOptions(value, known, cannot);
}

/** Checks an array of numbers of any kind. */
export function checkNumbers(name: string, value: unknown): readonly number[] {
  const list = openList(name, value, cannot);
  const { numbers, wrong } = list === undefined
    ? { wrong: undefined }
    : readNumbers(list, (one) => typeof one === "number");
  if (numbers !== undefined && wrong === undefined) return numbers;
  throw new TypeError(
    `${cannot}: \`${name}\` must be an array of numbers, got ${
      wrong === undefined ? kindOf(value) : `${kindOf(wrong.value)} in it`
    }`,
  );
}

/** Runs `[from, to)` of ascending positions. */
export function runsOf(positions: Iterable<number>): readonly [from: number, to: number][] {
  const runs: [number, number][] = [];
  for (const position of positions) {
    const last = runs.at(-1);
    if (last?.[1] === position) last[1]++;
    else runs.push([position, position + 1]);
  }
  return runs;
}
