/**
 * The files of a model folder.
 *
 * @module
 */

import { join } from "node:path";
import { type LlamaConfig, parseConfig } from "./config.ts";
import { InputError } from "./error.ts";
import { parseReference, type Reference } from "./reference.ts";
import { parseSafetensors } from "./safetensors.ts";
import { type LlamaWeights, takeWeights } from "./weights.ts";

/** Read in this order, so that of several faults always the same one is named. */
const names = ["config.json", "model.safetensors", "reference.json"];

/** Reads a whole file. */
export type ReadFile = (path: string) => Promise<Uint8Array>;

/** What a model folder holds, checked. */
export interface ModelFiles {
  /** `config.json`. */
  readonly config: LlamaConfig;
  /** `model.safetensors`. */
  readonly weights: LlamaWeights;
  /** `reference.json`, where there is one: a model that was just trained has none. */
  readonly reference?: Reference;
}

/**
 * Reads a model folder.
 *
 * @param folder Path of the folder.
 * @param readFile Reads its files.
 * @throws {InputError} When a file is missing or damaged.
 */
export async function readModelFiles(folder: string, readFile: ReadFile): Promise<ModelFiles> {
  const [configPath, weightsPath, referencePath] = names.map((name) => join(folder, name));
  const config = parseConfig(decode(await read(configPath, readFile)), configPath);
  const tensors = parseSafetensors(await read(weightsPath, readFile), weightsPath);
  const weights = takeWeights(tensors, config, weightsPath);
  const recorded = await readIfThere(referencePath, readFile);
  const reference = recorded && parseReference(decode(recorded), referencePath, config);
  return { config, weights, reference };
}

async function read(path: string, readFile: ReadFile): Promise<Uint8Array> {
  const bytes = await readIfThere(path, readFile);
  if (bytes !== undefined) return bytes;
  throw new InputError(
    `Cannot read ${path}: there is no such file; restore it, or name another folder by --model`,
  );
}

async function readIfThere(path: string, readFile: ReadFile): Promise<Uint8Array | undefined> {
  try {
    return await readFile(path);
  } catch (error) {
    const { code, message } = error as Error & { code?: string };
    if (code === "ENOENT") return undefined;
    throw new InputError(`Cannot read ${path}: ${message}`);
  }
}

function decode(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}
