/**
 * Pages of a cache in linear memory. All heads of a page lie one after the other; of each, **blocks** of
 * at most 256 tokens: keys, then values, then scales, as `asm/blocks/layout.ts` says. A kernel reads a block from
 * its beginning to its end, however large pages are. A page is named by its address.
 *
 * @module
 */

import {
  type CacheDType,
  type Page,
  type PageLayout,
  PageLedger,
  type PageStore,
  type Tokens,
} from "../../contract/pages.ts";
import { bytesPerElement } from "../../tensor/dtype.ts";
import { copyRowsIn } from "../../tensor/rows.ts";
import { type AnyView, isOnHost, type View } from "../../tensor/tensor.ts";
import type { Kernels } from "../binary/kernels.gen.ts";
import { type Arena, roundUp } from "../memory/arena.ts";
import { elementsOver } from "../memory/tensor.ts";
import * as job from "../record/job.gen.ts";
import { cacheStorageOf, JobRecord, storageOf, type Words } from "../record/job_record.ts";

/** Tokens of a block, which a few queries read as one tile: so that it is one long stream. */
const blockTokens = 256;

/** Where the parts of a block are, in bytes. */
interface BlockLayout {
  readonly tokens: number;
  readonly values: number;
  readonly scales: number;
  readonly bytes: number;
}

/** Numbers that share a scale where they have four bits. */
const nibbleGroup = 32;

/** Bytes of a number, to how many of them a key is filled up, and the scales of a key or value. */
function storageOfPages(
  dtype: CacheDType,
): [bytes: number, depth: number, scales: (dim: number) => number] {
  if (dtype === "int4") return [1 / 2, 8, (dim) => Math.ceil(dim / nibbleGroup)];
  if (dtype === "int8") return [1, 8, () => 1];
  return [bytesPerElement(dtype), 1, () => 0];
}

function blockLayout({ headDim, valueDim, dtype, pageSize }: PageLayout): BlockLayout {
  const [width, depth, scalesOf] = storageOfPages(dtype), tokens = Math.min(blockTokens, pageSize);
  const values = roundUp(tokens * roundUp(headDim, depth) * width, 16);
  const scales = values + roundUp(tokens * roundUp(valueDim, 4) * width, 16);
  // Behind f16 stands whether some are not finite.
  const more = dtype === "f16" ? 16 : tokens * (scalesOf(headDim) + scalesOf(valueDim)) * 4;
  return { tokens, values, scales, bytes: scales + more };
}

/** Pages in an arena. */
export class WasmPages implements PageStore {
  readonly layout: PageLayout;
  readonly bytesPerPage: number;
  readonly #kernels: Kernels;
  readonly #arena: Arena;
  readonly #block: BlockLayout;
  readonly #ledger = new PageLedger();
  readonly #staging: number;
  /** Tokens written since they were last flushed. */
  #written = 0;

  constructor({ kernels, arena }: { kernels: Kernels; arena: Arena }, layout: PageLayout) {
    this.layout = layout;
    this.#kernels = kernels;
    this.#arena = arena;
    this.#block = blockLayout(layout);
    this.bytesPerPage = this.#meansBytes + this.#headBytes * layout.kvHeads;
    // A row of each in f32, the tokens of a block of one head, and a weight for each of them.
    this.#staging = arena.allocate(
      (this.#block.tokens + 1) * (layout.headDim + layout.valueDim) * 4 + this.#block.tokens * 4,
    );
  }

  checkReadable(views: readonly AnyView[]): void {
    if (views.every(isOnHost)) return;
    throw new TypeError(
      "Cannot append: the wasm backend cannot read a GPUBuffer; " +
        'make the engine with { backend: "webgpu", device }',
    );
  }

