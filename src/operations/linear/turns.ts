/**
 * Steps of a decoder's state: each in its turn, until the state is closed.
 *
 * @module
 */

/** Whose turn it is. */
export class Turns {
  readonly #doing: string;
  readonly #end: () => void;
  #last: Promise<unknown> = Promise.resolve();
  #waiting = 0;
  #isClosed = false;

  /**
   * @param doing What messages of steps begin with.
   * @param end Gives back what the state has. It is called once: when the state is closed, and the last step has ended.
   */
  constructor(doing: string, end: () => void) {
    this.#doing = doing;
    this.#end = end;
  }

  /** Throws where no step can begin. */
  checkOpen(): void {
    if (this.#isClosed) throw new Error(`${this.#doing}: the state was closed`);
  }

  /** Runs a step after those before it, however they ended. */
  take<Result>(step: () => Promise<Result>): Promise<Result> {
    this.#waiting++;
    const own = this.#last.then(() => this.#run(step));
    this.#last = own.catch(() => {}); // Who asked is told.
    return own;
  }

  async #run<Result>(step: () => Promise<Result>): Promise<Result> {
    try {
      return await step();
    } finally {
      if (--this.#waiting === 0 && this.#isClosed) this.#end();
    }
  }

  /** No more steps; those that were asked for go on to their end. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (this.#waiting === 0) this.#end();
  }
}
