/**
 * Opens weights of whatever format: what they are shows from their first bytes. Formats but one safetensors file are
 * loaded when such a file comes.
 *
 * @module
 */

import { checkOneOf } from "../../check/words.ts";
import { cannot, type FileBytes, openBytes } from "./bytes.ts";
import type { GgufFile } from "./gguf.ts";
import type { Llama2cFile } from "./llama2c.ts";
import { openSafetensors } from "./safetensors.ts";
import type { Shards } from "./shards.ts";
import type { WeightFile } from "./weights.ts";

/** Weights as they are given. */
export type WeightsGiven = FileBytes | Shards;

/** A file of weights, with what its head says of the model. */
export type OpenedWeights = WeightFile | GgufFile | Llama2cFile;

/** Whether what is given as weights is several files. */
function isShards(given: unknown): given is Shards {
  const { index, files } = Object(given) as Partial<Shards>;
  return typeof index === "object" && index !== null && typeof files === "object" && files !== null;
}

/**
 * Opens weights. `format` needs to be told for `"llama2.c"` alone, whose files say nothing of themselves.
 *
 * @throws {RangeError} When a file is cut off, lies or is something else.
 */
export async function openWeights(
  given: WeightsGiven,
  format?: WeightFile["format"],
): Promise<OpenedWeights> {
  checkOneOf("format", format, ["safetensors", "gguf", "llama2.c"], cannot);
  if (isShards(given)) return await (await import("./shards.ts")).openShards(given);
  if (format === "llama2.c") return await (await import("./llama2c.ts")).openLlama2c(given);
  if (format === "safetensors") return await openSafetensors(given);
  const isGguf = format === "gguf" || await beginsAsGguf(given);
  if (!isGguf) return await openSafetensors(given);
  return await (await import("./gguf.ts")).openGguf(given);
}

async function beginsAsGguf(given: FileBytes): Promise<boolean> {
  const magic = String.fromCharCode(...await openBytes(given).upTo(0, 4));
  return magic === "GGUF" || magic === "FUGG";
}
