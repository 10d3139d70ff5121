/**
 * Full pages go from one cache to another of the same sizes, as they are stored: no number of them changes.
 * Caches that drop pages by themselves are none of these.
 *
 * @module
 */

import { encodeCache } from "./encode.ts";
import { decodeCache, type SavedCache } from "./format.ts";
import { beginChangeOf, type KvCache, lockCache, sequencesOf, storeOf } from "./kv_cache.ts";
import type { Change } from "./sequences.ts";

/** Full pages of a sequence as bytes. */
export async function savePages(
  cache: KvCache,
  sequence: number,
  indices: readonly number[],
): Promise<Uint8Array<ArrayBuffer>> {
  const unlock = lockCache(cache, "save pages"), store = storeOf(cache);
  try {
    const own = sequencesOf(cache).pages[sequence], pages = indices.map((index) => own[index]);
    const length = pages.length * store.layout.pageSize;
    return await encodeCache(store, undefined, [{ length, dropped: 0, pages }]);
  } finally {
    unlock();
  }
}

/**
 * Reads bytes that `savePages()` gave.
 *
 * @throws {RangeError} When they are others, or of another number of pages.
 */
export function readPages(cache: KvCache, bytes: Uint8Array, count: number): SavedCache {
  const store = storeOf(cache), saved = decodeCache(bytes, store, undefined, 1);
  const [length] = saved.lengths;
  if (length === count * store.layout.pageSize) return saved;
  throw new RangeError(`Cannot place pages: ${length} tokens came, expected ${count} pages`);
}

/**
 * What puts pages into a sequence; nothing keeps it from being done any more.
 *
 * @param before Of each, the page of the sequence that it comes before, in ascending order.
 * @throws {RangeError} When there is no memory; nothing has changed then.
 */
export function placingOf(
  cache: KvCache,
  sequence: number,
  before: readonly number[],
  saved: SavedCache,
): Change {
  beginChangeOf(cache, "place pages");
  const store = storeOf(cache);
  return sequencesOf(cache).insert(sequence, before, (page, nth) => {
    store.restore(page, saved.pageOf(0, nth), saved.version);
  });
}

/** Full pages leave a sequence; they are named in ascending order. */
export function removePages(cache: KvCache, sequence: number, indices: readonly number[]): void {
  beginChangeOf(cache, "remove pages");
  sequencesOf(cache).remove(sequence, indices);
}
