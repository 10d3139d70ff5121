/**
 * A team of workers around the calling thread, which works too. Workers take jobs as they come; one
 * that is still starting is not waited for.
 *
 * @module
 */

import { pageBytes } from "../arena.ts";
import { jobBytes } from "../job_record.ts";
import type { Kernels } from "../module.ts";
import { type Batch, Solo, type Team } from "../team.ts";
import { turn } from "../turn.ts";
import { cells, createControl, firstHolding } from "./control.ts";
import { spawn, type WorkerHandle } from "./spawn.ts";

/** Looks this often whether the last jobs are finished before it sleeps or leaves the event loop its turn:
 * 0.2 ms. */
const spins = 20_000;

/** A worker with its place in the team. */
interface Member {
  /** Absent where it could not be started. */
  handle?: WorkerHandle;
  alive: boolean;
}

/** What a team is made of. */
export interface TeamParts {
  readonly kernels: Kernels;
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  readonly threads: number;
  /** How workers are started; tests pass their own. */
  readonly spawn?: typeof spawn;
  /** A call gives its workers up when nobody finishes a job for so long; 10 s by default. */
  readonly patienceMilliseconds?: number;
}

/** The calling thread and its workers. */
export class WorkerTeam implements Team {
  readonly threads: number;
  readonly #parts: TeamParts;
  readonly #solo: Solo;
  /** Made anew with the workers, so that one that was given up disturbs nobody. */
  #control: Int32Array;
  #closed = false;
  readonly #members = new Map<number, Member>();
  /** Workers that were asked to begin with this control block. */
  #enlisted = 0;
  /** Why the first of them ended that did. */
  #failure: string | undefined;
  /** Settles when the batch under way is finished; batches run one at a time. */
  #busy: Promise<void> | undefined;

  constructor(parts: TeamParts) {
    this.threads = parts.threads;
    this.#parts = parts;
    this.#solo = new Solo(parts.kernels);
    this.#control = createControl(parts.threads);
  }

  /** Where workers end before one has begun, others would, too: a page's policy may not allow any. */
  get alone(): string | undefined {
    return this.#cell("started") === 0 ? this.#failure : undefined;
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
    const meanwhile = this.#begin(batch);
    for (let spin = 0; spin < spins && !this.#isFinished(); spin++);
    const patience = this.#patience();
    while (!this.#isFinished()) {
      if (patience.isExhausted()) {
        // Until the workers are gone, calls are left to the calling thread.
        this.#busy = this.#disband().finally(() => this.#busy = undefined);
        throw lostWorker();
      }
      this.#wait();
    }
    this.#checkFailures();
    meanwhile.check();
  }

  async close(): Promise<void> {
    this.#closed = true;
    while (this.#busy !== undefined) await this.#busy;
    await this.#disband();
  }

  async #runTogether(batch: Batch): Promise<void> {
    const meanwhile = this.#begin(batch);
    for (let spin = 0; spin < spins && !this.#isFinished(); spin++);
    const patience = this.#patience();
    while (!this.#isFinished()) {
      await turn();
      if (this.#isLost() || patience.isExhausted()) {
        await this.#disband();
        throw lostWorker();
      }
    }
    this.#checkFailures();
    meanwhile.check();
    // Workers begin while the event loop waits, which it never does between short calls; Bun's need a
    // timer for that, not only a turn.
    const isStarting = this.#cell("started") < this.#enlisted && this.alone === undefined;
    if (isStarting) await new Promise((resolve) => setTimeout(resolve));
  }

  /** Runs out when no job is finished for so long. */
  #patience(): { isExhausted(): boolean } {
    const { patienceMilliseconds = 10_000 } = this.#parts;
    let finished = this.#cell("done"), since = performance.now();
    return {
      isExhausted: () => {
        const done = this.#cell("done");
        if (done !== finished) [finished, since] = [done, performance.now()];
        return performance.now() - since > patienceMilliseconds;
      },
    };
  }

  #cell(name: keyof typeof cells): number {
    return Atomics.load(this.#control, cells[name]);
  }

  /**
   * Publishes a batch, does what is to be done meanwhile, and helps until no job is left to take.
   * What went wrong meanwhile is told once the batch is finished: the workers are in its memory.
   */
  #begin(batch: Batch): { check(): void } {
    this.#publish(batch);
    let failure: { reason: unknown } | undefined;
    try {
      batch.meanwhile?.();
    } catch (reason) {
      failure = { reason };
    }
    this.#help(batch);
    return {
      check() {
        if (failure) throw failure.reason;
      },
    };
  }

