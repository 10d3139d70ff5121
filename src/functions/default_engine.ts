/**
 * Where the functions run: on the engine among their options, or on one of their own, made at first use.
 *
 * @module
 */

import { kindOf } from "../check/words.ts";
import type { Machinery } from "../contract/backend.ts";
import { createMachinery, type Engine, machineryOf } from "../engine/engine.ts";
import { readOf } from "../tensor/arrays.ts";

/** What every function can be asked beside what the methods of engines can. */
export interface OnEngine {
  /** The engine that runs the call; by default one that all functions share. */
  readonly engine?: Engine | Engine<GPUBuffer> | undefined;
}

let shared: Promise<Machinery> | undefined;

/** What all functions share, made when it is first asked for. */
export function sharedMachinery(): Promise<Machinery> {
  if (shared === undefined) {
    shared = createMachinery(Object.create(null), true); // No options, whatever all objects have.
    shared.catch(() => shared = undefined); // A failure is not kept: the next call tries again.
  }
  return shared;
}

/**
 * What the engine among some options stands on; `undefined` where there is none.
 *
 * @throws {TypeError} When it is no engine of this copy of the library.
 * @throws {Error} When it was closed.
 */
export function machineryIn(options: unknown, cannot: string): Machinery | undefined {
  if (typeof options !== "object" || options === null) return undefined;
  const engine = readOf(options as OnEngine, "engine");
  if (engine === undefined) return undefined;
  const machinery = machineryOf(engine);
  if (machinery === undefined) {
    throw new TypeError(
      `${cannot}: \`engine\` must be what \`createEngine()\` of this copy of the library gave, ` +
        `got ${kindOf(engine)}`,
    );
  }
  machinery.own.checkOpen();
  return machinery;
}

/** The names of options, and `engine`. */
export function withEngine(names: readonly string[]): readonly string[] {
  return [...names, "engine"];
}
