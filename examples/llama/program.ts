/**
 * A program on the command line, from arguments to exit code.
 *
 * @module
 */

import { InputError } from "./error.ts";

/** Where a program writes. */
export interface Output {
  /** Writes to the standard output. */
  readonly write: (text: string) => void | Promise<void>;
  /** Writes to the standard error output. */
  readonly writeError: (text: string) => void | Promise<void>;
}

/** What a program does. */
export interface Program<Options extends { readonly help: boolean }> {
  readonly parse: (args: readonly string[]) => Options;
  readonly usage: string;
  readonly act: (options: Options) => Promise<void>;
}

/**
 * Runs a program.
 *
 * @param args The arguments, without program and script.
 * @returns The exit code: 0, or 1 after an error that `writeError` was told in one line.
 */
export async function runProgram<Options extends { readonly help: boolean }>(
  args: readonly string[],
  { parse, usage, act }: Program<Options>,
  { write, writeError }: Output,
): Promise<number> {
  try {
    const options = parse(args);
    if (options.help) await write(usage);
    else await act(options);
    return 0;
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    await writeError(`error: ${error.message}\n`);
    return 1;
  }
}
