/**
 * Teams: who runs the jobs of a batch.
 *
 * @module
 */

import { reasonOf } from "../../check/errors.ts";
import type { ProgramName } from "../binary/module.ts";
import { bytes as jobBytes } from "../record/job.gen.ts";

/** Kernels that run jobs, and the module that a thread makes them of. */
export interface Program {
  /** Absent of attention's. */
  readonly name?: ProgramName;
  readonly kernels: { run(job: number, scratch: number): void };
  readonly module: WebAssembly.Module;
}

/** Job records in linear memory, one after the other, and tile memory for each thread. */
export interface Batch {
  /** Threads that the batch was cut for. */
  readonly threads: number;
  readonly records: number;
  readonly count: number;
  readonly scratch: number;
  readonly scratchStride: number;
  /** Which of a machine's programs runs the jobs; the first by default. */
  readonly program?: number;
  /**
   * What the calling thread may do while the others have begun, at most once: to prepare the next
   * batch. A team that has no others leaves it.
   */
  readonly meanwhile?: () => void;
  /** What the calling thread does before each job of a batch that is for it alone. */
  readonly before?: (index: number) => void;
}

/** Runs batches. */
export interface Team {
  /** Threads at most, the calling one included. */
  readonly threads: number;
  /** Why the calling thread is alone although it was to have workers. */
  readonly alone?: string;
  /** Runs every job of a batch. When it settles, nobody touches the batch's memory any more. */
  run(batch: Batch): Promise<void>;
  /** The same, without the event loop. */
  runSync(batch: Batch): void;
  /** Ends the team once the batch under way is finished. */
  close(): Promise<void>;
}

/** The calling thread alone. */
export class Solo implements Team {
  readonly threads = 1;
  readonly #programs: readonly Program[];

  constructor(programs: readonly Program[]) {
    this.#programs = programs;
  }

  // deno-lint-ignore require-await
  async run(batch: Batch): Promise<void> {
    this.runSync(batch);
  }

  runSync({ records, count, scratch, before, program = 0 }: Batch): void {
    const { kernels } = this.#programs[program];
    for (let index = 0; index < count; index++) {
      before?.(index);
      kernels.run(records + index * jobBytes, scratch);
    }
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

/**
 * A team that is loaded when it is first needed, and until then is the calling thread alone. Nothing of
 * it is loaded where nobody has threads, and none before a first small result. What cannot be loaded is
 * as workers that cannot begin.
 */
export class LateTeam implements Team {
  readonly threads: number;
  readonly #solo: Solo;
  readonly #load: () => Promise<Team>;
  #loading: Promise<Team> | undefined;
  #team: Team | undefined;
  #failure: string | undefined;

  constructor(programs: readonly Program[], threads: number, load: () => Promise<Team>) {
    this.threads = threads;
    this.#solo = new Solo(programs);
    this.#load = load;
  }

  get alone(): string | undefined {
    return this.#failure ?? this.#team?.alone;
  }

  /** Loads it: whoever runs batches synchronously has no other time for that. */
  async ready(): Promise<Team> {
    this.#loading ??= this.#load().catch((error) => {
      this.#failure = `threads cannot be loaded: ${reasonOf(error)}`;
      return this.#solo;
    });
    return this.#team ??= await this.#loading;
  }

  async run(batch: Batch): Promise<void> {
    if (batch.threads === 1 || batch.count === 1) return this.#solo.runSync(batch);
    await (this.#team ?? await this.ready()).run(batch);
  }

  runSync(batch: Batch): void {
    (this.#team ?? this.#solo).runSync(batch);
  }

  async close(): Promise<void> {
    await (await this.#loading)?.close();
  }
}
