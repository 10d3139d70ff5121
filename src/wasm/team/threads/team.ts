/**
 * A team of workers around the calling thread, which works too. Workers take jobs as they come; one
 * that is still starting is not waited for.
 *
 * @module
 */

import { clock, yieldTurn } from "../../../runtime.ts";
import { pageBytes } from "../../memory/arena.ts";
import { type Batch, Solo, type Team } from "../team.ts";
import { cells } from "./control.ts";
import { Crew, type TeamParts } from "./crew.ts";
import { bytes as jobBytes } from "../../record/job.gen.ts";

/** Looks this often whether the last jobs are finished before it sleeps or leaves the event loop its turn:
 * 0.2 ms. */
const spins = 20_000;

/** Ends the workers of teams that were dropped without `close()`. */
const dropped = globalThis.FinalizationRegistry &&
  new FinalizationRegistry<Crew>((crew) => void crew.disband());

/** A batch under way. */
interface Running {
  readonly control: Int32Array;
  /** Number behind that of its last job. */
  readonly end: number;
  /** What went wrong meanwhile. It is told once the batch is finished: the workers are in its memory. */
  readonly failure?: { readonly reason: unknown };
}

/** The calling thread and its workers. */
export class WorkerTeam implements Team {
  readonly threads: number;
  readonly #parts: TeamParts;
  readonly #solo: Solo;
  readonly #crew: Crew;
  #closed = false;
  /** Settles when the batch under way is finished; batches run one at a time. */
  #busy: Promise<void> | undefined;

  constructor(parts: TeamParts) {
    this.threads = parts.threads;
    this.#parts = parts;
    this.#solo = new Solo(parts.programs);
    this.#crew = new Crew(parts);
    dropped?.register(this, this.#crew);
  }

  get alone(): string | undefined {
    return this.#crew.alone;
  }

  async run(batch: Batch): Promise<void> {
    if (batch.threads === 1 || batch.count === 1) return this.#solo.runSync(batch);
    while (this.#busy !== undefined) await this.#busy;
    if (this.#closed) return this.#solo.runSync(batch);
    const running = this.#runTogether(batch);
    const settled = running.catch(() => {}).then(() => {
      this.#busy = undefined;
    });
    this.#busy = settled;
    await running;
  }

  runSync(batch: Batch): void {
    // Where an asynchronous call has the workers, this thread does it alone.
    const alone = batch.threads === 1 || batch.count === 1;
    if (alone || this.#busy !== undefined || this.#closed) return this.#solo.runSync(batch);
    const running = this.#begin(batch);
    for (let spin = 0; spin < spins && !isFinished(running); spin++);
    const patience = this.#patience(running);
    while (!isFinished(running)) {
      if (patience.isExhausted()) {
        // Until the workers are gone, calls are left to the calling thread.
        const { ended, mayWrite } = this.#crew.giveUp();
        this.#busy = ended.finally(() => this.#busy = undefined);
        while (mayWrite()) wait(running);
        break;
      }
      wait(running);
    }
    check(running);
  }

  async close(): Promise<void> {
    this.#closed = true;
    while (this.#busy !== undefined) await this.#busy;
    await this.#crew.disband();
  }

  async #runTogether(batch: Batch): Promise<void> {
    const running = this.#begin(batch);
    for (let spin = 0; spin < spins && !isFinished(running); spin++);
    const patience = this.#patience(running);
    while (!isFinished(running)) {
      await yieldTurn();
      if (this.#crew.isLost(jobsLeft(running)) || patience.isExhausted()) {
        const { ended, mayWrite } = this.#crew.giveUp();
        for (await ended; mayWrite();) await pause();
        break;
      }
    }
    check(running);
    // Workers begin while the event loop waits, which it never does between short calls; Bun's need a
    // timer for that, not only a turn.
    if (this.#crew.isStarting) await pause();
  }

  /** Runs out when no job is finished for so long. */
  #patience(running: Running): { isExhausted(): boolean } {
    const { patienceMilliseconds = 10_000 } = this.#parts;
    let before = jobsLeft(running), since = clock.now();
    return {
      isExhausted: () => {
        const jobs = jobsLeft(running);
        if (jobs !== before) [before, since] = [jobs, clock.now()];
        return clock.now() - since > patienceMilliseconds;
      },
    };
  }

  /** Publishes a batch, does what is to be done meanwhile, and helps until no job is left to take. */
  #begin(batch: Batch): Running {
    const running = this.#publish(batch);
    let failure: Running["failure"];
    try {
      batch.meanwhile?.();
    } catch (reason) {
      failure = { reason };
    }
    this.#help(batch, running);
    return { ...running, failure };
  }

  /** Publishes a batch and wakes the workers. */
  #publish({ records, count, scratch, scratchStride, program = 0 }: Batch): Running {
    this.#crew.muster();
    const { control } = this.#crew, first = Atomics.load(control, cells.limit);
    const end = first + count | 0;
    Atomics.store(control, cells.first, first);
    Atomics.store(control, cells.records, records);
    Atomics.store(control, cells.scratch, scratch);
    Atomics.store(control, cells.scratchStride, scratchStride);
    Atomics.store(control, cells.program, program);
    const { buffer } = this.#parts.memory;
    Atomics.store(control, cells.pages, buffer.byteLength / pageBytes);
    Atomics.store(control, cells.failed, 0);
    Atomics.store(control, cells.limit, end);
    Atomics.notify(control, cells.limit);
    return { control, end };
  }

  /** Takes jobs until none is left to take. */
  #help({ records, scratch, program = 0 }: Batch, { control, end }: Running): void {
    const { kernels } = this.#parts.programs[program];
    const first = Atomics.load(control, cells.first);
    for (;;) {
      const job = Atomics.load(control, cells.next);
      if (job === end) return;
      if (Atomics.compareExchange(control, cells.next, job, job + 1 | 0) !== job) continue;
      try {
        kernels.run(records + (job - first | 0) * jobBytes, scratch);
      } catch {
        Atomics.add(control, cells.failed, 1);
      }
      Atomics.add(control, cells.done, 1);
    }
  }
}

function pause(): Promise<void> {
  return new Promise((resolve) => clock.after(0, resolve));
}

/** Jobs of a batch that are not finished. */
function jobsLeft({ control, end }: Running): number {
  return end - Atomics.load(control, cells.done) | 0;
}

function isFinished(running: Running): boolean {
  return jobsLeft(running) === 0;
}

/** Sleeps until a job is finished, 1 ms at most; where this thread must not, returns at once. */
function wait({ control, end }: Running): void {
  const done = Atomics.load(control, cells.done);
  if (done === end) return;
  try {
    Atomics.wait(control, cells.done, done, 1);
  } catch {
    // A page's main thread: spin.
  }
}

/** Tells what went wrong with a batch that nobody works on any more. */
function check(running: Running): void {
  if (!isFinished(running)) {
    throw new Error("Cannot attend: a worker thread ended while the call ran; call again");
  }
  if (Atomics.load(running.control, cells.failed) > 0) {
    throw new Error("Cannot attend: a kernel trapped");
  }
  if (running.failure) throw running.failure.reason;
}
