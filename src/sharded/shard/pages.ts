/**
 * Which pages of a sequence a group has: of positions in the whole sequence it is said how many tokens before
 * them are here.
 *
 * @module
 */

/** Pages of a sequence, ascending, each of them whole but for the sequence's last. */
export class OwnPages {
  readonly #pageSize: number;
  #pages: number[] = [];

  constructor(pageSize: number) {
    this.#pageSize = pageSize;
  }

  /** Their numbers in the whole sequence. */
  get numbers(): readonly number[] {
    return this.#pages;
  }

  /** Tokens before a position that are here, where all of them are filled. */
  before(position: number): number {
    const page = Math.floor(position / this.#pageSize), at = this.placeOf(page);
    const within = this.#pages[at] === page ? position % this.#pageSize : 0;
    return at * this.#pageSize + within;
  }

  /** Whether a page is here. */
  has(page: number): boolean {
    return this.#pages[this.placeOf(page)] === page;
  }

  /** Whether a page can be added: it is behind all others. */
  takes(page: number): boolean {
    return this.#pages.length === 0 || this.#pages[this.#pages.length - 1] < page;
  }

  add(page: number): void {
    this.#pages.push(page);
  }

  /** Keeps what so many tokens need. */
  keep(tokens: number): void {
    this.#pages.length = Math.min(this.#pages.length, Math.ceil(tokens / this.#pageSize));
  }

  replace(pages: readonly number[]): void {
    this.#pages = [...pages];
  }

  /** Adds pages among the others. */
  insert(pages: readonly number[]): void {
    this.#pages = [...this.#pages, ...pages].sort((a, b) => a - b);
  }

  remove(pages: readonly number[]): void {
    this.#pages = this.#pages.filter((page) => !pages.includes(page));
  }

  /** How many pages are before one. */
  placeOf(page: number): number {
    let from = 0, to = this.#pages.length;
    while (from < to) {
      const middle = (from + to) >> 1;
      if (this.#pages[middle] < page) from = middle + 1;
      else to = middle;
    }
    return from;
  }
}
