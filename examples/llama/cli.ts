/**
 * The demo from its arguments to its exit code.
 *
 * @module
 */

import { createEngine, type Engine } from "@flashtile/attention";
import type { Decoder } from "@flashtile/attention/models";
import { InputError } from "./error.ts";
import { openModel, type ReadFile } from "./files.ts";
import { generate, type Generation } from "./generate.ts";
import { type Options, parseOptions, usage } from "./options.ts";
import { Printer } from "./printer.ts";
import { type Output, runProgram } from "./program.ts";
import { checkLogits, type LogitCheck, type Reference, TOLERANCE } from "./reference.ts";
import { formatReport } from "./report.ts";
import { createSampler } from "./sample.ts";

/** What the demo needs of the world outside. */
export interface Io extends Output {
  /** Folder of the model when `--model` names none. */
  readonly modelFolder: string;
  /** Reads a whole file. */
  readonly readFile: ReadFile;
}

/**
 * Runs the demo.
 *
 * @param args The arguments, without program and script.
 * @param io The world outside.
 * @returns The exit code: 0, or 1 after an error that `io.writeError` was told in one line.
 */
export async function run(args: readonly string[], io: Io): Promise<number> {
  const act = (options: Options) => demonstrate(options, io);
  return await runProgram(args, { parse: parseOptions, usage, act }, io);
}

async function demonstrate(options: Options, io: Io): Promise<void> {
  const engine = await createEngine();
  try {
    await io.write(await continuePrompts(options, engine, io));
  } finally {
    await engine.close();
  }
}

/** Streams the texts; gives the report that follows them. */
async function continuePrompts(options: Options, engine: Engine, io: Io): Promise<string> {
  const folder = options.model ?? io.modelFolder;
  const { decoder, reference } = await openModel(folder, io.readFile, engine);
  const { maxTokens: context } = decoder, { backend, reason } = engine;
  const prompts = options.prompts.map((prompt) => encodePrompt(prompt, context));
  const check = reference && await requireLogits(decoder, reference);
  await io.write(introduction(options));
  const generation = await stream(decoder, prompts, options, io);
  return formatReport({ backend, reason, check, generation, options, context });
}

/** What follows, and how long it takes. */
function introduction({ model, prompts }: Options): string {
  const who = model === undefined
    ? "A Llama of 1.6 million weights, trained on the King James Bible,"
    : `The model in ${model}`;
  const what = prompts.length === 1 ? "a prompt" : `${prompts.length} prompts`;
  return `${who} continues ${what}, byte by byte.\nIt takes a second or two.\n\n`;
}

/** One byte at least must fit behind the prompt. */
function encodePrompt(prompt: string, context: number): Uint8Array {
  const bytes = new TextEncoder().encode(prompt);
  if (bytes.length >= context) {
    throw new InputError(
      `The prompt has ${bytes.length} bytes, but the model's context of ${context} takes ` +
        `${context - 1} and the byte that follows: shorten the prompt`,
    );
  }
  return bytes;
}

async function requireLogits(decoder: Decoder, reference: Reference): Promise<LogitCheck> {
  const check = await checkLogits(decoder, reference);
  // Written so that a difference of NaN is refused too.
  if (!(check.difference <= TOLERANCE)) {
    throw new InputError(
      `The logits differ from PyTorch's by ${check.difference.toPrecision(3)}, ` +
        `${TOLERANCE.toExponential(0)} is allowed: model.safetensors, config.json and ` +
        "reference.json are damaged or do not belong together, restore them",
    );
  }
  return check;
}

/** Bytes that end a sentence. */
const stops = new Set(new TextEncoder().encode(".!?"));

/** Where nobody says how long a continuation is: to the end of a sentence, of some length. */
const untilSentence = {
  count: 235,
  ends: (byte: number, count: number) => count >= 80 && stops.has(byte),
};

async function stream(
  decoder: Decoder,
  prompts: readonly Uint8Array[],
  options: Options,
  io: Io,
): Promise<Generation> {
  const printer = new Printer(options.prompts, io.write);
  await printer.begin();
  const { tokens, kv } = options;
  const sampler = () => createSampler(options);
  const length = tokens === undefined ? untilSentence : { count: tokens };
  const generation = await generate(
    decoder,
    prompts,
    { ...length, kv, sampler },
    (token, prompt) => printer.push(token, prompt),
  );
  await printer.end();
  return generation;
}
