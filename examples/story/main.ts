/**
 * `deno task story`: the story of FlashAttention, told by code that counts.
 *
 * @module
 */

import process from "node:process";
import { run } from "./cli.ts";
import { serve } from "./serve.ts";

process.exitCode = await run(process.argv.slice(2), {
  serve: (port) => serve(port).url,
  write: (text) => void process.stdout.write(text),
  writeError: (text) => void process.stderr.write(text),
});
