/**
 * Passes of a model, one after the other: each is steps, between which the event loop gets its turn and signals are
 * looked at.
 *
 * @module
 */

import { type SignalLike, throwIfAborted } from "../../check/errors.ts";
import { clock, yieldTurn } from "../../runtime.ts";

/** What is waited for before the next step; nothing where all is done. */
export type Waiting = Promise<unknown> | void;

/** A pass: it gives way after each of its steps. */
export type Steps<Result = void> = Generator<Waiting, Result>;

/** Work done in one go before the event loop gets its turn, in milliseconds: one frame of a page. */
const sliceMilliseconds = 16;

/** Runs passes that share memory: the next begins when the one before has ended. */
export class Turns {
  readonly #checkOpen: () => void;
  #last: Promise<void> = Promise.resolve();
  /** When the event loop had its turn: a pass of a token is short, and many follow one another. */
  #since = clock.now();

  /** @param checkOpen Throws where nothing may be done any more. */
  constructor(checkOpen: () => void) {
    this.#checkOpen = checkOpen;
  }

  /** Runs a pass, once those before have ended. */
  async run<Result>(
    pass: () => Steps<Result>,
    signal: SignalLike | null | undefined,
  ): Promise<Result> {
    const before = this.#last, { promise, resolve } = later();
    this.#last = promise;
    await before;
    try {
      return await this.#runNow(pass, signal);
    } finally {
      resolve();
    }
  }

  async #runNow<Result>(
    pass: () => Steps<Result>,
    signal: SignalLike | null | undefined,
  ): Promise<Result> {
    const check = () => {
      throwIfAborted(signal);
      this.#checkOpen();
    };
    check();
    const steps = pass();
    try {
      for (;;) {
        const { done, value } = steps.next();
        if (done) return value;
        if (value !== undefined) await value;
        if (clock.now() - this.#since > sliceMilliseconds) {
          await yieldTurn();
          this.#since = clock.now();
        }
        check();
      }
    } finally {
      steps.return(undefined as never);
    }
  }
}

function later(): { promise: Promise<void>; resolve: () => void } {
  let resolve = () => {};
  const promise = new Promise<void>((done) => resolve = done);
  return { promise, resolve };
}
