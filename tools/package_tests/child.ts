/**
 * Programs that tests run.
 *
 * @module
 */

import { spawnSync } from "node:child_process";
import process from "node:process";
import { stripVTControlCharacters } from "node:util";

/** What a program that ended well printed. */
export interface Printed {
  readonly stdout: string;
  /** Both streams. */
  readonly all: string;
}

/** Milliseconds after which a program has failed. */
const patience = 120_000;

/** Runs a program in a folder; throws with everything that it printed where it does not end well. */
export function runIn(
  cwd: string,
  [program, ...given]: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): Printed {
  const { status, signal, error, stdout, stderr } = spawnSync(program, given, {
    cwd,
    encoding: "utf8",
    timeout: patience,
    env: { ...process.env, NO_COLOR: "1", ...environment },
  });
  const all = stripVTControlCharacters(`${stdout}${stderr}`);
  if (status === 0) return { stdout, all };
  throw new Error(
    `${program} ${given.join(" ")} ended with ${error ?? signal ?? status}:\n${all}`,
  );
}
