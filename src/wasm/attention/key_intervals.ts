/**
 * Key intervals: the keys that each block of queries visits, run by run, as the kernel reads them. Neighbouring
 * blocks become one run: whole ones by their bounds alone, mixed ones with the bits of both.
 *
 * @module
 */

import { arraysOf, type BlockMask } from "../../masks/block_mask.ts";
import type { Blocks } from "../../masks/blocks.ts";
import { KeyRuns } from "../../masks/key_runs.ts";
import type { AttentionPlan } from "../../operations/attention/plan.ts";
import { type Arena, roundUp } from "../memory/arena.ts";
import { intervalFields, intervalWords } from "../record/job_record.ts";
import type { Run } from "./run.ts";

/** Keys of a run of mixed blocks at most: no tile has more. */
const mostMixedKeys = 256;

/** Bytes behind a run's bits that the kernel may read. */
const slack = 8;

/** Blocks of queries that a run's positions are in: from the first to before the last. */
function blocksOf(plan: AttentionPlan, { segment, from, to }: Run): readonly [number, number] {
  const { firstQuery } = plan.segments[segment], [rows] = plan.blockMask!.block;
  return [Math.floor((firstQuery + from) / rows), Math.ceil((firstQuery + to) / rows)];
}

/** Row of a block mask's list for a query head, before its first block of queries. */
function listOf(mask: BlockMask, batch: number, head: number): number {
  const b = mask.batch === 1 ? 0 : batch, h = mask.heads === 1 ? 0 : head;
  return (b * mask.heads + h) * mask.queryBlocks;
}

/** Query heads of the group that have a list of their own. */
function headsOf({ blockMask, group }: AttentionPlan): number {
  return blockMask!.heads === 1 ? 1 : group;
}

function bitsPerBlock({ block: [rows, columns] }: BlockMask): number {
  return rows * Math.ceil(columns / 8);
}

/** Bytes that the intervals of a run take at most. */
export function intervalBytes(plan: AttentionPlan, run: Run): number {
  const mask = plan.blockMask;
  if (mask === null) return 0;
  const [first, end] = blocksOf(plan, run), { batch } = plan.segments[run.segment];
  if (mask instanceof KeyRuns) return runsBytes(mask, first, end);
  const { starts, mixed } = arraysOf(mask);
  let bytes = 0;
  for (let member = 0; member < headsOf(plan); member++) {
    const list = listOf(mask, batch, run.keyHead * plan.group + member);
    bytes += (end - first + 1) * 4;
    for (let entry = starts[list + first]; entry < starts[list + end]; entry++) {
      bytes += intervalWords * 4 + (mixed[entry] < 0 ? 0 : bitsPerBlock(mask) + slack);
    }
    bytes = roundUp(bytes, 4); // The next list begins at a word.
  }
  return bytes;
}

/**
 * Writes the intervals of a run, one list after the other for each query head that has its own. Returns
 * the address of each list.
 */
export function stageIntervals(arena: Arena, plan: AttentionPlan, run: Run, at: number): number[] {
  const mask = plan.blockMask!, { batch, firstKey, keys } = plan.segments[run.segment];
  const [first, end] = blocksOf(plan, run);
  if (mask instanceof KeyRuns) return [writeRuns(arena, mask, first, end, at)];
  const writer = new IntervalWriter(arena, mask, firstKey, keys);
  return Array.from({ length: headsOf(plan) }, (_, member) => {
    const list = listOf(mask, batch, run.keyHead * plan.group + member), address = at;
    at = writer.write(list + first, list + end, at);
    return address;
  });
}

/** Bytes of the runs of some blocks of queries. */
function runsBytes(mask: KeyRuns, first: number, end: number): number {
  let words = end - first + 1;
  for (let block = first; block < end; block++) words += mask.runsOf(block).length * intervalWords;
  return words * 4;
}