  /** Publishes a batch and wakes the workers. */
  #publish({ records, count, scratch, scratchStride }: Batch): void {
    for (let index = 1; index < this.threads && this.alone === undefined; index++) {
      if (!this.#members.get(index)?.alive) this.#enlist(index);
    }
    const first = this.#cell("limit");
    Atomics.store(this.#control, cells.first, first);
    Atomics.store(this.#control, cells.records, records);
    Atomics.store(this.#control, cells.scratch, scratch);
    Atomics.store(this.#control, cells.scratchStride, scratchStride);
    const { buffer } = this.#parts.memory;
    Atomics.store(this.#control, cells.pages, buffer.byteLength / pageBytes);
    Atomics.store(this.#control, cells.failed, 0);
    Atomics.store(this.#control, cells.limit, first + count | 0);
    Atomics.notify(this.#control, cells.limit);
  }

  #enlist(index: number): void {
    const { module, memory } = this.#parts, control = this.#control;
    const member: Member = { alive: true };
    const onEnd = (reason: string) => {
      member.alive = false;
      if (control === this.#control) this.#failure ??= reason;
    };
    this.#members.set(index, member);
    this.#enlisted++;
    try {
      member.handle = (this.#parts.spawn ?? spawn)({ module, memory, control, index }, onEnd);
    } catch (error) {
      onEnd((error as Error).message);
    }
  }

  /** Takes jobs until none is left to take. */
  #help({ records, scratch }: Batch): void {
    const first = this.#cell("first");
    for (;;) {
      const job = this.#cell("next");
      if (job === this.#cell("limit")) return;
      if (Atomics.compareExchange(this.#control, cells.next, job, job + 1 | 0) !== job) continue;
      try {
        this.#parts.kernels.run(records + (job - first | 0) * jobBytes, scratch);
      } catch {
        Atomics.add(this.#control, cells.failed, 1);
      }
      Atomics.add(this.#control, cells.done, 1);
    }
  }

  #isFinished(): boolean {
    return this.#cell("done") === this.#cell("limit");
  }

  /** Whether all that is left are jobs of workers that ended: nobody alive has one any more. */
  #isLost(): boolean {
    const left = this.#cell("limit") - this.#cell("done") | 0;
    let lost = 0;
    for (const [index, { alive }] of this.#members) {
      if (!alive && Atomics.load(this.#control, firstHolding + index) !== 0) lost++;
    }
    return lost > 0 && left === lost;
  }

  /** Sleeps until a job is finished; where this thread must not, returns at once. */
  #wait(): void {
    const done = this.#cell("done");
    if (done === this.#cell("limit")) return;
    try {
      Atomics.wait(this.#control, cells.done, done, 1);
    } catch {
      // A page's main thread: spin.
    }
  }

  /**
   * Ends every worker; the next batch starts new ones with a control block of their own. The old one
   * offers no job any more: a thread may run on for a while after `terminate()`, Deno's do.
   */
  async #disband(): Promise<void> {
    const members = [...this.#members.values()], control = this.#control;
    this.#members.clear();
    this.#control = createControl(this.threads);
    this.#enlisted = 0;
    this.#failure = undefined;
    Atomics.store(control, cells.closed, 1);
    Atomics.store(control, cells.next, Atomics.load(control, cells.limit));
    Atomics.notify(control, cells.limit);
    await Promise.all(members.map(({ handle }) => handle?.terminate()));
  }

  #checkFailures(): void {
    if (this.#cell("failed") > 0) throw new Error("Cannot attend: a kernel trapped");
  }
}

function lostWorker(): Error {
  return new Error("Cannot attend: a worker thread ended while the call ran; call again");
}
