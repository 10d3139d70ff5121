/**
 * The workers of a team, and the control block that they share with it. Workers live until they are
 * ended and keep alive what their listeners reach: nothing here reaches the team, so that one that is
 * dropped without `close()` is collected, and its workers are ended then.
 *
 * @module
 */

import { reasonOf } from "../../../check/errors.ts";
import { clock } from "../../../runtime.ts";
import type { Program } from "../team.ts";
import { cells, createControl, endControl, firstState, left } from "./control.ts";
import { idleMilliseconds, spawn, type WorkerHandle } from "./spawn.ts";

/** What a team is made of. */
export interface TeamParts {
  /** Others may be added. */
  readonly programs: readonly Program[];
  readonly memory: WebAssembly.Memory;
  readonly threads: number;
  /** Where pages have the workers' script from. */
  readonly workerUrl?: string;
  /** How workers are started; tests pass their own. */
  readonly spawn?: typeof spawn;
  /** A call gives its workers up when nobody finishes a job for so long; 10 s by default. */
  readonly patienceMilliseconds?: number;
  /**
   * A call then keeps its memory for workers that still have a job, where nobody tells when a thread
   * has stopped: 3 s by default. A job takes milliseconds; Deno's threads finish it, pages stop theirs.
   */
  readonly graceMilliseconds?: number;
}

/** After so many times that workers ended at work, with less than so many jobs done, come no others. */
const mostDeaths = 3, provenJobs = 1000;

/** A worker. */
interface Member {
  /** Absent where it could not be started. */
  handle?: WorkerHandle;
  hasEnded: boolean;
  readonly state: () => number;
}

/** Workers that were given up. */
export interface Farewell {
  readonly ended: Promise<void>;
  /** Whether one of them may still write to linear memory. */
  mayWrite(): boolean;
}

/** Workers that begin, end and are replaced. */
export class Crew {
  readonly #parts: TeamParts;
  /** Made anew with the workers, so that one that was given up disturbs nobody. */
  control!: Int32Array;
  readonly #members = new Map<number, Member>();
  /** Workers that were asked to begin with this control block, but for those that ended before. */
  #enlisted!: number;
  /** Why the first of them ended that did. */
  #failure: string | undefined;
  #deaths = 0;
  /** How many programs the workers know. */
  #known = 0;

  constructor(parts: TeamParts) {
    this.#parts = parts;
    this.#renew();
  }

  /** Why there are no workers. Where they end before one has begun, others would, too. */
  get alone(): string | undefined {
    if (this.#deaths >= mostDeaths) return `workers ended ${mostDeaths} times at work`;
    const hasFailed = this.#failure !== undefined && this.#started === 0;
    return hasFailed ? `no worker can begin: ${this.#failure}` : undefined;
  }

  /** Whether workers are still to begin. */
  get isStarting(): boolean {
    return this.#started < this.#enlisted && this.alone === undefined;
  }

  get #started(): number {
    return Atomics.load(this.control, cells.started);
  }

  /**
   * Starts the workers that are missing; to be called while there are no jobs. A thread may run on
   * although it is said to have ended, and whoever replaced it would share its scratch memory: after
   * such an end all begin anew, and where there are more programs than they know. Those that left touch nothing any more, and are replaced; nobody is put
   * in the place of those that ended before they had begun: others would, too.
   */
  muster(): void {
    const hasDied = ({ hasEnded, state }: Member) => hasEnded && state() > 0;
    if (this.#failure !== undefined && [...this.#members.values()].some(hasDied)) {
      this.#count();
      void this.disband();
    }
    const { length } = this.#parts.programs;
    if (this.#known < length && this.#members.size > 0) void this.disband();
    this.#known = length;
    for (let index = 1; index < this.#parts.threads && this.alone === undefined; index++) {
      const state = this.#members.get(index)?.state();
      if (state === undefined || state === left) this.#enlist(index);
    }
  }

  /** Whether all of `jobs` are those of workers that ended: nobody alive has one. */
  isLost(jobs: number): boolean {
    const lost = [...this.#members.values()].filter(({ hasEnded, state }) =>
      hasEnded && state() & 1
    );
    return lost.length > 0 && lost.length === jobs;
  }

  /** Ends every worker; the next ones have a control block of their own. */
  async disband(): Promise<void> {
    const members = [...this.#members.values()];
    endControl(this.control);
    this.#renew();
    await Promise.all(members.map(({ handle }) => handle?.terminate()));
  }

  /** The same where some did not finish their jobs. */
  giveUp(): Farewell {
    this.#count();
    const { graceMilliseconds = 3000 } = this.#parts, until = clock.now() + graceMilliseconds;
    const members = [...this.#members.values()];
    const isAtWork = ({ hasEnded, handle, state }: Member) =>
      state() & 1 && !(hasEnded && handle?.isCertain);
    return {
      ended: this.disband(),
      mayWrite: () => clock.now() < until && members.some(isAtWork),
    };
  }

  /** Counts that workers ended at work. */
  #count(): void {
    let jobs = 0;
    for (const { state } of this.#members.values()) jobs += state() >> 1;
    this.#deaths = jobs < provenJobs ? this.#deaths + 1 : 1;
  }

  #renew(): void {
    this.control = createControl(this.#parts.threads);
    Atomics.store(this.control, cells.idle, idleMilliseconds());
    this.#members.clear();
    this.#enlisted = 0;
    this.#failure = undefined;
  }

  #enlist(index: number): void {
    const { programs, memory, workerUrl } = this.#parts,
      { control } = this,
      at = firstState + index;
    const member: Member = { hasEnded: false, state: () => Atomics.load(control, at) };
    const onEnd = (reason: string) => {
      const isFirst = !member.hasEnded;
      member.hasEnded = true;
      if (this.#members.get(index) !== member) return; // It was replaced, or given up.
      this.#failure ??= reason;
      if (isFirst && member.state() === 0) this.#enlisted--;
    };
    Atomics.store(control, at, 0);
    this.#members.set(index, member);
    this.#enlisted++;
    try {
      const modules = programs.map(({ module }) => module);
      const data = { modules, memory, control, index };
      member.handle = (this.#parts.spawn ?? spawn)(data, onEnd, workerUrl);
    } catch (error) {
      onEnd(reasonOf(error));
    }
  }
}
