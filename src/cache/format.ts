/**
 * Caches as bytes: a header that says what they hold, their pages, a checksum over both.
 *
 * ```text
 * 0   "FTKV"
 * 4   version, 2; of version 1 the bytes of int8 lie in another order on the CPU
 * 8   Hkv, D, Dv, tokens per page, dtype, smoothKeys, bytes per page, 2
 * 40  sequences, then the length of each
 *     the pages of each sequence in order, whole
 *     checksum: FNV-1a over all words before it
 * ```
 *
 * Numbers are 32 bits, little-endian. Pages are as the backend stores them.
 *
 * @module
 */

import { holdArray } from "../check/tensors.ts";
import { cacheDTypes, type Page, type PageStore } from "../contract/pages.ts";
import { arrayKind, type HeldArray } from "../tensor/arrays.ts";

const magic = 0x564b5446; // "FTKV"
const version = 2;
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

/** All sequences of a cache as bytes. */
export async function encodeCache(
  store: PageStore,
  lengths: readonly number[],
  pages: readonly (readonly Page[])[],
): Promise<Uint8Array<ArrayBuffer>> {
  const header = [
    magic,
    version,
    ...sizesOf(store).map(([, size]) => size),
    lengths.length,
    ...lengths,
  ];
  const all = pages.flat(), { bytesPerPage } = store;
  const bytes = new Uint8Array(header.length * 4 + all.length * bytesPerPage + 4);
  new Uint32Array(bytes.buffer, 0, header.length).set(header);
  let at = header.length * 4;
  // Some at once: each may be a way to a GPU and back.
  for (let first = 0; first < all.length; first += pagesAtOnce) {
    const read = all.slice(first, first + pagesAtOnce).map((page) => store.read(page));
    for (const page of await Promise.all(read)) {
      bytes.set(page, at);
      at += bytesPerPage;
    }
  }
  const words = new Uint32Array(bytes.buffer);
  words[words.length - 1] = checksum(words.subarray(0, -1));
  return bytes;
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
  const words = wordsOf(bytes.now(), bytes.length);
  if (words[0] !== magic) throw new RangeError(`${cannot}: the bytes are no saved cache`);
  if (words[1] !== 1 && words[1] !== version) {
    throw new RangeError(`${cannot}: its version is ${words[1]}, known are 1 and 2`);
  }
  if (words.at(-1) !== checksum(words.subarray(0, -1))) {
    throw new RangeError(`${cannot}: the bytes are damaged, their checksum is another`);
  }
  for (const [index, [name, size]] of [...sizes, ["batch", batch] as const].entries()) {
    if (words[2 + index] === size) continue;
    throw new RangeError(
      `${cannot}: it was saved with ${name} = ${words[2 + index]}, this one has ${size}`,
    );
  }
  return readPages(words, fixed, store, batch, bytes);
}

function readPages(
  words: Uint32Array,
  fixed: number,
  { bytesPerPage, layout: { pageSize } }: PageStore,
  batch: number,
  bytes: HeldArray<Uint8Array>,
): SavedCache {
  const lengths = Array.from(words.subarray(fixed, fixed + batch));
  const counts = lengths.map((length) => Math.ceil(length / pageSize));
  const begin = (fixed + batch) * 4, pages = counts.reduce((a, b) => a + b, 0);
  if (bytes.length !== begin + pages * bytesPerPage + 4) {
    throw new RangeError(
      `${cannot}: ${pages} pages take ${begin + pages * bytesPerPage + 4} bytes, ` +
        `got ${bytes.length}`,
    );
  }
  // Bytes where the pages of each sequence begin.
  let at = begin;
  const begins = counts.map((count) => (at += count * bytesPerPage) - count * bytesPerPage);
  return {
    version: words[1],
    lengths,
    pageOf: (sequence, index) => {
      const from = begins[sequence] + index * bytesPerPage;
      return bytes.now().subarray(from, from + bytesPerPage);
    },
  };
}
