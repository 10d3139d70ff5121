/**
 * Courses: where the dispatches of a call go. By itself a call submits piece after piece, and waits for what it is to have;
 * calls of a recording, one after the other on buffers, are submitted together.
 *
 * @module
 */

import { clock } from "../../runtime.ts";
import type { Session } from "./session.ts";
import { Loan, Submission } from "./submission.ts";

/** Where the dispatches of a call go. */
export interface Course {
  readonly loan: Loan;
  readonly submission: Submission;
  /** Told of each piece that is dispatched, of so many multiply-adds, and whether it is the call's last. */
  end(work: number, isLast: boolean): Promise<void>;
}

/** A call by itself. */
class Alone implements Course {
  readonly loan: Loan;
  readonly submission: Submission;
  readonly #cannot: string;

  constructor(loan: Loan, label: string, cannot: string) {
    this.loan = loan;
    this.submission = new Submission(loan.session, label);
    this.#cannot = cannot;
  }

  /** The next piece is not submitted before this one is done: pieces are cut by how long that takes. */
  async end(work: number, isLast: boolean): Promise<void> {
    const { session } = this.loan, { device, guard } = session.gpu, { readsBack } = this.submission;
    const waits = [this.submission.submit(this.loan, this.#cannot)], start = clock.now();
    if (!isLast && !readsBack) waits.push(device.queue.onSubmittedWorkDone().then(() => {}));
    await guard(Promise.all(waits));
    if (!isLast || readsBack) session.learn(work, clock.now() - start);
  }
}

/** Runs a call on its own course, or on that of a recording that it is a part of. */
export async function withCourse(
  { session, recording }: { readonly session: Session; readonly recording?: Course },
  label: string,
  cannot: string,
  use: (course: Course) => Promise<void>,
): Promise<void> {
  if (recording !== undefined) return await use(recording);
  const loan = new Loan(session);
  try {
    await use(new Alone(loan, label, cannot));
  } finally {
    loan.end();
  }
}
