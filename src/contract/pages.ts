/**
 * The contract of a cache's memory: pages of tokens, in a backend's own memory. Which page belongs to
 * which sequence is not its business.
 *
 * @module
 */

import type { AnyView } from "../tensor/tensor.ts";

/** How a cache stores keys and values. */
export type CacheDType = "f32" | "f16" | "bf16" | "int8" | "int4";

/** All of them, as messages list them. */
export const cacheDTypes: readonly CacheDType[] = ["f32", "f16", "bf16", "int8", "int4"];

/** Sizes of a page. */
export interface PageLayout {
  readonly kvHeads: number;
  readonly headDim: number;
  readonly valueDim: number;
  readonly dtype: CacheDType;
  /** Tokens of a page: a power of two from 16 to 2,048. */
  readonly pageSize: number;
  /** Keys are stored minus the mean of a sequence's first ones. */
  readonly smoothKeys: boolean;
}

/** A page of a backend, by whatever it finds it. */
export type Page = number;

/** Tokens of one batch of two tensors. */
export interface Tokens {
  readonly k: AnyView;
  readonly v: AnyView;
  readonly batch: number;
  /** The first, and the one behind the last. */
  readonly from: number;
  readonly to: number;
}

/** Pages of one cache. */
export interface PageStore {
  readonly layout: PageLayout;
  readonly bytesPerPage: number;
  /**
   * Takes a page of zeros.
   *
   * @throws {RangeError} When there is no memory; nothing has changed then.
   */
  take(): Page;
  /** Gives a page back. */
  give(page: Page): void;
  /** Leaves the memory of pages that wait to others, where these can have it. */
  shrink?(): void;
  /** Throws where one of some pages is not of those that were taken. */
  check(pages: readonly Page[]): void;
  /** Settles what the pages of a sequence have in common, by its first tokens: for its first page. */
  begin(page: Page, tokens: Tokens): void;
  /** The same as another page of the sequence has. */
  inherit(from: Page, to: Page): void;
  /** Throws where it cannot read tokens from such places; absent where it reads all. */
  checkReadable?(views: readonly AnyView[]): void;
  /** Writes tokens of all heads into a page, from a slot on. */
  write(page: Page, slot: number, tokens: Tokens): void;
  /** Told when all tokens of a call are written: what they came from may change. */
  flush?(): void;
  /** Copies a page. */
  copyPage(from: Page, to: Page): void;
  /** Copies tokens, in ascending order, within a page or from one to another. */
  copyTokens(from: Page, source: number, to: Page, target: number, count: number): void;
  /** The bytes of a page, to be kept elsewhere, with zeros behind its first so many tokens; by default all of them. */
  read(page: Page, tokens?: number): Promise<Uint8Array>;
  /** Puts bytes that `read` gave into a page, or those of a file of a version before. */
  restore(page: Page, bytes: Uint8Array, version: number): void;
  /** Frees everything. */
  free(): void;
}

/** What a cache keeps that drops tokens as others are appended. */
export interface Keeping {
  /** Tokens at a sequence's beginning, and at its end. */
  readonly keepFirst: number;
  readonly keepLast: number;
}

/** The same, and what each sequence has dropped behind its first pages, in tokens. */
export interface KeptTokens extends Keeping {
  readonly dropped: readonly number[];
  /** What it will have dropped when more is appended. */
  readonly next: readonly number[];
}

/** The pages that a call reads: those of each sequence, in the memory of a backend. */
export interface PagedKeys<Store extends PageStore = PageStore> {
  readonly store: Store;
  /** Of each segment, the pages of its tokens in order. */
  readonly pages: readonly (readonly Page[])[];
  /** Of a cache that drops tokens: keys are then those that are left. */
  readonly kept?: KeptTokens | undefined;
}

/** Which pages of a store are taken, and which wait to be used again. */
export class PageLedger {
  readonly #taken = new Set<Page>();
  readonly #idle: Page[] = [];

  /** How many are taken. */
  get taken(): number {
    return this.#taken.size;
  }

  /** Takes a page: one that waits, once it is cleared, or a new one. */
  take(clear: (page: Page) => void, make: () => Page): Page {
    const used = this.#idle.pop(), page = used ?? make();
    // What was somebody's must not be saved as somebody else's.
    if (used !== undefined) clear(used);
    this.#taken.add(page);
    return page;
  }

  /** Gives a page back. */
  give(page: Page): void {
    this.check([page]);
    this.#taken.delete(page);
    this.#idle.push(page);
  }

  /** Throws where one of some pages is nobody's. */
  check(pages: readonly Page[]): void {
    for (const page of pages) {
      if (this.#taken.has(page)) continue;
      throw new RangeError(`Cannot use page ${page} of a cache: no sequence has it`);
    }
  }

  /** The pages that wait, which do so no longer. */
  empty(): Page[] {
    return this.#idle.splice(0);
  }
}

/** Whether numbers are stored as integers with scales. */
export function isQuantized(dtype: CacheDType): boolean {
  return dtype === "int8" || dtype === "int4";
}

/** Tokens of each sequence that are left. */
export function leftOf({ kept }: PagedKeys, lengths: readonly number[]): readonly number[] {
  return kept === undefined ? lengths : lengths.map((length, at) => length - kept.dropped[at]);
}

/** Checks the pages that a call would read: as many as the tokens need, each of them the cache's. */
export function checkPages({ store, pages }: PagedKeys, lengths: readonly number[]): void {
  for (const [sequence, length] of lengths.entries()) {
    if (pages[sequence].length * store.layout.pageSize < length) {
      throw new RangeError(
        `Cannot attend: sequence ${sequence} has too few pages for ${length} tokens`,
      );
    }
    store.check(pages[sequence]);
  }
}
