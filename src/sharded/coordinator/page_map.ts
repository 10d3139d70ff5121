/**
 * Which group has which page of which sequence, and how many tokens there are of it in each layer.
 *
 * @module
 */

import type { ReportBody } from "../messages/bodies.ts";

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
  let length = 0;
  for (let page = 0; length < limit; page++) {
    const counts = reports.map((report) => report ? tokensIn(report, sequence, page, pageSize) : 0);
    const owner = counts.findIndex((count) => count > 0);
    // Two that say they have it cannot both be right.
    if (owner < 0 || counts.filter((count) => count > 0).length > 1) break;
    owners.push(owner);
    length += counts[owner];
    if (counts[owner] < pageSize) break;
  }
  const kept = Math.min(length, limit);
  return { owners: owners.slice(0, Math.ceil(kept / pageSize)), length: kept };
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
