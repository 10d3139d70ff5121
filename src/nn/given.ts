/**
 * What functions of this subpath have in common: their options are read, and their calls run.
 *
 * @module
 */

import { type OnEngine, readGiven, sharedMachinery } from "../functions/default_engine.ts";
import type { Machinery } from "../contract/backend.ts";
import type { RowsCall } from "../operations/nn/call.ts";
import { cannotOf } from "../operations/nn/options.ts";
import { runRows, runRowsSync } from "../operations/nn/run.ts";
import type { RowsPlan } from "../operations/nn/tokens.ts";

/** Options with an engine among them. */
export type WithEngine<Options> = (Options & OnEngine) | undefined;

/** Reads options and then a call, which must be before anything is awaited, and runs it. */
export async function compute<Options extends object, Plan extends RowsPlan>(
  name: string,
  names: readonly (keyof Options & string)[],
  asked: WithEngine<Options>,
  read: (options: Options) => RowsCall<Plan>,
): Promise<unknown> {
  const { machinery, options } = readGiven(asked, names, cannotOf(name));
  return await runRows(machinery ?? sharedMachinery(), read(options));
}

/** The same of a call that runs to its end, for which an engine must be given. */
export function computeSync<Options extends object, Plan extends RowsPlan>(
  name: string,
  names: readonly (keyof Options & string)[],
  asked: WithEngine<Options>,
  read: (options: Options) => RowsCall<Plan>,
): unknown {
  const { machinery, options } = readGiven(asked, names, cannotOf(name));
  return runRowsSync(givenEngine(machinery, name), read(options));
}

/** An engine that must be there: the one that all functions share is made by a promise. */
export function givenEngine(machinery: Machinery | undefined, name: string): Machinery {
  if (machinery !== undefined) return machinery;
  throw new TypeError(
    `${
      cannotOf(name)
    }: \`${name}Sync()\` needs an \`engine\` among its options, of \`createEngine()\``,
  );
}
