/**
 * What the command line asks for.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { InputError } from "../llama/error.ts";
import type { TrainOptions } from "./train.ts";

/** What the command line asks for. */
export interface Options extends TrainOptions {
  /** The text; the example's own by default. */
  readonly text?: string;
  /** `config.json` with the model's sizes; the example's own by default. */
  readonly config?: string;
  /** Folder for what is made; the example's own by default. */
  readonly out?: string;
  /** Go on from the checkpoint in that folder. */
  readonly resume: boolean;
  /** Show `usage` and do nothing else. */
  readonly help: boolean;
}

const defaults = { steps: "400", batch: "4", rate: "0.003", seed: "1" };

/** How the program is used. */
export const usage = `Trains a small Llama on the bytes of a text, every attention and its gradients
through FlashTile.

Usage: deno task train -- [options]

  --text FILE     what to learn (default examples/train/text.txt)
  --config FILE   sizes of the model, as Hugging Face writes them; windows are as long as
                  max_position_embeddings says (default examples/train/config.json)
  --out DIR       folder for model.safetensors, config.json and loss.svg, which is made if it is
                  not there (default examples/train/model)
  --steps N       how often the weights are changed, 1 or more (default ${defaults.steps})
  --batch N       windows of a step, 1 or more (default ${defaults.batch})
  --rate X        size of the largest change, more than 0 (default ${defaults.rate})
  --seed S        start of the random numbers, 0 to 4294967295 (default ${defaults.seed})
  --resume        go on from the last checkpoint in the folder of a training that was stopped,
                  with the same options as before
  --help          show this text
`;

/**
 * Reads the arguments of the command line.
 *
 * @param args The arguments, without program and script.
 * @throws {InputError} When an option is unknown or has an impossible value.
 */
export function parseOptions(args: readonly string[]): Options {
  const { text, config, out, resume, help, ...numbers } = parseArguments(args);
  return {
    ...{ text, config, out, resume, help },
    steps: wholeNumber("--steps", numbers.steps, 1, Infinity),
    batch: wholeNumber("--batch", numbers.batch, 1, Infinity),
    rate: positive("--rate", numbers.rate),
    seed: wholeNumber("--seed", numbers.seed, 0, 2 ** 32 - 1),
  };
}

type Arguments =
  & Pick<Options, "text" | "config" | "out" | "resume" | "help">
  & { readonly [Name in keyof typeof defaults]: string };

function parseArguments(args: readonly string[]): Arguments {
  try {
    return parseArgs({
      // `deno task train -- --steps 10` hands the `--` on.
      args: args[0] === "--" ? args.slice(1) : [...args],
      options: {
        text: { type: "string" },
        config: { type: "string" },
        out: { type: "string" },
        steps: { type: "string", default: defaults.steps },
        batch: { type: "string", default: defaults.batch },
        rate: { type: "string", default: defaults.rate },
        seed: { type: "string", default: defaults.seed },
        resume: { type: "boolean", default: false },
        help: { type: "boolean", default: false },
      },
    }).values;
  } catch (error) {
    throw new InputError(`${(error as Error).message}; --help shows the options`);
  }
}

function wholeNumber(name: string, text: string, least: number, most: number): number {
  const value = /^\d+$/.test(text) ? Number(text) : NaN;
  if (!(value >= least && value <= most)) {
    const range = most === Infinity ? `>= ${least}` : `from ${least} to ${most}`;
    throw new InputError(`Expected ${name} to be a whole number ${range}, got "${text}"`);
  }
  return value;
}

function positive(name: string, text: string): number {
  const value = text.trim() === "" ? NaN : Number(text);
  if (!(value > 0 && value < Infinity)) {
    throw new InputError(`Expected ${name} to be a number > 0, got "${text}"`);
  }
  return value;
}
