/**
 * Sequences: which pages hold whose tokens. Pages may be shared, and are copied before one of their
 * owners writes to them.
 *
 * @module
 */

import type { Keeping, KeptTokens, Page, PageStore, Tokens } from "../contract/pages.ts";

/** Tokens of one sequence. */
interface Sequence {
  readonly pages: Page[];
  length: number;
  /** Pages that were dropped behind the first ones. */
  gone: number;
}

/** A change that nothing keeps from being made any more: it has the pages that it needs. */
export interface Change {
  make(): void;
  /** Gives them back; it is not made. */
  drop(): void;
}

/** The sequences of a cache. */
export class Sequences {
  readonly #store: PageStore;
  readonly #sequences: readonly Sequence[];
  /** How many sequences have each page. */
  readonly #owners = new Map<Page, number>();
  readonly #mostPages: number;
  /** What is kept where tokens are dropped as others are appended. */
  readonly keeping: Keeping | undefined;
  /** Pages of each that are never dropped. */
  readonly #firstPages: number;

  constructor(store: PageStore, count: number, mostPages: number, keeping?: Keeping) {
    this.#store = store;
    this.#mostPages = mostPages;
    this.keeping = keeping;
    this.#firstPages = this.#pagesFor(keeping?.keepFirst ?? 0);
    this.#sequences = Array.from({ length: count }, () => ({ pages: [], length: 0, gone: 0 }));
  }

  /** Tokens of each sequence. */
  get lengths(): number[] {
    return this.#sequences.map(({ length }) => length);
  }

  /** Tokens that each has dropped. */
  get dropped(): number[] {
    return this.#sequences.map(({ gone }) => gone * this.#store.layout.pageSize);
  }

  /** What calls are told of what is left. */
  get kept(): KeptTokens | undefined {
    const { keeping, dropped } = this, { pageSize } = this.#store.layout;
    return keeping && {
      ...{ ...keeping, dropped },
      next: this.#sequences.map((one, at) => dropped[at] + this.#countBehind(one) * pageSize),
    };
  }

  /** Pages in use. */
  get pageCount(): number {
    return this.#owners.size;
  }

  /** Pages of each sequence. */
  get pages(): readonly (readonly Page[])[] {
    return this.#sequences.map(({ pages }) => pages);
  }

