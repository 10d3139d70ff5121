/**
 * Training from its arguments to its exit code.
 *
 * @module
 */

import { join } from "node:path";
import { createEngine, type Engine } from "@flashtile/attention";
import { type Checkpoint, formatCheckpoint, type Identity, parseCheckpoint } from "./checkpoint.ts";
import { type LlamaConfig, parseConfig } from "./config.ts";
import { InputError } from "../llama/error.ts";
import { formatSafetensors } from "./safetensors_writer.ts";
import { type Output, runProgram } from "../llama/program.ts";
import { type Options, parseOptions, usage } from "./options.ts";
import type { Progress } from "./progress.ts";
import { formatPlan, formatReport, type Plan } from "./report.ts";
import { type Step, Training } from "./train.ts";

/** What training needs of the world outside. */
export interface Io extends Output {
  /** Folder of this example: what options do not name is in it. */
  readonly folder: string;
  /** Reads a whole file. */
  readonly readFile: (path: string) => Promise<Uint8Array>;
  /**
   * Writes a whole file, in a folder that is made if it is not there: what it replaces stays until
   * all of it is written.
   */
  readonly writeFile: (path: string, content: Uint8Array | string) => Promise<void>;
  /** Draws the loss over the steps, as SVG. */
  readonly drawCurve: (steps: readonly Step[]) => Promise<string>;
  /** Shows how far it is. */
  readonly progress: Progress;
}

/**
 * Trains a model and saves it.
 *
 * @param args The arguments, without program and script.
 * @param io The world outside.
 * @returns The exit code: 0, or 1 after an error that `io.writeError` was told in one line.
 */
export async function run(args: readonly string[], io: Io): Promise<number> {
  const act = (options: Options) => trainAndSave(options, args, io);
  return await runProgram(args, { parse: parseOptions, usage, act }, io);
}

async function trainAndSave(options: Options, args: readonly string[], io: Io): Promise<void> {
  const out = options.out ?? join(io.folder, "model");
  const { config, json } = await readConfig(options.config ?? join(io.folder, "config.json"), io);
  const text = await read(options.text ?? join(io.folder, "text.txt"), io);
  // A seed's weights are the same with a GPU at hand and without.
  const engine = await createEngine({ backend: "wasm" });
  try {
    const training = new Training(config, text, engine, options);
    const identity = { config, text, options }, resume = resumeCommand(args);
    const from = options.resume ? await readCheckpoint(out, identity, io) : undefined;
    // Before the work, so that a folder that cannot be written to does not cost it.
    await save(out, { "config.json": json }, io);
    const done = from?.steps.length ?? 0;
    await io.write(plan(training, options, { engine, text: text.length, done, out, resume }));
    const { steps, ms } = await follow(training, { identity, from, out }, io);
    await save(out, {
      "model.safetensors": formatSafetensors(training.parameters.tensors),
      "loss.svg": await io.drawCurve(steps),
    }, io);
    await io.write(report(training, { steps, taken: steps.length - done, ms, options, out }));
  } finally {
    await engine.close();
  }
}

/** The name of the last checkpoint in a folder. */
const CHECKPOINT = "checkpoint.safetensors";

/** The command that goes on from it. */
function resumeCommand(args: readonly string[]): string {
  const given = args.filter((arg) => arg !== "--" && arg !== "--resume")
    .map((arg) => /^[\w./=-]+$/.test(arg) ? arg : `'${arg.replaceAll("'", "'\\''")}'`);
  return ["deno task train --", ...given, "--resume"].join(" ");
}

async function readCheckpoint(folder: string, identity: Identity, io: Io): Promise<Checkpoint> {
  const path = join(folder, CHECKPOINT);
  const checkpoint = parseCheckpoint(await read(path, io), path, identity);
  if (checkpoint.steps.length < identity.options.steps) return checkpoint;
  throw new InputError(`Cannot go on from ${path}: all ${identity.options.steps} steps are done`);
}

interface Course {
  readonly identity: Identity;
  readonly from: Checkpoint | undefined;
  readonly out: string;
}

/** Lets the training happen, shows how far it is, and keeps where it stands at each look. */
async function follow(
  training: Training,
  { identity, from, out }: Course,
  io: Io,
): Promise<{ steps: Step[]; ms: number }> {
  const steps = [...from?.steps ?? []], begin = performance.now(), { progress } = io;
  progress.begin(identity.options.steps);
  try {
    for await (const step of training.steps(from)) {
      steps.push(step);
      progress.update(step);
      if (step.heldOut === undefined) continue;
      const checkpoint = formatCheckpoint({ ...training.standing, steps }, identity);
      await save(out, { [CHECKPOINT]: checkpoint }, io);
    }
  } finally {
    progress.end();
  }
  return { steps, ms: performance.now() - begin };
}

interface Outcome {
  readonly steps: readonly Step[];
  readonly taken: number;
  readonly ms: number;
  readonly options: Options;
  readonly out: string;
}

function plan(
  { config: { context }, parameters }: Training,
  { steps, batch }: Options,
  { engine, ...rest }: Pick<Plan, "text" | "done" | "out" | "resume"> & { readonly engine: Engine },
): string {
  const words = `${engine.backend}: ${engine.reason}`;
  return formatPlan({
    ...{ engine: words, weights: parameters.all.length, steps, batch, context },
    ...rest,
  });
}

function report(training: Training, { steps, taken, ms, options, out }: Outcome): string {
  const { config, attentionMs } = training;
  return formatReport({
    ...{ steps, taken, ms, attentionMs, out },
    bytesPerStep: options.batch * config.context,
  });
}

async function readConfig(path: string, io: Io): Promise<{ config: LlamaConfig; json: string }> {
  const json = new TextDecoder().decode(await read(path, io));
  return { config: parseConfig(json, path), json };
}

async function read(path: string, { readFile }: Io): Promise<Uint8Array> {
  try {
    return await readFile(path);
  } catch (error) {
    throw new InputError(`Cannot read ${path}: ${(error as Error).message}`);
  }
}

type Files = Readonly<Record<string, Uint8Array | string>>;

async function save(folder: string, files: Files, { writeFile }: Io): Promise<void> {
  for (const [name, content] of Object.entries(files)) {
    const path = join(folder, name);
    try {
      await writeFile(path, content);
    } catch (error) {
      throw new InputError(
        `Cannot write ${path}: ${(error as Error).message}; name another folder by --out`,
      );
    }
  }
}