  /** Bytes of the means that a page begins with, `[head][dim]`. */
  get #meansBytes(): number {
    const { smoothKeys, kvHeads, headDim } = this.layout;
    return smoothKeys ? roundUp(kvHeads * headDim * 4, 16) : 0;
  }

  get #headBytes(): number {
    return this.layout.pageSize / this.#block.tokens * this.#block.bytes;
  }

  take(): Page {
    return this.#ledger.take(
      (used) => this.#bytesOf(used).fill(0),
      () => this.#arena.allocateZeroed(this.bytesPerPage),
    );
  }

  give(page: Page): void {
    this.#ledger.give(page);
  }

  check(pages: readonly Page[]): void {
    this.#ledger.check(pages);
  }

  begin(page: Page, { k, batch, from, to }: Tokens): void {
    const { kvHeads, headDim, smoothKeys } = this.layout;
    if (!smoothKeys) return;
    const { memory } = this.#arena, staged = this.#staging, { tokens } = this.#block;
    const weight = staged + tokens * headDim * 4;
    new Float32Array(memory.buffer, weight, 1)[0] = 1 / (to - from);
    this.#meansOf(page).fill(0);
    for (let head = 0; head < kvHeads; head++) {
      const mean = this.meanAt(page, head);
      for (let first = from; first < to; first += tokens) {
        const count = Math.min(tokens, to - first), bytes = headDim * bytesPerElement(k.dtype);
        this.#stage([k as View], batch, head, first, count, staged);
        for (let at = 0; at < count; at++) {
          this.#kernels.addRows(storageOf[k.dtype], staged + at * bytes, 1, headDim, weight, mean);
        }
      }
    }
    // Of what is not finite there is no mean.
    const means = this.#meansOf(page);
    for (const [at, x] of means.entries()) if (!Number.isFinite(x)) means[at] = 0;
  }

  inherit(from: Page, to: Page): void {
    this.#meansOf(to).set(this.#meansOf(from));
  }

  write(page: Page, slot: number, { k, v, batch, from, to }: Tokens): void {
    const { kvHeads, headDim, valueDim } = this.layout, { tokens } = this.#block;
    const at = this.#kernels.callRecord(), record = this.#recordOf(at);
    const row = this.#staging, staged = row + (headDim + valueDim) * 4;
    for (let first = from; first < to;) {
      const inBlock = slot % tokens, count = Math.min(tokens - inBlock, to - first);
      for (let head = 0; head < kvHeads; head++) {
        const [kAt, vAt] = this.#stage([k, v] as View[], batch, head, first, count, staged);
        record.set(job.tokenBlock, this.#blockAt(page, head, slot));
        record.set(job.tokenSlot, inBlock);
        record.set(job.tokenCount, count);
        record.set(job.tokenK, kAt);
        record.set(job.tokenKStorage, storageOf[k.dtype]);
        record.set(job.tokenV, vAt);
        record.set(job.tokenVStorage, storageOf[v.dtype]);
        record.set(job.tokenRow, row);
        record.set(job.tokenMean, this.meanAt(page, head));
        this.#kernels.writeTokens(at);
      }
      slot += count;
      first += count;
    }
    this.#written += to - from;
  }

  /**
   * Has memory provided for pages to come, twice as much as the tokens just written took: so that no
   * step waits for that of a whole page. One page ahead for each eight.
   */
  flush(): void {
    const pages = Math.ceil(this.#ledger.taken / 8), written = this.#written / this.layout.pageSize;
    this.#arena.provide(Math.ceil(2 * written * this.bytesPerPage), pages * this.bytesPerPage);
    this.#written = 0;
  }

  copyPage(from: Page, to: Page): void {
    new Uint8Array(this.#arena.memory.buffer).copyWithin(to, from, from + this.bytesPerPage);
  }

  copyTokens(from: Page, source: number, to: Page, target: number, count: number): void {
    const { kvHeads } = this.layout, { tokens } = this.#block;
    const layout = this.#kernels.callRecord();
    this.#recordOf(layout);
    for (let head = 0; head < kvHeads; head++) {
      for (let token = 0; token < count; token++) {
        this.#kernels.copyToken(
          layout,
          ...[this.#blockAt(from, head, source + token), (source + token) % tokens] as const,
          ...[this.#blockAt(to, head, target + token), (target + token) % tokens] as const,
        );
      }
    }
  }

  read(page: Page, tokens: number = this.layout.pageSize): Promise<Uint8Array> {
    const isWhole = tokens === this.layout.pageSize;
    return Promise.resolve(isWhole ? this.#bytesOf(page).slice() : this.#readSome(page, tokens));
  }

  /** Tokens lie in each other's midst: those that count are copied to where nothing else is. */
  #readSome(page: Page, tokens: number): Uint8Array {
    const copy = this.#arena.allocateZeroed(this.bytesPerPage);
    try {
      this.inherit(page, copy);
      this.copyTokens(page, 0, copy, 0, tokens);
      return this.#bytesOf(copy).slice();
    } finally {
      this.#arena.free(copy);
    }
  }

  restore(page: Page, from: Uint8Array, version: number): void {
    this.#bytesOf(page).set(from);
    if (version > 1 || this.layout.dtype !== "int8") return;
    // Keys and values lay pair by pair, [tokens / 4][D / 2][4][2] and [Dv / 4][tokens / 2][4][2].
    const { scales, bytes } = this.#block;
    for (let at = this.#meansBytes; at < this.bytesPerPage; at += bytes) {
      const pairs = new Uint16Array(this.#arena.memory.buffer, page + at, scales / 2);
      pairs.slice().forEach((pair, i) => pairs[i & ~7 | (i & 3) << 1 | i >> 2 & 1] = pair);
    }
  }

  shrink(): void {
    for (const page of this.#ledger.empty()) this.#arena.free(page);
  }

  free(): void {
    this.shrink();
    this.#arena.free(this.#staging);
  }

  /** Writes what all jobs against these pages have in common, and that they read blocks. */
  writeFields(words: Words): void {
    words[job.tokenBlocks] = 1;
    this.#describeBlocks(new JobRecord(words, job.blockTokens));
  }

  /** The record of a call, which tells how blocks are laid out. */
  #recordOf(at: number): JobRecord {
    const words = new Int32Array(this.#arena.memory.buffer, at, job.tokenWords);
    return this.#describeBlocks(new JobRecord(words));
  }

  #describeBlocks(record: JobRecord): JobRecord {
    const { headDim, valueDim, dtype } = this.layout, { tokens, values, scales } = this.#block;
    const fields = [tokens, cacheStorageOf[dtype], values, scales, headDim, valueDim];
    fields.forEach((field, index) => record.set(index, field));
    return record;
  }

  /** Address of the mean of a head's keys; 0 where there is none. */
  meanAt(page: Page, head: number): number {
    return this.layout.smoothKeys ? page + head * this.layout.headDim * 4 : 0;
  }

  /** Tokens of a block. */
  get blockTokens(): number {
    return this.#block.tokens;
  }

  /** How many blocks so many tokens take. */
  countBlocks(tokens: number): number {
    return Math.ceil(tokens / this.#block.tokens);
  }

  /** Writes the addresses of a head's blocks. */
  listBlocks(pages: readonly Page[], head: number, list: Uint32Array): void {
    const { bytes } = this.#block, perPage = this.#headBytes / bytes;
    for (let block = 0, index = 0; block < list.length; index++) {
      let at = this.#blockAt(pages[index], head, 0);
      for (let left = perPage; left > 0 && block < list.length; left--, at += bytes) {
        list[block++] = at;
      }
    }
  }

  /** Address of the block that a slot of a page is in. */
  #blockAt(page: Page, head: number, slot: number): number {
    const { tokens, bytes } = this.#block;
    return page + this.#meansBytes + head * this.#headBytes + Math.floor(slot / tokens) * bytes;
  }

  #meansOf(page: Page): Float32Array {
    return new Float32Array(this.#arena.memory.buffer, page, this.#meansBytes / 4);
  }

  #bytesOf(page: Page): Uint8Array {
    return new Uint8Array(this.#arena.memory.buffer, page, this.bytesPerPage);
  }

  /** Brings tokens of a head into linear memory; both tensors are stored alike there. */
  #stage(
    views: readonly View[],
    batch: number,
    head: number,
    first: number,
    count: number,
    at: number,
  ): number[] {
    return views.map((view) => {
      const width = view.shape[3], bytes = count * width * bytesPerElement(view.dtype);
      const rows = elementsOver(this.#arena, at, count * width, view.dtype);
      copyRowsIn(view, batch, head, first, first + count, rows);
      const placed = at;
      at += roundUp(bytes, 4);
      return placed;
    });
  }
}
