/**
 * What the command line asks for.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { InputError } from "./error.ts";
import type { SampleOptions } from "./sample.ts";

/** What the command line asks for. */
export interface Options extends SampleOptions {
  /** Text to continue. */
  readonly prompt: string;
  /** Bytes to generate. */
  readonly tokens: number;
  /** Folder with the model's files; the demo's own by default. */
  readonly model?: string;
  /** Show `usage` and do nothing else. */
  readonly help: boolean;
}

/** How the demo is used. */
export const usage = `Continues a prompt with a small Llama, every attention through FlashTile.

Usage: deno task demo -- [options] [prompt]

  --tokens N        bytes to generate, 1 or more (default 160)
  --temperature T   0 takes the likeliest byte always, 1 draws as trained (default 0)
  --top-k K         draw from the K likeliest bytes only, 1 to 256 (default 40)
  --seed S          start of the random numbers, 0 to 4294967295 (default 1)
  --model DIR       folder with model.safetensors, config.json and reference.json
  --help            show this text
`;

const defaults = {
  prompt: "And it came to pass",
  tokens: "160",
  temperature: "0",
  "top-k": "40",
  seed: "1",
};

/**
 * Reads the arguments of the command line.
 *
 * @param args The arguments, without program and script.
 * @throws {InputError} When an option is unknown or has an impossible value, or when there is more
 * than one prompt.
 */
export function parseOptions(args: readonly string[]): Options {
  const { values, positionals } = parseArguments(args);
  return {
    prompt: onlyPrompt(positionals),
    tokens: wholeNumber("--tokens", values.tokens, 1, Infinity),
    temperature: temperature(values.temperature),
    topK: wholeNumber("--top-k", values["top-k"], 1, 256),
    seed: wholeNumber("--seed", values.seed, 0, 2 ** 32 - 1),
    model: values.model,
    help: values.help,
  };
}

interface Arguments {
  readonly values: {
    readonly tokens: string;
    readonly temperature: string;
    readonly "top-k": string;
    readonly seed: string;
    readonly model?: string;
    readonly help: boolean;
  };
  readonly positionals: readonly string[];
}

function parseArguments(args: readonly string[]): Arguments {
  try {
    return parseArgs({
      // `deno task demo -- prompt` hands the `--` on, and options may follow it.
      args: args[0] === "--" ? args.slice(1) : [...args],
      allowPositionals: true,
      options: {
        tokens: { type: "string", default: defaults.tokens },
        temperature: { type: "string", default: defaults.temperature },
        "top-k": { type: "string", default: defaults["top-k"] },
        seed: { type: "string", default: defaults.seed },
        model: { type: "string" },
        help: { type: "boolean", default: false },
      },
    });
  } catch (error) {
    throw new InputError(`${(error as Error).message}; --help shows the options`);
  }
}

function onlyPrompt(positionals: readonly string[]): string {
  if (positionals.length > 1) {
    throw new InputError(
      `Expected one prompt, got ${positionals.length} words: put the prompt in quotes`,
    );
  }
  const [prompt = defaults.prompt] = positionals;
  if (prompt === "") throw new InputError("Expected a prompt of at least one byte, got none");
  return prompt;
}

function wholeNumber(name: string, text: string, least: number, most: number): number {
  const value = /^\d+$/.test(text) ? Number(text) : NaN;
  if (!(value >= least && value <= most)) {
    const range = most === Infinity ? `>= ${least}` : `from ${least} to ${most}`;
    throw new InputError(`Expected ${name} to be a whole number ${range}, got "${text}"`);
  }
  return value;
}

function temperature(text: string): number {
  const value = text.trim() === "" ? NaN : Number(text);
  if (!(value >= 0 && value < Infinity)) {
    throw new InputError(`Expected --temperature to be a number >= 0, got "${text}"`);
  }
  return value;
}
