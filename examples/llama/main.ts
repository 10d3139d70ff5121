/**
 * `deno task demo -- "And it came to pass"`: a small Llama, all of it through the library.
 *
 * @module
 */

import { readFile } from "node:fs/promises";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { run } from "./cli.ts";

/** Settles when the text is handed on, so that it is seen while the next byte is computed. */
function writeTo(stream: NodeJS.WriteStream): (text: string) => Promise<void> {
  return (text) => new Promise((resolve) => stream.write(text, () => resolve()));
}

// A reader that has seen enough, as `head` does, is no error.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  process.exit(0);
});

process.exitCode = await run(process.argv.slice(2), {
  modelFolder: fileURLToPath(new URL("./model", import.meta.url)),
  readFile,
  write: writeTo(process.stdout),
  writeError: writeTo(process.stderr),
});
