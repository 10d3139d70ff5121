/**
 * The interleaving harness: an operation runs, something else happens at every moment until it
 * settles, and nothing of that may be seen in its result or in anything else.
 *
 * @module
 */

import { AssertionError } from "@std/assert";
import { assertSameBits } from "../support/bits.ts";
import { type BlockWatch, watchBlocks } from "../support/guards.ts";
import type { Engine } from "@flashtile/attention";
import type { Act, Aftermath } from "./acts.ts";
import { type Moment, moments, nameOf } from "./moments.ts";
import { yieldTurn } from "../../src/runtime.ts";
import type { Operation, Outcomes, Passed, Place, Started } from "./operations.ts";
import { World } from "./world.ts";
import type { BackendUnderTest } from "../contract/backends.ts";

/** What is run. */
export interface Trial {
  readonly operation: Operation;
  readonly place: Place;
  readonly act: Act;
}

/** Throws unless two calls gave the same to the last bit. */
export function assertSameOutcomes(got: Outcomes, expected: Outcomes, mayLack = false): void {
  const names = (outcomes: Outcomes) => Object.keys(outcomes).sort().join(", ");
  if (names(got) !== names(expected)) {
    throw new AssertionError(`The call gave ${names(got)}, expected ${names(expected)}`);
  }
  for (const [name, { shape, elements }] of Object.entries(got)) {
    const right = expected[name];
    if (elements === undefined && mayLack) continue;
    if (String(shape) !== String(right.shape)) {
      throw new AssertionError(`${name}: shape [${shape}], expected [${right.shape}]`);
    }
    assertSameBits(elements ?? [], right.elements!, name);
  }
}

/** What a call gives when nothing happens beside it. */
async function undisturbed(operation: Operation, place: Place, world: World): Promise<Outcomes> {
  const start = await operation.ready({ engine: world.engine, place, seed: 5 });
  const call = start(), outcomes = await call.result;
  clear(call);
  return outcomes;
}

/** Gives back what a call had. */
export function clear({ own, caches }: Passed): void {
  for (const tensor of own) tensor.free();
  for (const cache of caches) cache[Symbol.dispose]();
}

/** What became of a call. */
export type Ended = { readonly outcomes: Outcomes } | { readonly error: unknown };

export function endOf(result: Promise<Outcomes>): Promise<Ended> {
  return result.then((outcomes) => ({ outcomes }), (error) => ({ error }));
}

function assertEnded(ended: Ended, expected: Outcomes, act: Act, call: Started): void {
  if ("outcomes" in ended) return assertSameOutcomes(ended.outcomes, expected, act.frees);
  if (act.mayReject?.(ended.error, call)) return;
  throw ended.error;
}

/** What happens to a call, once. */
class Happening {
  readonly #act: Act;
  readonly #engine: Engine;
  #aftermath: Aftermath | undefined;
  #failure: { readonly error: unknown } | undefined;

  constructor(act: Act, engine: Engine) {
    this.#act = act;
    this.#engine = engine;
  }

  get happened(): boolean {
    return this.#aftermath !== undefined;
  }

  /** Blocks of memory that stay. */
  get kept(): number {
    return this.#aftermath?.kept ?? 0;
  }

  /** `running` says that the call cannot have settled yet. */
  happen(passed: Passed, running: boolean): void {
    this.#aftermath = {};
    try {
      this.#aftermath = this.#act.act(passed, this.#engine, running);
    } catch (error) {
      this.#failure = { error };
    }
  }

  /** Throws what went wrong with it, and clears what it made. */
  async end(): Promise<void> {
    await this.#aftermath?.check?.();
    if (this.#failure !== undefined) throw this.#failure.error;
    this.#aftermath?.clear?.();
  }
}

/** What one run found. */
interface Found {
  /** Whether the act came while the call ran. */
  readonly inTime: boolean;
  readonly kept: number;
}

/** Runs one call in which the act happens at one moment. */
async function runAt(
  { operation, place, act }: Trial,
  moment: Moment | { readonly progress: number },
  { engine }: World,
  expected: Outcomes,
): Promise<Found> {
  const happening = new Happening(act, engine);
  let told = 0, settled = false;
  const onProgress = (passed: Passed) => {
    if ("progress" in moment && told++ === moment.progress) happening.happen(passed, true);
  };
  const start = await operation.ready({ engine, place, seed: 5, onProgress });
  const call = start();
  const end = endOf(call.result).then((ended) => {
    settled = true;
    return ended;
  });
  if (!("progress" in moment)) {
    for (let at = 0; at < moment.turns; at++) await yieldTurn();
    // Here, and not in a function of its own: awaiting that would take a microtask more.
    for (let at = 0; at < moment.microtasks; at++) await undefined;
    // Nobody can know of a settled call before a microtask has passed.
    if (!settled) happening.happen(call, moment.microtasks + moment.turns === 0);
  }
  const ended = await end;
  await happening.end();
  assertEnded(ended, expected, act, call);
  clear(call);
  return { inTime: happening.happened, kept: happening.kept };
}

/** Moments of calls that give promises, or those at which a call tells its progress. */
function momentsOf(backend: BackendUnderTest, { operation }: Trial, inProgress: boolean) {
  if (inProgress) return Array.from({ length: 6 }, (_, progress) => ({ progress }));
  // A GPU is waited for in turns, not in microtasks, and each of its calls takes long in software.
  const few = operation.large || backend.name === "webgpu";
  return moments({ microtasks: few ? 12 : 40, turns: backend.threads > 1 ? 4 : 2 });
}

function wordsOf(moment: Moment | { readonly progress: number }): string {
  return "progress" in moment ? `told ${moment.progress} times` : nameOf(moment);
}

/** What is wrong beside the call. */
async function checkBeside(world: World, watch: BlockWatch, blocks: number): Promise<void> {
  watch.check();
  await world.check();
  if (watch.blocks === blocks) return;
  throw new AssertionError(`${watch.blocks - blocks} blocks of memory were not given back`);
}

/** Runs an operation with an act at every moment; gives what went wrong, moment by moment. */
export async function everyMoment(
  trial: Trial,
  backend: BackendUnderTest,
  { inProgress = false } = {},
): Promise<string[]> {
  const wrong: string[] = [], { act, operation, place } = trial;
  const hostTensors = backend.lacks?.hostTensors === undefined;
  const make = async () => {
    const made = new World(await backend.make(), hostTensors);
    await made.check();
    return made;
  };
  const watch = watchBlocks();
  // Calls share an engine until something breaks, or the act ends it.
  let world: World | undefined = await make();
  const expected = await undisturbed(operation, place, world);
  try {
    for (const moment of momentsOf(backend, trial, inProgress)) {
      if (operation.fresh) {
        await world?.engine.close();
        world = undefined;
      }
      world ??= await make();
      const before = watch.blocks;
      let found: Found | undefined;
      try {
        found = await runAt(trial, moment, world, expected);
        if (!act.ends) await checkBeside(world, watch, before + found.kept);
      } catch (error) {
        wrong.push(`${wordsOf(moment)}: ${(error as Error)?.message ?? error}`);
      }
      if (act.ends || found === undefined) {
        await world.engine.close();
        world = undefined;
      }
      if (found?.inTime === false || wrong.length > 2) break;
    }
  } finally {
    await world?.engine.close();
    watch.end();
  }
  return wrong;
}
