/**
 * Which of a cache's newest tokens each query sees is read: a tree of drafted tokens, or a mask over them.
 *
 * @module
 */

import { readBooleans } from "../../../check/booleans.ts";
import { openList } from "../../../check/tensors.ts";
import { cannot, isWhole, kindOf, readNumbers } from "../../../check/words.ts";
import type { HeldArray } from "../../../tensor/arrays.ts";
import { isGpuBuffer } from "../../../tensor/dtype.ts";
import type { BooleanTensor, NumberList } from "../../../tensor/tensor.ts";
import type { SequenceRows } from "./rows.ts";

/** What says which of the newest tokens are seen. */
export interface TailOptions {
  readonly tailMask?: BooleanTensor | undefined;
  readonly parents?: NumberList | undefined;
  readonly mask?: unknown;
}

/** Whether a query of a sequence sees one of its newest tokens; rows and tokens are counted from the first of these. */
type Sees = (part: number, row: number, token: number) => boolean;

/** Rows of a call, as far as trees are concerned. */
type Rows = Pick<SequenceRows, "packed" | "firsts" | "counts">;

/** Rows of a tree at most: something is kept for each two of them. */
const mostDrafted = 4096;

/** The token that each row follows on, by sequence; -1 for what follows on the tokens before all rows. */
export function readParents(
  given: unknown,
  { packed, firsts, counts }: Rows,
  rows: number,
  doing = cannot,
): readonly (readonly number[])[] {
  const list = openList("parents", given, doing, true), { shape } = list ?? { shape: [] };
  const isShared = !packed && shape.length === 1 && counts.length !== 1;
  const fits = shape.at(-1) === rows &&
    (shape.length === 1 || (!packed && shape.length === 2 && shape[0] === counts.length));
  if (list === undefined || !fits) {
    const Kind = list === undefined ? TypeError : RangeError;
    throw new Kind(
      `${doing}: \`parents\` must be ${rows} numbers, one per row${
        packed ? "" : `, or [${counts.length}, ${rows}] for those of each sequence`
      }, got ${list === undefined ? kindOf(given) : `[${shape}]`}`,
    );
  }
  const most = Math.max(0, ...counts);
  if (most > mostDrafted) {
    throw new RangeError(
      `${doing}: \`parents\` is for at most ${mostDrafted} rows of a sequence, got ${most}`,
    );
  }
  /** Numbers from one on; each is read once, also where all sequences have the same. */
  const readFrom = (first: number, count: number) => {
    const part = { ...list, at: (index: number) => list.at(first + index) };
    const { numbers, wrong } = readNumbers(
      part,
      (parent, row) => isWhole(parent) && parent >= -1 && parent < row,
      count,
    );
    if (wrong === undefined) return numbers;
    throw new RangeError(
      `${doing}: \`parents[${
        first + numbers.length
      }]\` must be a row before it, counted from the first ` +
        `of its sequence, or -1, got ${kindOf(wrong.value)}`,
    );
  };
  if (isShared) {
    const all = readFrom(0, most);
    return counts.map((count) => all.slice(0, count));
  }
  return counts.map((count, at) => readFrom(packed ? firsts[at] : at * rows, count));
}

/** How many tokens of the tree are between each row and those before all rows. */
export function depthsOf(parents: readonly number[]): readonly number[] {
  const depths: number[] = [];
  for (const parent of parents) depths.push(parent < 0 ? 0 : depths[parent] + 1);
  return depths;
}

/** A row sees itself, and what its parent sees. */
function seesOfTree(parents: readonly (readonly number[])[]): Sees {
  const seen = parents.map((ofRows) => {
    const width = ofRows.length, marks = new Uint8Array(width * width);
    for (const [row, parent] of ofRows.entries()) {
      if (parent >= 0) marks.copyWithin(row * width, parent * width, (parent + 1) * width);
      marks[row * width + row] = 1;
    }
    return marks;
  });
  return (part, row, token) => seen[part][row * parents[part].length + token] !== 0;
}

