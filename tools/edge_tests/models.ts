/**
 * Models in a runtime that reads no file: its host has put them into a global.
 *
 * @module
 */

import { continueText, embed, type ReadFile } from "../models.ts";

/** Files of a model's folder by their names. */
type Files = Readonly<Record<string, Uint8Array>>;

const { files } = globalThis as unknown as { files: Files };
const read: ReadFile = (name) => Promise.resolve(files[name]);

/** What the model goes on with. */
export function goOn(prompt: string, maxTokens: number): Promise<string> {
  return continueText(read, prompt, maxTokens);
}

/** Vectors of texts. */
export function vectorsOf(texts: readonly string[]): Promise<number[][]> {
  return embed(read, texts);
}