/** Writes them: intervals without bits. Keys are those of a segment that has all. */
function writeRuns(arena: Arena, mask: KeyRuns, first: number, end: number, at: number): number {
  const words = new Int32Array(arena.memory.buffer);
  let list = at / 4, word = list + end - first + 1;
  for (let block = first; block < end; block++) {
    words[list++] = word * 4;
    for (const [from, to] of mask.runsOf(block)) {
      words[word + intervalFields.from] = from;
      words[word + intervalFields.to] = to;
      words[word + intervalFields.bits] = 0;
      word += intervalWords;
    }
  }
  words[list] = word * 4;
  return at;
}

/** Writes lists of one segment's keys. */
class IntervalWriter {
  readonly #mask: BlockMask;
  readonly #blocks: Blocks;
  readonly #firstKey: number;
  readonly #keys: number;
  readonly #words: Int32Array;
  readonly #bytes: Uint8Array;

  constructor({ memory: { buffer } }: Arena, mask: BlockMask, firstKey: number, keys: number) {
    this.#mask = mask;
    this.#blocks = arraysOf(mask);
    this.#firstKey = firstKey;
    this.#keys = keys;
    this.#words = new Int32Array(buffer);
    this.#bytes = new Uint8Array(buffer);
  }

  /** Writes the list of some blocks of queries to an address; returns the one behind it. */
  write(first: number, end: number, at: number): number {
    const { starts } = this.#blocks, words = this.#words;
    const entries = starts[end] - starts[first];
    let word = at / 4 + (end - first + 1);
    let bits = (word + entries * intervalWords) * 4;
    for (let block = first; block < end; block++) {
      words[at / 4 + block - first] = word * 4;
      for (let entry = starts[block]; entry < starts[block + 1];) {
        const next = this.#runEnd(entry, starts[block + 1]);
        if (this.#writeInterval(word, entry, next, bits)) {
          if (this.#isMixed(entry)) bits += (next - entry) * bitsPerBlock(this.#mask) + slack;
          word += intervalWords;
        }
        entry = next;
      }
    }
    words[at / 4 + end - first] = word * 4;
    return roundUp(bits, 4);
  }

  #isMixed(entry: number): boolean {
    return this.#blocks.mixed[entry] >= 0;
  }

  /** The entry behind the last that can be one run with `first`. */
  #runEnd(first: number, end: number): number {
    const { block: [, width] } = this.#mask, { columns } = this.#blocks;
    const mixed = this.#isMixed(first);
    // Rows of bits are whole bytes.
    const most = !mixed ? Infinity : width % 8 === 0 ? Math.max(1, mostMixedKeys / width) : 1;
    let next = first + 1;
    while (
      next < end && next - first < most && this.#isMixed(next) === mixed &&
      columns[next] === columns[next - 1] + 1
    ) next++;
    return next;
  }

  /** Writes the run of some neighbouring blocks; `false` where the segment has none of their keys. */
  #writeInterval(word: number, first: number, end: number, bits: number): boolean {
    const { block: [, width] } = this.#mask, { columns } = this.#blocks;
    const origin = columns[first] * width - this.#firstKey;
    const from = Math.max(0, origin);
    const to = Math.min(this.#keys, origin + (end - first) * width);
    if (from >= to) return false;
    const words = this.#words, mixed = this.#isMixed(first);
    words[word + intervalFields.from] = from;
    words[word + intervalFields.to] = to;
    words[word + intervalFields.bits] = mixed ? bits : 0;
    words[word + intervalFields.rowBytes] = (end - first) * Math.ceil(width / 8);
    words[word + intervalFields.origin] = origin;
    if (mixed) this.#writeBits(first, end, bits);
    return true;
  }

  /** Writes the bits of some blocks side by side. */
  #writeBits(first: number, end: number, at: number): void {
    const { block: [rows, width] } = this.#mask, { mixed, bits } = this.#blocks;
    const rowBytes = Math.ceil(width / 8), stride = (end - first) * rowBytes;
    for (let entry = first; entry < end; entry++) {
      let from = mixed[entry] * rows * rowBytes, to = at + (entry - first) * rowBytes;
      for (let row = 0; row < rows; row++, to += stride) {
        for (let byte = 0; byte < rowBytes; byte++) this.#bytes[to + byte] = bits[from++];
      }
    }
  }
}