function seesOfMask(given: unknown, { packed, counts }: Rows, rows: number): Sees {
  if (packed) {
    throw new TypeError(
      `${cannot}: \`tailMask\` cannot be given with \`cuSeqlens\`, whose sequences have different numbers ` +
        "of rows; `parents` can",
    );
  }
  const { data, dtype, shape, strides, offset } = readBooleans("tailMask", given);
  if (isGpuBuffer(data)) {
    throw new TypeError(`${cannot}: \`tailMask\` is read on the CPU, give it in an array`);
  }
  const [batch, ...square] = shape.length === 2 ? [1, ...shape] : shape;
  const fits = square.length === 2 && square.every((extent) => extent === rows) &&
    (batch === 1 || batch === counts.length);
  if (!fits) {
    throw new RangeError(
      `${cannot}: \`tailMask\` must have shape [Nq, Nq] = [${rows}, ${rows}], or that of each sequence, ` +
        `[${counts.length}, ${rows}, ${rows}], got [${shape}]`,
    );
  }
  const all = (data as HeldArray<Uint8Array | Uint32Array>).now().slice();
  const [perPart, perRow, perToken] = shape.length === 2 ? [0, ...strides] : strides;
  return (part, row, token) => {
    const at = offset + (batch === 1 ? 0 : part * perPart) + row * perRow + token * perToken;
    return dtype === "u8" ? all[at] !== 0 : (all[at >>> 5] >>> (at & 31) & 1) !== 0;
  };
}

/**
 * The mask over all tokens that such options mean: what is before a sequence's newest tokens is seen.
 *
 * @param tokens Tokens of each sequence, the newest among them.
 * @param keys Of the longest.
 * @returns `undefined` where nothing is asked.
 */
export function maskOfTail(
  { tailMask, parents, mask }: TailOptions,
  rows: SequenceRows,
  count: number,
  tokens: readonly number[],
  keys: number,
): BooleanTensor | undefined {
  if (tailMask === undefined && parents === undefined) return undefined;
  const name = tailMask === undefined ? "parents" : "tailMask";
  if ([tailMask, parents, mask].filter((one) => one !== undefined).length > 1) {
    throw new TypeError(
      `${cannot}: \`${name}\` cannot be given with \`${
        mask === undefined ? "parents" : "mask"
      }\`, each says which tokens are seen`,
    );
  }
  for (const [part, own] of tokens.entries()) {
    if (own >= rows.counts[part]) continue;
    throw new RangeError(
      `${cannot}: \`${name}\` needs a token for each of the ${
        rows.counts[part]
      } rows of sequence ` +
        `${rows.sequences[part]}, which has ${own}; append their keys first`,
    );
  }
  const sees = tailMask === undefined
    ? seesOfTree(readParents(parents, rows, count))
    : seesOfMask(tailMask, rows, count);
  return writeMask(sees, rows, count, tokens, keys);
}

/** A bit for each row and token. */
function writeMask(
  sees: Sees,
  { packed, firsts, counts }: Rows,
  rows: number,
  tokens: readonly number[],
  keys: number,
): BooleanTensor {
  const words = Math.ceil(keys / 32), batches = packed ? 1 : counts.length;
  const data = new Uint32Array(batches * rows * words).fill(0xffffffff);
  for (const [part, count] of counts.entries()) {
    const first = packed ? firsts[part] : part * rows;
    for (let row = 0; row < count; row++) {
      for (let token = 0; token < count; token++) {
        if (sees(part, row, token)) continue;
        const key = tokens[part] - count + token;
        data[(first + row) * words + (key >>> 5)] &= ~(1 << (key & 31));
      }
    }
  }
  const shape = [batches, 1, rows, keys], row = words * 32;
  return { data, shape, dtype: "bit", strides: [rows * row, 0, row, 1] };
}
