/**
 * The files of a model folder.
 *
 * @module
 */

import type { Engine } from "@flashtile/attention";
import { type Decoder, loadDecoder, type ModelSource } from "@flashtile/attention/models";
import { join } from "node:path";
import { InputError } from "./error.ts";
import { parseReference, type Reference } from "./reference.ts";

/** Read in this order, so that of several faults always the same one is named. */
const names = ["config.json", "model.safetensors", "reference.json"];

/** Tokens that there are: a token is a byte. */
const BYTES = 256;

/** Reads a whole file. */
export type ReadFile = (path: string) => Promise<Uint8Array>;

/** What a model folder holds, checked. */
export interface Model {
  /** Of `config.json` and `model.safetensors`; it goes with its engine. */
  readonly decoder: Decoder;
  /** `reference.json`, where there is one: a model that was just trained has none. */
  readonly reference?: Reference;
}

/**
 * Opens a model folder.
 *
 * @param folder Path of the folder.
 * @param readFile Reads its files.
 * @param engine Runs the model; the caller closes it.
 * @throws {InputError} When a file is missing or damaged, or is of a model whose tokens are no bytes.
 */
export async function openModel(
  folder: string,
  readFile: ReadFile,
  engine: Engine,
): Promise<Model> {
  const [configPath, weightsPath, referencePath] = names.map((name) => join(folder, name));
  const config = parse(await read(configPath, readFile), configPath);
  const weights = await read(weightsPath, readFile);
  const decoder = await load({ config, weights }, engine, folder);
  const recorded = await readIfThere(referencePath, readFile);
  const reference = recorded && parseReference(decode(recorded), referencePath, decoder);
  return { decoder, reference };
}

/** The library's own words say what is wrong with a file. */
async function load(source: ModelSource, engine: Engine, folder: string): Promise<Decoder> {
  const decoder = await loadDecoder(source, { engine }).catch((error) => {
    if (!(error instanceof RangeError || error instanceof TypeError)) throw error;
    throw new InputError(`Cannot use ${folder}: ${error.message}`);
  });
  if (decoder.vocabulary === BYTES) return decoder;
  throw new InputError(
    `Cannot use ${folder}: \`vocab_size\` must be ${BYTES}, a token of this demo is a byte, ` +
      `got ${decoder.vocabulary}`,
  );
}

function parse(bytes: Uint8Array, path: string): object {
  try {
    return JSON.parse(decode(bytes));
  } catch (error) {
    throw new InputError(`Cannot use ${path}: it is not JSON: ${(error as Error).message}`);
  }
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
