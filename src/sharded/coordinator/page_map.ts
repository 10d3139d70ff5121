/**
 * Which group has which page of which sequence, and how many tokens there are of it in each layer.
 *
 * @module
 */

import type { GroupPages, ReportBody, SequencePages } from "../messages/bodies.ts";

/** Pages that go from one group to another. */
export interface PageMove extends SequencePages {
  readonly from: number;
  readonly to: number;
}

/** Owners of the pages of each sequence. */
export class PageMap {
  readonly #pageSize: number;
  readonly #owners: number[][];
  /** Pages of each group. */
  readonly #totals: number[];

  constructor(batch: number, groups: number, pageSize: number) {
    this.#pageSize = pageSize;
    this.#owners = Array.from({ length: batch }, () => []);
    this.#totals = new Array<number>(groups).fill(0);
  }

  /** The group that has a page; one behind the last is dealt to the group that has fewest. */
  ownerOf(sequence: number, page: number): number {
    const owners = this.#owners[sequence];
    while (owners.length <= page) this.#add(sequence, this.#least());
    return owners[page];
  }

  /** How many of the first tokens each group has. */
  held(sequence: number, length: number): number[] {
    const held = new Array<number>(this.#totals.length).fill(0), owners = this.#owners[sequence];
    const whole = Math.floor(length / this.#pageSize), rest = length % this.#pageSize;
    for (let page = 0; page < whole; page++) held[owners[page]] += this.#pageSize;
    if (rest > 0) held[owners[whole]] += rest;
    return held;
  }

  /** Keeps the pages of so many tokens. */
  keep(sequence: number, length: number): void {
    const owners = this.#owners[sequence];
    for (const owner of owners.splice(Math.ceil(length / this.#pageSize))) this.#totals[owner]--;
  }

  /** One sequence gets the pages of another. */
  fork(from: number, to: number): void {
    const owners = [...this.#owners[from]];
    this.keep(to, 0);
    for (const owner of owners) this.#add(to, owner);
  }

  /** Replaces the pages of a sequence. */
  replace(sequence: number, owners: readonly number[]): void {
    this.keep(sequence, 0);
    for (const owner of owners) this.#add(sequence, owner);
  }

  /**
   * What makes groups more alike: pages of the one that has most, for the one that has fewest, spread over their
   * sequence; `undefined` where that is done.
   *
   * @param full How many pages of each sequence are full in all layers.
   * @param most How many go at most.
   */
  nextMove(full: readonly number[], most: number): PageMove | undefined {
    const totals = this.#totals, to = this.#least(), groups = [...totals.keys()];
    const mean = totals.reduce((sum, total) => sum + total, 0) / totals.length;
    const givers = groups.filter((group) => totals[group] > totals[to] + 1)
      .sort((a, b) => totals[b] - totals[a]);
    for (const from of givers) {
      const owned = this.#owners.map((owners, sequence) =>
        [...owners.keys()].filter((page) => owners[page] === from && page < full[sequence])
      );
      const largest = Math.max(...owned.map(({ length }) => length));
      const sequence = owned.findIndex(({ length }) => length === largest);
      const wanted = Math.min(totals[from] - Math.ceil(mean), Math.floor(mean) - totals[to]);
      const count = Math.min(Math.max(1, wanted), most, largest);
      if (count === 0) continue;
      const at = (nth: number) => owned[sequence][Math.floor((nth + 0.5) * largest / count)];
      return { sequence, from, to, pages: Array.from({ length: count }, (_, nth) => at(nth)) };
    }
    return undefined;
  }

  /** Another group has some pages now. */
  move({ sequence, pages, to }: PageMove): void {
    const owners = [...this.#owners[sequence]];
    for (const page of pages) owners[page] = to;
    this.replace(sequence, owners);
  }

  #add(sequence: number, owner: number): void {
    this.#owners[sequence].push(owner);
    this.#totals[owner]++;
  }

  /** The first of those that have fewest pages: so pages go round. */
  #least(): number {
    return this.#totals.indexOf(Math.min(...this.#totals));
  }
}

/** A sequence as all groups together have it. */
export interface Rebuilt {
  readonly owners: readonly number[];
  /** Tokens that all layers have, without a gap. */
  readonly length: number;
  /** Pages that were on their way to another group, and are there. */
  readonly strays: readonly GroupPages[];
}

/** What a group has of a page, in the layer that has least. */
function tokensIn(report: ReportBody, sequence: number, page: number, pageSize: number): number {
  const found = report.sequences[sequence], at = found?.pages.indexOf(page) ?? -1;
  if (at < 0) return 0;
  return Math.min(pageSize, Math.max(0, Math.min(...found.lengths) - at * pageSize));
}

/**
 * A sequence's first tokens that are there, by what groups report.
 *
 * @param reports One of each group; `undefined` where nothing of it counts.
 */
export function rebuild(
  reports: readonly (ReportBody | undefined)[],
  sequence: number,
  pageSize: number,
): Rebuilt {
  const owners: number[] = [], limit = limitOf(reports, sequence);
  const strays = reports.map((): number[] => []);
  let length = 0;
  for (let page = 0; length < limit; page++) {
    const counts = reports.map((report) => report ? tokensIn(report, sequence, page, pageSize) : 0);
    const owner = counts.findIndex((count) => count > 0);
    const others = [...counts.keys()].filter((group) => group > owner && counts[group] > 0);
    if (owner < 0) break;
    // A page that goes from one to another is full; two that have part of one cannot both be right.
    if (others.length > 0 && counts.some((count) => count > 0 && count < pageSize)) break;
    for (const group of others) strays[group].push(page);
    owners.push(owner);
    length += counts[owner];
    if (counts[owner] < pageSize) break;
  }
  const kept = Math.min(length, limit);
  return {
    owners: owners.slice(0, Math.ceil(kept / pageSize)),
    length: kept,
    strays: strays.flatMap((pages, group) => pages.length > 0 ? [{ sequence, group, pages }] : []),
  };
}

/**
 * Where only some groups have heard of the last change, a sequence counts as far as that left it alone: behind it
 * are tokens of two pasts.
 */
function limitOf(reports: readonly (ReportBody | undefined)[], sequence: number): number {
  const there = reports.filter((report) => report !== undefined);
  const latest = Math.max(...there.map(({ generation }) => generation));
  if (there.every(({ generation }) => generation === latest)) return Infinity;
  return Math.min(
    ...there.filter(({ generation }) => generation === latest)
      .flatMap(({ changed }) => changed.filter((one) => one.sequence === sequence))
      .map(({ length }) => length),
    Infinity,
  );
}
