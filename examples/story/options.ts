/**
 * What the command line asks for.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { InputError } from "../llama/error.ts";
import { portOf } from "../port.ts";
import { checkSizes, usualSizes } from "./limits.ts";
import type { Sizes } from "./problem.ts";

/** What the command line asks for. */
export interface Options extends Sizes {
  /** Serve the page instead of printing. */
  readonly serve: boolean;
  /** Port of the page. */
  readonly port: number;
  /** Show `usage` and do nothing else. */
  readonly help: boolean;
}

const defaults = {
  n: `${usualSizes.n}`,
  d: `${usualSizes.d}`,
  m: `${usualSizes.m}`,
};

/** Port of the page where none is asked for. */
const usualPort = 8766;

/** How the program is used. */
export const usage = `Tells the story of FlashAttention by code that counts what it moves.

Usage: deno task story -- [options]

  --n N       queries and keys, 1 or more (default ${defaults.n})
  --d N       numbers of each, 1 or more (default ${defaults.d})
  --m N       numbers that fit into fast memory, 7 d or more (default ${defaults.m})
  --serve     serve a page that tells it with pictures, instead of printing
  --port N    port of that page, 0 to 65535, 0 for any free one (default ${usualPort})
  --help      show this text
`;

/**
 * Reads the arguments of the command line.
 *
 * @param args The arguments, without program and script.
 * @throws {InputError} When an option is unknown or has an impossible value.
 */
export function parseOptions(args: readonly string[]): Options {
  const { serve, help, port, ...texts } = parseArguments(args);
  const sizes = {
    n: wholeNumber("--n", texts.n),
    d: wholeNumber("--d", texts.d),
    m: wholeNumber("--m", texts.m),
  };
  if (port !== undefined && !serve) throw new InputError("Expected --serve where there is --port");
  refusing(() => checkSizes(sizes));
  const wanted = refusing(() => portOf(port === undefined ? [] : [`--port=${port}`], usualPort));
  return { serve, help, port: wanted, ...sizes };
}

/** What another part refuses is an input that cannot be used. */
function refusing<T>(act: () => T): T {
  try {
    return act();
  } catch (error) {
    throw new InputError((error as Error).message);
  }
}

function parseArguments(args: readonly string[]) {
  try {
    return parseArgs({
      // `deno task story -- --n 512` hands the `--` on.
      args: args[0] === "--" ? args.slice(1) : [...args],
      options: {
        n: { type: "string", default: defaults.n },
        d: { type: "string", default: defaults.d },
        m: { type: "string", default: defaults.m },
        serve: { type: "boolean", default: false },
        port: { type: "string" },
        help: { type: "boolean", default: false },
      },
    }).values;
  } catch (error) {
    throw new InputError(`${(error as Error).message}; --help shows the options`);
  }
}

function wholeNumber(name: string, text: string): number {
  const value = /^\d+$/.test(text) ? Number(text) : NaN;
  if (value >= 1 && Number.isSafeInteger(value)) return value;
  throw new InputError(`Expected ${name} to be a whole number >= 1, got "${text}"`);
}
