/**
 * In the page: models from files that the page fetches. Bundled without the package, which the page has from npm.
 *
 * @module
 */

import { continueText, embed, type ReadFile } from "../models.ts";

/** Fetches a model's files. */
function from(folder: string): ReadFile {
  return async (name) => new Uint8Array(await (await fetch(`/${folder}/${name}`)).arrayBuffer());
}

Object.assign(globalThis, {
  models: {
    continueText: (prompt: string, maxTokens: number) =>
      continueText(from("llama"), prompt, maxTokens),
    embed: (texts: readonly string[]) => embed(from("minilm"), texts),
  },
});
