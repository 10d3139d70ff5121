/**
 * Recordings: calls on buffers, one after the other, which are submitted together.
 *
 * @module
 */

import { clock } from "../../runtime.ts";
import type { Course } from "./course.ts";
import type { Session } from "./session.ts";
import { Loan, Submission } from "./submission.ts";

/** Calls that are submitted together, in pieces of as much work as a submit may have. */
export class Recording implements Course {
  readonly loan: Loan;
  readonly submission: Submission;
  /** Multiply-adds that wait, and those of all submits. */
  #waiting = 0;
  #work = 0;
  #submits = 0;
  #since = 0;

  constructor(session: Session, label: string) {
    this.loan = new Loan(session);
    this.submission = new Submission(session, label);
  }

  end(work: number): Promise<void> {
    this.#waiting += work;
    if (this.#waiting >= this.loan.session.work) this.submit();
    return Promise.resolve();
  }

  /** Submits what waits. */
  submit(): void {
    if (this.submission.isEmpty) return;
    if (this.#submits++ === 0) this.#since = clock.now();
    this.#work += this.#waiting;
    this.#waiting = 0;
    this.submission.send(this.loan);
  }

  /** Told when all of it is done. */
  done(): void {
    if (this.#submits === 0) return;
    const milliseconds = clock.now() - this.#since;
    this.loan.session.learn(this.#work / this.#submits, milliseconds / this.#submits);
    this.#submits = this.#work = 0;
  }
}
