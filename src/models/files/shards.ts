/**
 * Weights in several safetensors files, with an index that says which tensor is in which.
 *
 * @module
 */

import { kindOf } from "../../check/words.ts";
import { cannot, type FileBytes } from "./bytes.ts";
import { openSafetensors } from "./safetensors.ts";
import { noTensor, type TensorEntry, type WeightFile } from "./weights.ts";

/** A model in several files. */
export interface Shards {
  /** The parsed `model.safetensors.index.json`. */
  readonly index: object;
  /** The files that it names, by name. */
  readonly files: Readonly<Record<string, FileBytes>>;
}

/** Which tensor is in which file. */
function weightMapOf(index: object): [string, string][] {
  const { weight_map: map } = index as { weight_map?: unknown };
  const entries = typeof map === "object" && map !== null ? Object.entries(map) : [];
  const wrong = entries.find(([, file]) => typeof file !== "string");
  if (entries.length > 0 && wrong === undefined) return entries as [string, string][];
  throw new TypeError(
    `${cannot}: \`index\` must be the parsed model.safetensors.index.json, with \`weight_map\` from ` +
      `tensors to files, got ${kindOf(wrong === undefined ? map : wrong[1])}`,
  );
}

/** A list in a message, cut where it is long. */
function listed(names: readonly string[]): string {
  const most = 20, more = names.length - most;
  return names.slice(0, most).join(", ") + (more > 0 ? ` and ${more} more` : "");
}

/**
 * Opens all files of a sharded model. Tensors that are in a file and not in the index are left out.
 *
 * @throws {RangeError} When files are missing, or tensors are not where the index says.
 */
export async function openShards({ index, files }: Shards): Promise<WeightFile> {
  const map = weightMapOf(index), names = [...new Set(map.map(([, file]) => file))];
  const missing = names.filter((name) => !Object.hasOwn(files, name));
  if (missing.length > 0) {
    throw new RangeError(`${cannot}: \`files\` lacks ${listed(missing)}, which the index names`);
  }
  const opened = new Map<string, WeightFile>();
  for (const name of names) opened.set(name, await openSafetensors(files[name]));
  const entries = new Map<string, TensorEntry>(), lost: string[] = [];
  for (const [name, file] of map) {
    const entry = opened.get(file)!.entries.get(name);
    if (entry === undefined) lost.push(`${name} (${file})`);
    else entries.set(name, entry);
  }
  if (lost.length > 0) {
    throw new RangeError(
      `${cannot}: tensors are not in the files that the index names: ${listed(lost)}`,
    );
  }
  const fileOf = new Map(map);
  return {
    ...{ format: "safetensors", entries },
    async read(name) {
      if (!entries.has(name)) throw noTensor(name);
      return await opened.get(fileOf.get(name)!)!.read(name);
    },
  };
}
