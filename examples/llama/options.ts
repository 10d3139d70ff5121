/**
 * What the command line asks for.
 *
 * @module
 */

import { parseArgs } from "node:util";
import type { CacheDType } from "@flashtile/attention";
import { InputError } from "./error.ts";
import type { SampleOptions } from "./sample.ts";

/** What the command line asks for. */
export interface Options extends SampleOptions {
  /** Texts to continue, at least one. */
  readonly prompts: readonly string[];
  /** Bytes to generate for each; to the end of a sentence by default. */
  readonly tokens?: number;
  /** How the KV caches store keys and values. */
  readonly kv: CacheDType;
  /** Folder with the model's files; the demo's own by default. */
  readonly model?: string;
  /** Show `usage` and do nothing else. */
  readonly help: boolean;
}

/** All storages that the library has: one that is missing here, or too many, does not compile. */
const storages = Object.keys(
  { f32: true, f16: true, bf16: true, int8: true, int4: true } satisfies Record<CacheDType, true>,
) as CacheDType[];

/** How the demo is used. */
export const usage = `Continues prompts with a small Llama, all of it through FlashTile.

Usage: deno task demo -- [options] [prompt...]

  --tokens N        bytes to generate for each prompt, 1 or more (by default to the end of a
                    sentence, or 235)
  --kv DTYPE        how keys and values are stored: ${storages.join(", ")} (default f32)
  --temperature T   0 takes the likeliest byte always, 1 draws as trained (default 0)
  --top-k K         draw from the K likeliest bytes only, 1 to 256 (default 40)
  --seed S          start of the random numbers, 0 to 4294967295 (default 1)
  --model DIR       folder with model.safetensors and config.json; with reference.json, logits
                    are compared with those before anything is written
  --help            show this text
`;

const defaults = {
  prompt: "In the beginning",
  kv: "f32",
  temperature: "0",
  "top-k": "40",
  seed: "1",
};

/**
 * Reads the arguments of the command line.
 *
 * @param args The arguments, without program and script.
 * @throws {InputError} When an option is unknown or has an impossible value, or when a prompt is
 * empty.
 */
export function parseOptions(args: readonly string[]): Options {
  const { values, positionals } = parseArguments(args);
  return {
    prompts: promptsOf(positionals),
    tokens: values.tokens === undefined
      ? undefined
      : wholeNumber("--tokens", values.tokens, 1, Infinity),
    kv: storage(values.kv),
    temperature: temperature(values.temperature),
    topK: wholeNumber("--top-k", values["top-k"], 1, 256),
    seed: wholeNumber("--seed", values.seed, 0, 2 ** 32 - 1),
    model: values.model,
    help: values.help,
  };
}

interface Arguments {
  readonly values: {
    readonly tokens?: string;
    readonly kv: string;
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
        tokens: { type: "string" },
        kv: { type: "string", default: defaults.kv },
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

function promptsOf(positionals: readonly string[]): readonly string[] {
  const prompts = positionals.length > 0 ? positionals : [defaults.prompt];
  if (prompts.includes("")) {
    throw new InputError("Expected prompts of at least one byte, got an empty one");
  }
  return prompts;
}

function storage(text: string): CacheDType {
  const found = storages.find((name) => name === text);
  if (found === undefined) {
    throw new InputError(`Expected --kv to be one of ${storages.join(", ")}, got "${text}"`);
  }
  return found;
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