  /**
   * Makes room for so many more tokens of each sequence, or changes nothing: takes new pages, in place of
   * those that are dropped, and copies a shared one that would be written to.
   */
  reserve(counts: readonly number[]): void {
    const needed = counts.reduce((sum, count, at) => sum + this.#newPages(at, count), 0) +
      this.#copies(counts);
    const growing = this.keeping ? this.#sequences.filter((_, at) => counts[at] > 0) : [];
    const taken = this.#take("append", Math.max(0, needed - this.#countFreed(growing)));
    for (const one of growing) this.#drop(one);
    while (taken.length < needed) taken.push(this.#store.take());
    for (const [at, count] of counts.entries()) this.#grow(this.#sequences[at], count, taken);
  }

  /** How many pages are behind what a sequence keeps: nothing that is still to be appended sees them, nor does its last token. */
  #countBehind({ length, gone }: Sequence): number {
    const { keepLast } = this.keeping!;
    const whole = Math.floor((length - keepLast) / this.#store.layout.pageSize);
    return Math.max(0, whole - this.#firstPages - gone);
  }

  /** How many of them become free when some sequences drop theirs. */
  #countFreed(some: readonly Sequence[]): number {
    const first = this.#firstPages;
    const behind = (one: Sequence) => one.pages.slice(first, first + this.#countBehind(one));
    return some.flatMap(behind).filter((page) => this.#owners.get(page) === 1).length;
  }

  #drop(sequence: Sequence): void {
    const leaving = sequence.pages.splice(this.#firstPages, this.#countBehind(sequence));
    sequence.gone += leaving.length;
    for (const page of leaving) this.#release(page);
  }

  /** Throws where the last of so many tokens of a sequence was dropped, and they are not all that it is to have. */
  checkThere(doing: string, at: number, length: number, isAll = false): void {
    const { gone } = this.#sequences[at], { pageSize } = this.#store.layout;
    const first = this.#firstPages * pageSize, next = first + gone * pageSize;
    if (gone === 0 || length > next || (isAll && length <= first)) return;
    throw new RangeError(
      `Cannot ${doing}: sequence ${at} has dropped its tokens from ${first} to ${next - 1}, ` +
        `got ${isAll ? `\`length\` ${length}` : `token ${length - 1}`}`,
    );
  }

  /** Takes so many pages, or none. */
  #take(doing: string, needed: number): Page[] {
    if (this.pageCount + needed > this.#mostPages) {
      throw new RangeError(
        `Cannot ${doing}: ${needed} more pages are needed, ` +
          `${this.#mostPages - this.pageCount} of ${this.#mostPages} are free`,
      );
    }
    const taken: Page[] = [];
    try {
      for (let page = 0; page < needed; page++) taken.push(this.#store.take());
    } catch (error) {
      for (const page of taken) this.#store.give(page);
      this.#store.shrink?.(); // Else what was too much would leave nothing to anybody.
      throw error;
    }
    return taken;
  }

  /** Writes tokens behind those of a sequence; there must be room. */
  write(at: number, { from, to, ...tokens }: Tokens): void {
    const sequence = this.#sequences[at], { pageSize } = this.#store.layout;
    this.#startPages(sequence, { ...tokens, from, to });
    while (from < to) {
      const slot = sequence.length % pageSize;
      const end = Math.min(to, from + pageSize - slot);
      const page = sequence.pages[Math.floor(sequence.length / pageSize) - sequence.gone];
      this.#store.write(page, slot, { ...tokens, from, to: end });
      sequence.length += end - from;
      from = end;
    }
  }

  /** New pages get what those of a sequence have in common; the first tokens say what. */
  #startPages({ pages, length, gone }: Sequence, tokens: Tokens): void {
    const known = this.#pagesFor(length) - gone;
    for (let index = known; index < pages.length; index++) {
      if (index === 0) this.#store.begin(pages[0], tokens);
      else this.#store.inherit(pages[0], pages[index]);
    }
  }

  /** Keeps the first `length` tokens of a sequence. */
  truncate(at: number, length: number): void {
    const sequence = this.#sequences[at], kept = this.#pagesFor(length);
    if (kept <= this.#firstPages) sequence.gone = 0;
    for (const page of sequence.pages.splice(kept - sequence.gone)) this.#release(page);
    sequence.length = length;
  }

  /** A sequence becomes another one's twin: both have the same pages. */
  fork(from: number, to: number): void {
    const { pages, length, gone } = this.#sequences[from], target = this.#sequences[to];
    for (const page of pages) this.#owners.set(page, this.#owners.get(page)! + 1);
    for (const page of target.pages.splice(0)) this.#release(page);
    target.pages.push(...pages);
    target.length = length;
    target.gone = gone;
  }

  /** Every sequence becomes the twin of what another one was. */
  reorder(from: readonly number[]): void {
    const before = this.#sequences.map((one) => ({ ...one, pages: [...one.pages] }));
    for (const page of from.flatMap((at) => before[at].pages)) {
      this.#owners.set(page, this.#owners.get(page)! + 1);
    }
    for (const [at, sequence] of this.#sequences.entries()) {
      for (const page of sequence.pages.splice(0, Infinity, ...before[from[at]].pages)) {
        this.#release(page);
      }
      sequence.length = before[from[at]].length;
      sequence.gone = before[from[at]].gone;
    }
  }

  /** Keeps some tokens of a sequence, in ascending order, and all before the first of these. */
  keep(at: number, given: readonly number[]): Change {
    const sequence = this.#sequences[at], { pageSize } = this.#store.layout;
    const isEarly = given.at(-1)! < this.#firstPages * pageSize;
    if (!isEarly) this.checkThere("keep tokens", at, given[0] + 1);
    // Counted by what is there.
    const gone = isEarly ? 0 : sequence.gone * pageSize;
    const indices = given.map((index) => index - gone), [first] = indices;
    const moved = indices.findIndex((index, nth) => index !== first + nth);
    const end = first + indices.length;
    if (moved < 0) return { make: () => this.truncate(at, end + gone), drop() {} };
    const written = [Math.floor((first + moved) / pageSize), Math.ceil(end / pageSize)] as const;
    const shared = sequence.pages.slice(...written).filter((page) => this.#owners.get(page)! > 1);
    return this.#change("keep", shared.length, (taken) => {
      for (let index = written[0]; index < written[1]; index++) this.#own(sequence, index, taken);
      for (let nth = moved; nth < indices.length;) {
        let end = nth + 1;
        while (indices[end] === indices[end - 1] + 1) end++;
        this.#copyDown(sequence, first + nth, indices[nth], end - nth);
        nth = end;
      }
      this.truncate(at, end + gone);
    });
  }

  /** A change that has the pages that it needs. */
  #change(doing: string, needed: number, make: (taken: Page[]) => void): Change {
    const taken = this.#take(doing, needed);
    const drop = () => {
      for (const page of taken.splice(0)) this.#store.give(page);
    };
    return {
      make() {
        make(taken);
        drop();
      },
      drop,
    };
  }

  /** Keeps the first and the last tokens of some sequences; those in between are forgotten. */
  evict(which: readonly number[], keepFirst: number, keepLast: number): Change {
    const cuts = which.map((at) => this.#cutOf(this.#sequences[at], keepFirst, keepLast));
    const needed = cuts.reduce((sum, { needed }) => sum + needed, 0);
    return this.#change("evict", needed, (taken) => {
      for (const [index, at] of which.entries()) {
        const sequence = this.#sequences[at], { firstFree, gone, rest } = cuts[index];
        if (gone + rest === 0) continue;
        for (const page of sequence.pages.splice(firstFree, gone)) this.#release(page);
        sequence.length -= gone * this.#store.layout.pageSize;
        if (rest > 0) this.#moveDown(sequence, keepFirst, rest, taken);
        this.truncate(at, keepFirst + keepLast);
      }
    });
  }

  /** Which pages leave whole, by how many tokens the rest moves, and how many pages that takes. */
  #cutOf({ pages, length }: Sequence, keepFirst: number, keepLast: number) {
    const { pageSize } = this.#store.layout;
    const skipped = Math.max(0, length - keepFirst - keepLast);
    const firstFree = Math.ceil(keepFirst / pageSize);
    const gone = Math.max(0, Math.floor((keepFirst + skipped) / pageSize) - firstFree);
    const rest = skipped - gone * pageSize, kept = pages.toSpliced(firstFree, gone);
    if (rest === 0) return { firstFree, gone, rest, needed: 0 };
    const [first, last] = movedPages(keepFirst, rest, length - gone * pageSize, pageSize);
    const copies = kept.slice(first, last).filter((page) => this.#owners.get(page)! > 1);
    const free = pages.slice(firstFree, firstFree + gone)
      .filter((page) => this.#owners.get(page) === 1);
    // What leaves can be taken again.
    return { firstFree, gone, rest, needed: Math.max(0, copies.length - free.length) };
  }

  /** Frees all pages. */
  clear(): void {
    for (const at of this.#sequences.keys()) this.truncate(at, 0);
  }

  /** Replaces some sequences by empty pages for so many tokens each, of which some were dropped. */
  replace(
    which: readonly number[],
    lengths: readonly number[],
    dropped: readonly number[],
  ): Change {
    const needed = lengths.reduce(
      (sum, length, at) => sum + this.#pagesFor(length - dropped[at]),
      0,
    );
    const free = which.length === this.#sequences.length
      ? this.pageCount
      : which.flatMap((at) => this.#sequences[at].pages)
        .filter((page) => this.#owners.get(page) === 1).length;
    return this.#change("load", Math.max(0, needed - free), (more) => {
      for (const at of which) this.truncate(at, 0);
      for (const page of more.splice(0)) this.#store.give(page);
      // As many as were given back, so that there is nothing that could fail.
      const counts = this.#sequences.map(() => 0);
      which.forEach((at, nth) => {
        counts[at] = lengths[nth];
        this.#sequences[at].gone = this.#pagesFor(dropped[nth]);
      });
      this.reserve(counts);
      which.forEach((at, nth) => this.#sequences[at].length = lengths[nth]);
    });
  }

  /** Full pages come into a sequence, each before one that it has; they are filled when the change is made. */
  insert(at: number, before: readonly number[], fill: (page: Page, nth: number) => void): Change {
    const sequence = this.#sequences[at];
    return this.#change("load", before.length, (taken) => {
      for (const [nth, index] of before.entries()) {
        const page = taken.pop()!;
        fill(page, nth);
        this.#owners.set(page, 1);
        sequence.pages.splice(index + nth, 0, page);
        sequence.length += this.#store.layout.pageSize;
      }
    });
  }

  /** Full pages leave a sequence; they are named in ascending order. */
  remove(at: number, indices: readonly number[]): void {
    const sequence = this.#sequences[at];
    for (const [nth, index] of indices.entries()) {
      for (const page of sequence.pages.splice(index - nth, 1)) this.#release(page);
      sequence.length -= this.#store.layout.pageSize;
    }
  }

  #pagesFor(tokens: number): number {
    return Math.ceil(tokens / this.#store.layout.pageSize);
  }

  /** Pages that so many more tokens need. */
  #newPages(at: number, count: number): number {
    const { pages, length, gone } = this.#sequences[at];
    return this.#pagesFor(length + count) - gone - pages.length;
  }

  /** Copies of shared pages that are written to: where all owners write, the last keeps its own. */
  #copies(counts: readonly number[]): number {
    const writers = new Map<Page, number>();
    for (const [at, sequence] of this.#sequences.entries()) {
      if (counts[at] === 0 || !this.#isSharedTail(sequence)) continue;
      const page = sequence.pages.at(-1)!;
      writers.set(page, (writers.get(page) ?? 0) + 1);
    }
    let copies = 0;
    for (const [page, count] of writers) copies += Math.min(count, this.#owners.get(page)! - 1);
    return copies;
  }

  /** Whether the next token would be written to a page that others have too. */
  #isSharedTail({ pages, length }: Sequence): boolean {
    const partial = length % this.#store.layout.pageSize !== 0;
    return partial && this.#owners.get(pages.at(-1)!)! > 1;
  }

  #grow(sequence: Sequence, count: number, taken: Page[]): void {
    if (count === 0) return;
    if (this.#isSharedTail(sequence)) this.#own(sequence, sequence.pages.length - 1, taken);
    const pages = this.#pagesFor(sequence.length + count) - sequence.gone;
    while (sequence.pages.length < pages) {
      const page = taken.pop()!;
      this.#owners.set(page, 1);
      sequence.pages.push(page);
    }
  }

  /** Replaces a shared page by a copy. */
  #own(sequence: Sequence, index: number, taken: Page[]): void {
    const shared = sequence.pages[index];
    if (this.#owners.get(shared) === 1) return;
    // Where none was taken before, one has just been given back.
    const page = taken.pop() ?? this.#store.take();
    this.#store.copyPage(shared, page);
    this.#owners.set(page, 1);
    sequence.pages[index] = page;
    this.#release(shared);
  }

  /** Moves the tokens from `to + by` on to `to` and behind. */
  #moveDown(sequence: Sequence, to: number, by: number, taken: Page[]): void {
    const { pageSize } = this.#store.layout;
    const [first, last] = movedPages(to, by, sequence.length, pageSize);
    for (let index = first; index < last; index++) this.#own(sequence, index, taken);
    this.#copyDown(sequence, to, to + by, sequence.length - to - by);
  }

  /** Copies so many tokens to where earlier ones are, page by page; the pages there must be its own. */
  #copyDown({ pages }: Sequence, to: number, from: number, count: number): void {
    const { pageSize } = this.#store.layout;
    for (const end = to + count; to < end;) {
      const [slot, source] = [to % pageSize, from % pageSize];
      const some = Math.min(pageSize - slot, pageSize - source, end - to);
      const [page, other] = [to, from].map((n) => pages[Math.floor(n / pageSize)]);
      this.#store.copyTokens(other, source, page, slot, some);
      to += some;
      from += some;
    }
  }

  #release(page: Page): void {
    const owners = this.#owners.get(page)! - 1;
    if (owners > 0) this.#owners.set(page, owners);
    else {
      this.#owners.delete(page);
      this.#store.give(page);
    }
  }
}

/** The pages that are written to where the tokens from `to + by` on move to `to`. */
function movedPages(to: number, by: number, length: number, pageSize: number): [number, number] {
  return [Math.floor(to / pageSize), Math.ceil((length - by) / pageSize)];
}
