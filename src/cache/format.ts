/**
 * Caches as bytes: a header that says what they hold, their pages, a checksum over both.
 *
 * ```text
 * 0   "FTKV"
 * 4   version, 3, or 4 of a cache that drops tokens; before, pages are whole, and of version 1 the bytes of int8 lie in another order on
 *     the CPU
 * 8   Hkv, D, Dv, tokens per page, dtype, smoothKeys, bytes per page, 2; of version 4 keepFirst, keepLast
 * 40  sequences, then the length of each, then of version 4 how many tokens each has dropped; from 48 on there
 *     the pages of each sequence in order, as runs: how many words are 0, how many follow, these; until a page is whole
 *     checksum: FNV-1a over all words before it
 * ```
 *
 * Numbers are 32 bits, little-endian. Pages are as the backend stores them, with zeros behind a sequence's last token.
 *
 * @module
 */

import { holdArray } from "../check/tensors.ts";
import { cacheDTypes, type Keeping, type PageStore } from "../contract/pages.ts";
import { arrayKind } from "../tensor/arrays.ts";

export const magic = 0x564b5446; // "FTKV"
export const version = 4;
const cannot = "Cannot load a cache";

/** Numbers of the header that must be alike in the bytes and in the cache. */
export function sizesOf(
  { layout, bytesPerPage }: PageStore,
  keeping: Keeping | undefined,
): readonly [string, number][] {
  return [
    ["kvHeads", layout.kvHeads],
    ["headDim", layout.headDim],
    ["valueDim", layout.valueDim],
    ["pageSize", layout.pageSize],
    ["dtype", cacheDTypes.indexOf(layout.dtype)],
    ["smoothKeys", Number(layout.smoothKeys)],
    ["bytes per page", bytesPerPage],
    ["page format", 2],
    ...Object.entries(keeping ?? {}),
  ];
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

export function checksum(words: Uint32Array): number {
  let hash = 0x811c9dc5;
  for (const word of words) hash = Math.imul(hash ^ word, 0x01000193);
  return hash >>> 0;
}

export function wordsOf(bytes: Uint8Array, length: number): Uint32Array {
  // A copy where the bytes do not begin at a word.
  const whole = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
  return new Uint32Array(whole.buffer, whole.byteOffset, length / 4);
}

/** What bytes hold. */
export interface SavedCache {
  readonly version: number;
  readonly lengths: readonly number[];
  /** Tokens of each sequence that are in no page. */
  readonly dropped: readonly number[];
  /** The bytes of a sequence's page. */
  pageOf(sequence: number, index: number): Uint8Array;
}

/** Reads bytes that `encodeCache` gave, for a cache like the one that they are from. */
export function decodeCache(
  given: Uint8Array,
  store: PageStore,
  keeping: Keeping | undefined,
  batch: number,
): SavedCache {
  if (arrayKind(given) !== "Uint8Array") {
    throw new TypeError(`${cannot}: \`bytes\` must be a Uint8Array`);
  }
  const bytes = holdArray("bytes", given, cannot);
  bytes.lent?.check();
  const sizes = sizesOf(store, keeping), fixed = 2 + sizes.length + 1;
  if (bytes.length % 4 !== 0 || bytes.length < (fixed + 1) * 4) {
    throw new RangeError(`${cannot}: ${bytes.length} bytes are no saved cache`);
  }
  // What lies in an engine's memory goes when that grows for the pages.
  const words = wordsOf(bytes.lender ? bytes.now().slice() : bytes.now(), bytes.length);
  if (words[0] !== magic) throw new RangeError(`${cannot}: the bytes are no saved cache`);
  if (words[1] < 1 || words[1] > version) {
    throw new RangeError(`${cannot}: its version is ${words[1]}, known are 1 to ${version}`);
  }
  if ((words[1] === 4) !== (keeping !== undefined)) {
    throw new RangeError(
      `${cannot}: it was saved ${keeping ? "without" : "with"} \`keepLast\`, this one has ${
        keeping ? keeping.keepLast : "none"
      }`,
    );
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
  return readPages(words, fixed, store, keeping, batch);
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
  keeping: Keeping | undefined,
  batch: number,
): SavedCache {
  const lengths = Array.from(words.subarray(fixed, fixed + batch)), whole = bytesPerPage / 4;
  const dropped = lengths.map((_, at) => keeping ? words[fixed + batch + at] : 0);
  const counts = lengths.map((length, at) => Math.ceil((length - dropped[at]) / pageSize));
  const first = Math.ceil((keeping?.keepFirst ?? 0) / pageSize) * pageSize;
  const wrong = dropped.findIndex((count, at) =>
    count % pageSize !== 0 || (count > 0 && first + count > lengths[at])
  );
  if (wrong >= 0) {
    throw new RangeError(
      `${cannot}: sequence ${wrong} cannot have dropped ${dropped[wrong]} of ${
        lengths[wrong]
      } tokens`,
    );
  }
  const pages = counts.reduce((a, b) => a + b, 0), own = words.subarray(0, -1);
  // Where each page begins, and at last where all end.
  const begins = [fixed + batch * (keeping ? 2 : 1)], isWhole = words[1] < 3;
  while (begins.length <= pages) {
    const at = begins.at(-1)!;
    const end = isWhole ? at + whole : endOfPage(own, at, whole);
    if (end === undefined || end > own.length) break;
    begins.push(end);
  }
  if (begins.length <= pages || begins[pages] !== own.length) {
    throw new RangeError(`${cannot}: ${pages} pages do not fill the ${words.length * 4} bytes`);
  }
  let before = 0;
  const firsts = counts.map((count) => (before += count) - count);
  return {
    version: words[1],
    lengths,
    dropped,
    pageOf(sequence, index) {
      const at = begins[firsts[sequence] + index];
      const page = isWhole ? own.slice(at, at + whole) : new Uint32Array(whole);
      if (!isWhole) endOfPage(own, at, whole, page);
      return new Uint8Array(page.buffer);
    },
  };
}
