/**
 * Runners: who does an operation on a backend. Those that not every program needs are loaded when they are
 * first asked for.
 *
 * @module
 */

import type { BackendName, Control } from "./backend.ts";
import type { LateName, Operation } from "./operation.ts";

/** Does an operation on a machine. */
export interface Runner<Machine, Plan, Target, Done> {
  /** Throws where it cannot run such a plan, before anything is allocated. */
  check?(plan: Plan, control: Control): void;
  /** Loads what a machine lacks for it, or for a plan of it. */
  prepare?(machine: Machine, plan: Plan): Promise<void>;
  /** Whether a machine lacks nothing for it any more. */
  isReady?(machine: Machine): boolean;
  run(machine: Machine, plan: Plan, target: Target, control: Control): Done;
}

/** A runner, or what loads it. */
type Entry<Machine, Done> =
  | Runner<Machine, unknown, unknown, Done>
  | (() => Promise<Runner<Machine, unknown, unknown, Done>>);

/** Loads the runners of late operations. */
type LoadRunners<Machine, Done> = () => Promise<{ readonly runners: Runners<Machine, Done> }>;

/** Operations of subpaths, which say where their runners are when they are imported. */
type SubpathName = Exclude<LateName, "rows">;

/** Who loads the runners of a subpath's operations, by backend: nobody, where it was not imported. */
const subpaths: {
  [Name in SubpathName]?: { readonly [Name in BackendName]?: LoadRunners<never, never> };
} = {};

/** Says where backends have the runners of a subpath's operations; one may have none. */
export function provideLate(
  name: SubpathName,
  loaders: { readonly [Name in BackendName]?: () => Promise<{ readonly runners: unknown }> },
): void {
  subpaths[name] = loaders as (typeof subpaths)[SubpathName];
}

/** The runners of a backend, by operation. */
export class Runners<Machine, Done> {
  readonly #backend: BackendName;
  readonly #entries = new Map<object, Entry<Machine, Done>>();
  readonly #loadRows: LoadRunners<Machine, Done> | undefined;
  /** Those of late operations that are loaded. */
  readonly #late = new Map<LateName, Runners<Machine, Done>>();

  /** @param loadRows Loads who does operations on rows by themselves. */
  constructor(backend: BackendName, loadRows?: LoadRunners<Machine, Done>) {
    this.#backend = backend;
    this.#loadRows = loadRows;
  }

  /** Says who does an operation: a runner, or a function that loads it when it is first asked for. */
  add<Plan, Target>(
    operation: Operation<Plan, Target>,
    runner:
      | Runner<Machine, Plan, Target, Done>
      | (() => Promise<Runner<Machine, Plan, Target, Done>>),
  ): this {
    this.#entries.set(operation, runner as Entry<Machine, Done>);
    return this;
  }

  /** Throws where nobody does an operation, or who does it cannot run such a plan. */
  check<Plan, Target>(operation: Operation<Plan, Target>, plan: Plan, control: Control): void {
    const entry = this.#find(operation);
    if (typeof entry !== "function") entry.check?.(plan, control);
  }

  /** Who does an operation; loads it where that has not happened. */
  async load<Plan, Target>(
    operation: Operation<Plan, Target>,
  ): Promise<Runner<Machine, Plan, Target, Done>> {
    const entry = this.#find(operation);
    if (typeof entry !== "function") return entry;
    const runner = await entry();
    this.#entries.set(operation, runner);
    return runner;
  }

  /** Who does an operation, if it is loaded. */
  loaded<Plan, Target>(
    operation: Operation<Plan, Target>,
  ): Runner<Machine, Plan, Target, Done> | undefined {
    const entry = this.#find(operation);
    return typeof entry === "function" ? undefined : entry;
  }

  #find<Plan, Target>(operation: Operation<Plan, Target>): Entry<Machine, Done> {
    const entry = this.#entries.get(operation);
    if (entry !== undefined) return entry;
    const { name, cannot, late } = operation, ready = late && this.#late.get(late);
    if (ready) return ready.#find(operation);
    const load = late === "rows" ? this.#loadRows : this.#loadSubpath(late);
    if (load) {
      return async () => {
        const { runners } = await load();
        this.#late.set(late!, runners);
        return await runners.load(operation) as Runner<Machine, unknown, unknown, Done>;
      };
    }
    throw new Error(`${cannot}: the ${this.#backend} backend has no \`${name}()\``);
  }

  #loadSubpath(name: SubpathName | undefined): LoadRunners<Machine, Done> | undefined {
    return name && (subpaths[name]?.[this.#backend] as LoadRunners<Machine, Done> | undefined);
  }
}
