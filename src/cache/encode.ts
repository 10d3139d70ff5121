/**
 * Caches become bytes, as format.ts says. Loaded when the first is saved.
 *
 * @module
 */

import type { Keeping, Page, PageStore } from "../contract/pages.ts";
import { checksum, magic, sizesOf, version, wordsOf } from "./format.ts";

/** Pages that are read at the same time. */
const pagesAtOnce = 32;

/** Zeros in a row that are worth a run of their own. */
const leastZeros = 4;

/** A page's words as runs. */
function shorten(page: Uint32Array): Uint32Array<ArrayBuffer> {
  const runs = new Uint32Array(page.length + 2 * Math.ceil(page.length / leastZeros) + 2);
  let end = 0;
  for (let at = 0; at < page.length;) {
    const first = at;
    while (at < page.length && page[at] === 0) at++;
    const from = at;
    for (let zeros = 0; at < page.length && zeros < leastZeros; at++) {
      zeros = page[at] === 0 ? zeros + 1 : 0;
    }
    while (at > from && page[at - 1] === 0) at--;
    runs.set([from - first, at - from], end);
    runs.set(page.subarray(from, at), end + 2);
    end += 2 + at - from;
  }
  return runs.subarray(0, end);
}

/** A sequence to be saved. */
export interface SavedSequence {
  readonly length: number;
  /** Tokens of these that are in no page. */
  readonly dropped: number;
  readonly pages: readonly Page[];
}

/** Sequences of a cache as bytes. */
export async function encodeCache(
  store: PageStore,
  keeping: Keeping | undefined,
  sequences: readonly SavedSequence[],
): Promise<Uint8Array<ArrayBuffer>> {
  const sizes = sizesOf(store, keeping).map(([, size]) => size), { pageSize } = store.layout;
  const counts = [
    ...sequences.map(({ length }) => length),
    ...(keeping ? sequences.map(({ dropped }) => dropped) : []),
  ];
  const parts = [
    Uint32Array.of(magic, keeping ? version : 3, ...sizes, sequences.length, ...counts),
  ];
  const all = sequences.flatMap(({ length, dropped, pages }) =>
    pages.map((page, index) =>
      [page, Math.min(pageSize, length - dropped - index * pageSize)] as const
    )
  );
  // Some at once: each may be a way to a GPU and back.
  for (let first = 0; first < all.length; first += pagesAtOnce) {
    const some = all.slice(first, first + pagesAtOnce);
    for (const page of await Promise.all(some.map(([page, tokens]) => store.read(page, tokens)))) {
      parts.push(shorten(wordsOf(page, page.length)));
    }
  }
  const words = new Uint32Array(parts.reduce((sum, { length }) => sum + length, 1));
  let at = 0;
  for (const part of parts) {
    words.set(part, at);
    at += part.length;
  }
  words[at] = checksum(words.subarray(0, -1));
  return new Uint8Array(words.buffer);
}
