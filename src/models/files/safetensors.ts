/**
 * safetensors: eight bytes say how long the head is, the head is JSON and says of each tensor its type, its
 * shape and its range, and the numbers follow. The three claims must agree, and the ranges fill the file
 * without overlapping, as the format's reference reader asks.
 *
 * @module
 */

import { isExtent, kindOf } from "../../check/words.ts";
import { type ByteSource, cannot, checkEnd, openBytes } from "./bytes.ts";
import { looksLike } from "./foreign.ts";
import {
  countOf,
  type PlacedEntry,
  type StoredDType,
  type TensorEntry,
  type WeightFile,
  weightFile,
} from "./weights.ts";

/** Bytes of a head at most: as the reference reader has it. */
const mostHead = 100_000_000;

/** A head that is long: that of a model of many layers has some 100 KB. */
const longHead = 2 ** 20;

/** Bytes of an element by the type's name in the file. A type that is not here is left to its range. */
const elementBytes: ReadonlyMap<unknown, number> = new Map([
  ...["BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0"].map((name) => [name, 1] as const),
  ...["I16", "U16", "F16", "BF16"].map((name) => [name, 2] as const),
  ...["I32", "U32", "F32"].map((name) => [name, 4] as const),
  ...["I64", "U64", "F64", "C64"].map((name) => [name, 8] as const),
]);

/** Those that can be read. */
const dtypes: ReadonlyMap<string, StoredDType> = new Map([
  ["F32", "f32"],
  ["F16", "f16"],
  ["BF16", "bf16"],
  ["I8", "i8"],
]);

interface Head {
  readonly text: string;
  /** Where the numbers begin. */
  readonly dataStart: number;
}

async function readHead(source: ByteSource): Promise<Head> {
  const first = await source.upTo(0, 64);
  if (first.length < 8) {
    throw new RangeError(
      `${cannot}: the file has ${first.length} bytes, and is no safetensors file${
        first.length === 0 ? "" : looksLike(first)
      }`,
    );
  }
  const length = new DataView(first.buffer, first.byteOffset).getBigUint64(0, true);
  const wrong = (why: string) =>
    new RangeError(
      `${cannot}: the file is no safetensors file, its head ${why}${looksLike(first)}`,
    );
  const most = source.size === undefined ? mostHead : Math.min(mostHead, source.size - 8);
  if (length > most || length < 2) throw wrong(`would have ${length} bytes`);
  // Before so much is asked for at once of who reads ranges: that it is there.
  const isThere = length <= longHead || (await source.upTo(7 + Number(length), 1)).length === 1;
  const bytes = isThere ? await source.upTo(8, Number(length)) : undefined;
  if (bytes?.length !== Number(length)) {
    throw wrong(`would have ${length} bytes, and it is cut off before`);
  }
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    return { text, dataStart: 8 + Number(length) };
  } catch {
    throw wrong("is no text");
  }
}

/** The head's tensors, by name, as it has them. */
function parseHead(text: string): [string, unknown][] {
  let head: unknown;
  try {
    head = JSON.parse(text);
  } catch (error) {
    throw new RangeError(`${cannot}: the head of the file is no JSON: ${(error as Error).message}`);
  }
  if (typeof head !== "object" || head === null || Array.isArray(head)) {
    throw new RangeError(`${cannot}: the head of the file must be an object, got ${kindOf(head)}`);
  }
  return Object.entries(head).filter(([name]) => name !== "__metadata__");
}

interface Ranged extends TensorEntry {
  readonly begin: number;
  readonly end: number;
}

function readEntry(name: string, claims: unknown): Ranged {
  const wrong = (what: string) => new RangeError(`${cannot}: ${JSON.stringify(name)} ${what}`);
  const { dtype, shape, data_offsets: offsets } = Object(claims) as Record<string, unknown>;
  if (typeof dtype !== "string") throw wrong(`has no \`dtype\`, got ${kindOf(dtype)}`);
  if (!Array.isArray(shape) || !shape.every(isExtent)) {
    throw wrong(`must have a \`shape\` of whole numbers, got ${JSON.stringify(shape)}`);
  }
  const isRange = Array.isArray(offsets) && offsets.length === 2 && offsets.every(isExtent) &&
    offsets[0] <= offsets[1];
  if (!isRange) {
    throw wrong(
      "must have `data_offsets` of two whole numbers, the first not above the second, " +
        `got ${JSON.stringify(offsets)}`,
    );
  }
  const [begin, end] = offsets as [number, number], count = countOf(shape);
  const bytes = count === undefined ? undefined : count * (elementBytes.get(dtype) ?? NaN);
  if (count === undefined || (elementBytes.has(dtype) && bytes !== end - begin)) {
    throw wrong(
      `of type ${dtype} and shape [${shape}] must have ${bytes ?? "countless"} bytes, ` +
        `and has the ${end - begin} from ${begin} to ${end}`,
    );
  }
  const kind = dtypes.get(dtype) ?? (dtype.toUpperCase() as Uppercase<string>);
  return { name, shape, dtype: kind, bytes: end - begin, begin, end };
}

/** Checks that ranges follow each other without gaps; gives where the last ends. */
function checkRanges(entries: readonly Ranged[]): number {
  let last: Ranged | undefined;
  for (const entry of [...entries].sort((a, b) => a.begin - b.begin || a.end - b.end)) {
    const end = last?.end ?? 0;
    if (entry.begin !== end) {
      throw new RangeError(
        `${cannot}: ${JSON.stringify(entry.name)} begins at byte ${entry.begin} of the numbers, ` +
          `where ${end} is expected: ${
            entry.begin < end ? `it overlaps ${JSON.stringify(last!.name)}` : "there is a hole"
          }`,
      );
    }
    last = entry;
  }
  return last?.end ?? 0;
}

/**
 * Opens a safetensors file: its head is read and checked, and no number.
 *
 * @throws {RangeError} When the file is cut off, lies or is something else.
 */
export async function openSafetensors(given: unknown): Promise<WeightFile> {
  const source = openBytes(given), { text, dataStart } = await readHead(source);
  const entries = parseHead(text).map(([name, claims]) => readEntry(name, claims));
  await checkEnd(source, dataStart + checkRanges(entries), true);
  const placed = entries.map(({ begin, end: _, ...entry }): [string, PlacedEntry] => [
    entry.name,
    { ...entry, source, offset: dataStart + begin },
  ]);
  return weightFile("safetensors", new Map(placed));
}
