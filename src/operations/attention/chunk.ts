/**
 * Chunks: a query sees the keys of its own chunk alone (`attention_chunk_size` of Llama 4's configs). Said by a band, which
 * has kernels leave out most of what nobody sees, and by a mask for the rest: of blocks, or with a cache of bits.
 *
 * @module
 */

import { readBooleans } from "../../check/booleans.ts";
import { cannot } from "../../check/words.ts";
import type { HeldArray } from "../../tensor/arrays.ts";
import { isGpuBuffer } from "../../tensor/dtype.ts";
import { type BooleanTensor, broadcastOf, type Extents } from "../../tensor/tensor.ts";
import { type BlockMask, fromRuns } from "../../masks/block_mask.ts";
import type { Band, Segment } from "./segments.ts";

/** Extents of a block of the mask. */
const block = [64, 64] as const;

/** A band that has all that chunks of so many keys leave of it. */
export function bandWithin({ left, right }: Band, chunk: number): Band {
  return { left: Math.min(left, chunk - 1), right: Math.min(right, chunk - 1) };
}

/** The keys of a segment, counted from its first, that one of its queries may see. */
function keysOf(
  { offset, keys }: Segment,
  query: number,
  chunk: number,
): readonly [number, number] {
  const first = Math.floor((query + offset) / chunk) * chunk;
  return [Math.min(keys, Math.max(0, first)), Math.min(keys, Math.max(0, first + chunk))];
}

/** The mask of blocks, and what another keeps of it. */
export function blocksOfChunks(
  segments: readonly Segment[],
  packed: boolean,
  [batch, , queries, keys]: Extents,
  chunk: number,
  other: BlockMask | null,
): BlockMask {
  const { offset, keys: count } = segments[0] ?? { offset: 0, keys: 0 };
  const areAlike = packed || segments.every((one) => one.offset === offset && one.keys === count);
  const grid = { queries, keys, batch: areAlike ? 1 : Math.max(1, batch), heads: 1, block };
  let at = 0;
  const mask = fromRuns(grid, (b, _h, query, add) => {
    if (segments.length === 0) return;
    if (!packed) return add(...keysOf(segments[b], query, chunk));
    // Queries come in the order of their sequences.
    if (query === 0) at = 0;
    while (query >= segments[at].firstQuery + segments[at].queries) at++;
    const segment = segments[at], { firstKey } = segment;
    const [from, to] = keysOf(segment, query - segment.firstQuery, chunk);
    add(firstKey + from, firstKey + to);
  });
  return other === null ? mask : other.and(mask);
}

/** Tells whether a mask keeps a key; `null` where there is none. */
function keptBy(mask: BooleanTensor | undefined, extents: Extents) {
  if (mask === undefined) return null;
  const read = readBooleans("mask", mask), { data, dtype } = read;
  if (isGpuBuffer(data)) {
    throw new TypeError(
      `${cannot}: \`mask\` must be in an array where \`chunk\` is given with a cache, got a GPUBuffer`,
    );
  }
  const elements = (data as HeldArray<Uint8Array | Uint32Array>).now(), { shape } = read;
  const fits = shape.length <= 4 &&
    shape.every((extent, axis) => extent === 1 || extent === extents[4 - shape.length + axis]);
  if (!fits) return undefined;
  const { strides, offset } = broadcastOf(read, extents);
  return {
    heads: strides[1] === 0 ? 1 : extents[1],
    keeps(b: number, h: number, query: number, key: number): boolean {
      const at = offset + b * strides[0] + h * strides[1] + query * strides[2] + key * strides[3];
      return dtype === "u8" ? elements[at] !== 0 : (elements[at >>> 5] >>> (at & 31) & 1) !== 0;
    },
  };
}

/** The mask of bits over the tokens of a cache's sequences, and what another keeps of it; that one where its shape is wrong. */
export function bitsOfChunks(
  segments: readonly Segment[],
  packed: boolean,
  extents: Extents,
  chunk: number,
  other: BooleanTensor | undefined,
): BooleanTensor {
  const kept = keptBy(other, extents);
  if (kept === undefined) return other!; // Refused by whoever reads it.
  const [, , queries, keys] = extents, words = Math.ceil(keys / 32), heads = kept?.heads ?? 1;
  const batches = packed ? 1 : segments.length;
  const data = new Uint32Array(batches * heads * queries * words);
  for (const segment of segments) {
    const { batch, firstQuery } = segment;
    for (let h = 0; h < heads; h++) {
      for (let row = 0; row < segment.queries; row++) {
        const [from, to] = keysOf(segment, row, chunk), query = firstQuery + row;
        const line = ((batch * heads + h) * queries + query) * words;
        for (let key = from; key < to; key++) {
          if (kept !== null && !kept.keeps(batch, h, query, key)) continue;
          data[line + (key >>> 5)] |= 1 << (key & 31);
        }
      }
    }
  }
  const row = words * 32, head = queries * row;
  return {
    ...{ data, dtype: "bit", shape: [batches, heads, queries, keys] },
    strides: [heads * head, heads === 1 ? 0 : head, row, 1],
  };
}
