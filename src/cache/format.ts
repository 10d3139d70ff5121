/**
 * Caches as bytes: a header that says what they hold, their pages, a checksum over both.
 *
 * ```text
 * 0   "FTKV"
 * 4   version, 3; before, pages are whole, and of version 1 the bytes of int8 lie in another order on the CPU
 * 8   Hkv, D, Dv, tokens per page, dtype, smoothKeys, bytes per page, 2
 * 40  sequences, then the length of each
 *     the pages of each sequence in order, as runs: how many words are 0, how many follow, these; until a page is whole
 *     checksum: FNV-1a over all words before it
 * ```
 *
 * Numbers are 32 bits, little-endian. Pages are as the backend stores them, with zeros behind a sequence's last token.
 *
 * @module
 */

import { holdArray } from "../check/tensors.ts";
import { cacheDTypes, type Page, type PageStore } from "../contract/pages.ts";
import { arrayKind } from "../tensor/arrays.ts";

const magic = 0x564b5446; // "FTKV"
const version = 3;
const cannot = "Cannot load a cache";

/** Pages that are read at the same time. */
const pagesAtOnce = 32;

/** Numbers of the header that must be alike in the bytes and in the cache. */
function sizesOf({ layout, bytesPerPage }: PageStore): readonly [string, number][] {
  return [
    ["kvHeads", layout.kvHeads],
    ["headDim", layout.headDim],
    ["valueDim", layout.valueDim],
    ["pageSize", layout.pageSize],
    ["dtype", cacheDTypes.indexOf(layout.dtype)],
    ["smoothKeys", Number(layout.smoothKeys)],
    ["bytes per page", bytesPerPage],
    ["page format", 2],
  ];
}

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

/** Where the runs of a page end that begin at a word; `undefined` where they are none. Writes the page where there is one. */
function endOfPage(
  words: Uint32Array,
  at: number,
  length: number,
  page?: Uint32Array,
): number | undefined {
  for (let done = 0; done < length;) {
    if (at + 2 > words.length) return undefined;
    const [zeros, count] = [words[at], words[at + 1]], from = done + zeros, next = at + 2 + count;
    if (zeros + count === 0 || from + count > length || next > words.length) return undefined;
    page?.set(words.subarray(at + 2, next), from);
    done = from + count;
    at = next;
  }
  return at;
}

function checksum(words: Uint32Array): number {
  let hash = 0x811c9dc5;
  for (const word of words) hash = Math.imul(hash ^ word, 0x01000193);
  return hash >>> 0;
}

function wordsOf(bytes: Uint8Array, length: number): Uint32Array {
  // A copy where the bytes do not begin at a word.
  const whole = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
  return new Uint32Array(whole.buffer, whole.byteOffset, length / 4);
}

/** Sequences of a cache as bytes. */
export async function encodeCache(
  store: PageStore,
  lengths: readonly number[],
  pages: readonly (readonly Page[])[],
): Promise<Uint8Array<ArrayBuffer>> {
  const sizes = sizesOf(store).map(([, size]) => size), { pageSize } = store.layout;
  const parts = [Uint32Array.of(magic, version, ...sizes, lengths.length, ...lengths)];
  const all = pages.flatMap((list, sequence) =>
    list.map((page, index) =>
      [page, Math.min(pageSize, lengths[sequence] - index * pageSize)] as const
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

/** What bytes hold. */
export interface SavedCache {
  readonly version: number;
  readonly lengths: readonly number[];
  /** The bytes of a sequence's page. */
  pageOf(sequence: number, index: number): Uint8Array;
}

/** Reads bytes that `encodeCache` gave, for a cache like the one that they are from. */
export function decodeCache(given: Uint8Array, store: PageStore, batch: number): SavedCache {
  if (arrayKind(given) !== "Uint8Array") {
    throw new TypeError(`${cannot}: \`bytes\` must be a Uint8Array`);
  }
  const bytes = holdArray("bytes", given, cannot);
  bytes.lent?.check();
  const sizes = sizesOf(store), fixed = 2 + sizes.length + 1;
  if (bytes.length % 4 !== 0 || bytes.length < (fixed + 1) * 4) {
    throw new RangeError(`${cannot}: ${bytes.length} bytes are no saved cache`);
  }
  // What lies in an engine's memory goes when that grows for the pages.
  const words = wordsOf(bytes.lender ? bytes.now().slice() : bytes.now(), bytes.length);
  if (words[0] !== magic) throw new RangeError(`${cannot}: the bytes are no saved cache`);
  if (words[1] < 1 || words[1] > version) {
    throw new RangeError(`${cannot}: its version is ${words[1]}, known are 1 to ${version}`);
  }
  if (words.at(-1) !== checksum(words.subarray(0, -1))) {
    throw new RangeError(`${cannot}: the bytes are damaged, their checksum is another`);
  }
  for (const [index, [name, size]] of [...sizes, ["batch", batch] as const].entries()) {
    if (words[2 + index] === size) continue;
    const [saved, own] = [words[2 + index], size].map((number) => nameOf(name, number));
    throw new RangeError(
      `${cannot}: it was saved with ${name} = ${saved}, ${
        name === "batch" ? `${own} ${own === 1 ? "is" : "are"} replaced` : `this one has ${own}`
      }`,
    );
  }
  return readPages(words, fixed, store, batch);
}

/** A number of the header as options have it. */
function nameOf(name: string, number: number): unknown {
  if (name === "dtype") return cacheDTypes[number] ?? number;
  return name === "smoothKeys" ? number === 1 : number;
}

function readPages(
  words: Uint32Array,
  fixed: number,
  { bytesPerPage, layout: { pageSize } }: PageStore,
  batch: number,
): SavedCache {
  const lengths = Array.from(words.subarray(fixed, fixed + batch)), whole = bytesPerPage / 4;
  const counts = lengths.map((length) => Math.ceil(length / pageSize));
  const pages = counts.reduce((a, b) => a + b, 0), own = words.subarray(0, -1);
  // Where each page begins, and at last where all end.
  const begins = [fixed + batch], isWhole = words[1] < 3;
  while (begins.length <= pages) {
    const at = begins.at(-1)!;
    const end = isWhole ? at + whole : endOfPage(own, at, whole);
    if (end === undefined || end > own.length) break;
    begins.push(end);
  }
  if (begins.length <= pages || begins[pages] !== own.length) {
    throw new RangeError(`${cannot}: ${pages} pages do not fill the ${words.length * 4} bytes`);
  }
  let first = 0;
  const firsts = counts.map((count) => (first += count) - count);
  return {
    version: words[1],
    lengths,
    pageOf(sequence, index) {
      const at = begins[firsts[sequence] + index];
      const page = isWhole ? own.slice(at, at + whole) : new Uint32Array(whole);
      if (!isWhole) endOfPage(own, at, whole, page);
      return new Uint8Array(page.buffer);
    },
  };
}
