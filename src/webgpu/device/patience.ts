/**
 * Patience with drivers: some never answer.
 *
 * @module
 */

import { clock } from "../../runtime.ts";

/** Milliseconds that an adapter and a device may take together. */
const most = 5000;

/** Waits for the answers to requests that follow each other, for five seconds in all. */
export class Patience {
  readonly #until = clock.now() + most;
  #isOver = false;
  #leave = () => {};

  /** The answer to a request. One that comes when nobody waits any more goes to `late`. */
  ask<T>(request: () => Promise<T>, late: (answer: T) => void = () => {}): Promise<T> {
    return new Promise((resolve, reject) => {
      const leave = this.#leave = () => {
        this.#isOver = true;
        clock.cancel(timer);
        reject(new Error("no answer came within five seconds"));
      };
      // A process stays for it: somebody waits for what is done then.
      const timer = clock.after(this.#until - clock.now(), leave);
      if (this.#isOver) return leave();
      // A request that throws at once is one that was rejected, too.
      (async () => await request())().then(
        (answer) => this.#isOver ? late(answer) : resolve(answer),
        reject,
      ).finally(() => clock.cancel(timer)).catch(() => {});
    });
  }

  /** Waits no longer. */
  end(): void {
    this.#isOver = true;
    this.#leave();
  }
}
