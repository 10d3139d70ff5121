/**
 * Where a file's bytes come from: an array, a blob, or a function that reads a range. Nothing is read
 * before it is asked for, and an array is not copied.
 *
 * @module
 */

import { kindOf } from "../../check/words.ts";
import { kindOfArray } from "../../tensor/arrays.ts";

/** What the messages of whatever reads weights begin with. */
export const cannot = "Cannot read the weights";

/** Reads `length` bytes from `offset` on; fewer where the file ends before. */
export type RangeReader = (offset: number, length: number) => Promise<Uint8Array>;

/** A file as it is given: its bytes, a `Blob` (or `File`) of them, or what reads a range of them. */
export type FileBytes = Uint8Array | Blob | RangeReader;

/** A file that can be read. */
export interface ByteSource {
  /** Bytes of it; `undefined` where only reading shows. */
  readonly size: number | undefined;
  /** Bytes from `offset` on, fewer than `length` only where the file ends before. */
  upTo(offset: number, length: number): Promise<Uint8Array>;
}

/** By shape: blobs also come from polyfills and other realms. */
function isBlob(given: unknown): given is Blob {
  const { size, slice, arrayBuffer } = Object(given) as Blob;
  return typeof size === "number" && typeof slice === "function" &&
    typeof arrayBuffer === "function";
}

function ofArray(array: Uint8Array): ByteSource {
  return {
    size: array.length,
    upTo: (offset, length) => Promise.resolve(array.subarray(offset, offset + length)),
  };
}

function ofBlob(blob: Blob): ByteSource {
  return {
    size: blob.size,
    upTo: async (offset, length) =>
      new Uint8Array(await blob.slice(offset, offset + length).arrayBuffer()),
  };
}

function ofReader(read: RangeReader): ByteSource {
  return {
    size: undefined,
    async upTo(offset, length) {
      const bytes: unknown = await read(offset, length);
      if (kindOfArray(bytes) !== "Uint8Array") {
        throw new TypeError(
          `${cannot}: the function that reads a range must give a Uint8Array, got ${kindOf(bytes)}`,
        );
      }
      const { length: came } = bytes as Uint8Array;
      if (came > length) {
        throw new RangeError(
          `${cannot}: the function that reads a range was asked for ${length} bytes from ${offset} on ` +
            `and gave ${came}: a server that does not know ranges gives whole files`,
        );
      }
      return bytes as Uint8Array;
    },
  };
}

/** Opens what is given as a file. */
export function openBytes(given: unknown): ByteSource {
  if (kindOfArray(given) === "Uint8Array") return ofArray(given as Uint8Array);
  if (typeof given === "function") return ofReader(given as RangeReader);
  if (isBlob(given)) return ofBlob(given);
  throw new TypeError(
    `${cannot}: a file must be a Uint8Array, a Blob or a function that reads a range, got ${
      kindOf(given)
    }`,
  );
}

/** Reads a range that must be there as a whole. */
export async function exactly(
  source: ByteSource,
  offset: number,
  length: number,
  what: string,
): Promise<Uint8Array> {
  const bytes = await source.upTo(offset, length);
  if (bytes.length === length) return bytes;
  throw new RangeError(
    `${cannot}: ${what} needs bytes ${offset} to ${offset + length}, ` +
      `and the file ends at ${offset + bytes.length}: it is cut off`,
  );
}

/**
 * Checks that a file has all its bytes, and, where its size is known and it must be `exact`, no others:
 * its last one is read where only that shows.
 */
export async function checkEnd(source: ByteSource, end: number, isExact: boolean): Promise<void> {
  const { size } = source;
  if (size === undefined && Number.isSafeInteger(end)) {
    if (end > 0) await exactly(source, end - 1, 1, "its last number");
    return;
  }
  if (size === end || (size! > end && !isExact)) return;
  throw new RangeError(
    `${cannot}: the file says that it ends at byte ${end}, and has ${size ?? "not so many"}: ` +
      (size! > end ? "something was written behind it" : "it is cut off"),
  );
}
