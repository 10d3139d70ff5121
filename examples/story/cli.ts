/**
 * The story from its arguments to its exit code.
 *
 * @module
 */

import { createEngine } from "@flashtile/attention";
import { turn } from "../browser/turn.ts";
import { type Output, runProgram } from "../llama/program.ts";
import { algorithms } from "./chapters.ts";
import { type Options, parseOptions, usage } from "./options.ts";
import { measureOwn, type Own } from "./own.ts";
import {
  formatComparison,
  formatOpening,
  formatOwn,
  formatPapers,
  tell,
  type Told,
} from "./report.ts";

/** What the story needs of the world outside. */
export interface Io extends Output {
  /** Serves the page at a port until the process ends; answers where it is. */
  readonly serve: (port: number) => string;
}

/**
 * Tells the story.
 *
 * @param args The arguments, without program and script.
 * @param io The world outside.
 * @returns The exit code: 0, or 1 after an error that `io.writeError` was told in one line.
 */
export async function run(args: readonly string[], io: Io): Promise<number> {
  const act = (options: Options) => options.serve ? servePage(options, io) : print(options, io);
  return await runProgram(args, { parse: parseOptions, usage, act }, io);
}

async function servePage({ port }: Options, { serve, write }: Io): Promise<void> {
  await write(`The page is at ${serve(port)} (end with Ctrl+C)\n`);
}

async function print(sizes: Options, { write }: Io): Promise<void> {
  await write(formatOpening(sizes));
  const all: Told[] = [];
  for (const algorithm of algorithms) {
    const { text, told } = tell(algorithm, sizes);
    all.push(told);
    await write(text);
    await turn(); // so that a chapter can be read while the next one is counted
  }
  await write(formatComparison(all, sizes));
  await write(formatPapers());
  await write(await measure());
}

async function measure(): Promise<string> {
  const engine = await createEngine({ backend: "wasm" });
  try {
    const all: Own[] = [];
    const follower = { progress: () => {}, measured: (own: Own) => void all.push(own) };
    await measureOwn(engine, follower, new AbortController().signal);
    return formatOwn(all, engine.reason);
  } finally {
    await engine.close();
  }
}
