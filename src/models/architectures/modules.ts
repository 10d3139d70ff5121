/**
 * What sentence-transformers' `modules.json` says becomes of a text's states: how they are pooled, through which
 * linear layers the result goes, and whether it is divided by its length.
 *
 * @module
 */

import { kindOf } from "../../check/words.ts";
import type { FileBytes } from "../files/bytes.ts";
import { openSafetensors } from "../files/safetensors.ts";
import type { WeightFile } from "../files/weights.ts";
import type { Activation } from "./architecture.ts";
import { Claims } from "./claims.ts";
import { type Config, Fields } from "./fields.ts";
import type { LinearTensors } from "./model.ts";

const cannot = "Cannot read the model's modules";

/** A model's modules: the parsed `modules.json`, and the files that its entries have in their folders. */
export interface Modules {
  /** The parsed `modules.json`. */
  readonly list: readonly object[];
  /** By path: parsed JSON (`"1_Pooling/config.json"`), or weights (`"2_Dense/model.safetensors"`). */
  readonly files: Readonly<Record<string, object | FileBytes>>;
}

/** How a text's states become one row: their mean, the first, or the last. */
export type Pooling = "mean" | "cls" | "last";

/** A linear layer behind pooling. */
export interface DensePlan {
  readonly linear: LinearTensors;
  /** Nothing where numbers stay as they are. */
  readonly activation?: Activation;
  /** Where its tensors are. */
  readonly file: WeightFile;
}

/** What becomes of a text's states. */
export interface EmbeddingPlan {
  readonly pooling: Pooling;
  readonly dense: readonly DensePlan[];
  /** Whether the result is divided by its length. */
  readonly normalize: boolean;
  /** Numbers of an embedding. */
  readonly dimensions: number;
}

/** Fields of a pooling's config that are true, and what they are here. */
const poolings: Readonly<Record<string, Pooling | null>> = {
  pooling_mode_mean_tokens: "mean",
  pooling_mode_cls_token: "cls",
  pooling_mode_lasttoken: "last",
  pooling_mode_max_tokens: null,
  pooling_mode_mean_sqrt_len_tokens: null,
  pooling_mode_weightedmean_tokens: null,
};

/** The same where one field says it. */
const poolingWords: Readonly<Record<string, Pooling>> = {
  mean: "mean",
  cls: "cls",
  lasttoken: "last",
};

/** Classes of activations, by the last word of their names. */
const denseActivations: Readonly<Record<string, Activation | undefined>> = {
  Identity: undefined,
  Tanh: "tanh",
  GELU: "gelu",
  ReLU: "relu",
  SiLU: "silu",
};

function wrong(what: string): RangeError {
  return new RangeError(`${cannot}: ${what}`);
}

function lastWord(name: unknown): string {
  return String(name).split(".").at(-1)!;
}

function fileAt({ files }: Modules, path: string): object | FileBytes {
  if (Object.hasOwn(files, path)) return files[path];
  throw wrong(`\`modules.files\` lacks ${path}`);
}

function configAt(modules: Modules, path: string): Config {
  const config: unknown = fileAt(modules, path);
  if (typeof config === "object" && config !== null && !ArrayBuffer.isView(config)) {
    return config as Config;
  }
  throw new TypeError(`${cannot}: ${path} must be parsed JSON, got ${kindOf(config)}`);
}

function readPooling(config: Config): Pooling {
  const { pooling_mode: word } = config;
  if (typeof word === "string") {
    if (Object.hasOwn(poolingWords, word)) return poolingWords[word];
    throw wrong(`pooling by "${word}" is not supported`);
  }
  const modes = Object.keys(poolings).filter((name) => config[name] === true);
  const [mode] = modes;
  if (modes.length === 1 && poolings[mode] !== null) return poolings[mode]!;
  throw wrong(`pooling by ${modes.join(" and ") || "nothing"} is not supported`);
}

async function readDense(modules: Modules, folder: string, width: number): Promise<DensePlan> {
  const fields = new Fields(configAt(modules, `${folder}/config.json`));
  const inputs = fields.count(["in_features"]), outputs = fields.count(["out_features"]);
  if (inputs !== width) fields.problems.push(`\`in_features\` must be ${width}, got ${inputs}`);
  const name = lastWord(fields.given("activation_function") ?? "Identity");
  if (!Object.hasOwn(denseActivations, name)) {
    fields.problems.push(`\`activation_function\` ${name} is not supported`);
  }
  const file = await openSafetensors(fileAt(modules, `${folder}/model.safetensors`));
  const claims = new Claims(file.entries), shape = { inputs, outputs, layout: "out-in" } as const;
  const linear = claims.linear("linear", shape, (fields.given("bias") ?? true) === true);
  const problems = [...fields.problems, ...claims.problems(() => false)];
  if (problems.length > 0) throw wrong(`${folder}: ${problems.join("; ")}`);
  return { linear, activation: denseActivations[name], file };
}

/** A module of the list: its class and its folder. */
function readModule(module: unknown, at: number): { kind: string; folder: string } {
  const { type, path } = Object(module) as Config;
  if (typeof type === "string" && typeof path === "string") {
    return { kind: lastWord(type), folder: path };
  }
  throw new TypeError(`${cannot}: \`modules.list[${at}]\` must have a \`type\` and a \`path\``);
}

/**
 * Reads what becomes of states.
 *
 * @param modules The list and its files.
 * @param width Numbers of a state.
 * @throws {TypeError} When something is of a wrong kind.
 * @throws {RangeError} When files are missing, or a module is of a kind that is not known.
 */
export async function readModules(modules: Modules, width: number): Promise<EmbeddingPlan> {
  const { list, files } = Object(modules) as Modules;
  if (!Array.isArray(list) || typeof files !== "object" || files === null) {
    throw new TypeError(
      `${cannot}: \`modules\` must be { list, files }, the parsed modules.json and what its entries ` +
        `have, got ${kindOf(modules)}`,
    );
  }
  const dense: DensePlan[] = [];
  let pooling: Pooling | undefined, normalize = false, dimensions = width;
  for (const { kind, folder } of list.map(readModule)) {
    if (kind === "Pooling" && pooling === undefined) {
      pooling = readPooling(configAt(modules, `${folder}/config.json`));
    } else if (kind === "Dense" && pooling !== undefined && !normalize) {
      dense.push(await readDense(modules, folder, dimensions));
      dimensions = dense.at(-1)!.linear.outputs;
    } else if (kind === "Normalize" && pooling !== undefined) normalize = true;
    else if (kind !== "Transformer" || pooling !== undefined) {
      throw wrong(`a module ${kind} in this place is not supported`);
    }
  }
  if (pooling === undefined) throw wrong("`modules.list` has no pooling");
  return { pooling, dense, normalize, dimensions };
}
