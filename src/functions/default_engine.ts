/**
 * Where the functions run: on the engine among their options, or on one of their own, made at first use.
 *
 * @module
 */

import { bare, kindOf, readOptions } from "../check/words.ts";
import type { Machinery } from "../contract/backend.ts";
import { createMachinery, type Engine, machineryOf } from "../engine/engine.ts";

/** What every function can be asked in addition to what the methods of engines can. */
export interface OnEngine {
  /** The engine that runs the call; by default one that all functions share. */
  readonly engine?: Engine | Engine<GPUBuffer> | undefined;
}

let shared: Promise<Machinery> | undefined;

/** What all functions share, made when it is first asked for. */
export function sharedMachinery(): Promise<Machinery> {
  if (shared === undefined) {
    shared = createMachinery({}, true); // No options, whatever all objects have.
    shared.catch(() => shared = undefined); // A failure is not kept: the next call tries again.
  }
  return shared;
}

/**
 * What an engine that was asked for stands on; `undefined` where none was.
 *
 * @throws {TypeError} When it is no engine of this copy of the library.
 * @throws {Error} When it was closed.
 */
export function machineryFor(engine: unknown, cannot: string): Machinery | undefined {
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

/** Options as they were read. */
export interface Given<Options> {
  /** What the engine among them stands on; `undefined` where there is none. */
  readonly machinery: Machinery | undefined;
  /** The others. */
  readonly options: Options;
}

/** Reads options, once. */
export function readGiven<Options extends object>(
  options: (Options & OnEngine) | undefined = {} as Options,
  names: readonly (keyof Options & string)[],
  cannot: string,
  unlisted?: readonly string[],
): Given<Options> {
  const read = readOptions<Options & OnEngine>(options, [...names, "engine"], cannot, unlisted);
  const machinery = machineryFor(read.engine, cannot), others = bare<Options>();
  for (const name of names) {
    if (read[name] !== undefined) others[name] = read[name];
  }
  return { machinery, options: others as Options };
}
