/**
 * A model's weights in an engine's memory: linear layers packed, norms and biases widened. The table of tokens
 * stays in its file's bytes.
 *
 * @module
 */

import { type SignalLike, throwIfAborted } from "../../check/errors.ts";
import type { EngineTensor } from "../../contract/backend.ts";
import type { Engine } from "../../engine/engine.ts";
import { embedding } from "../../nn/embedding.ts";
import { packLinear } from "../../nn/linear.ts";
import type { LinearDType, LinearPrecision } from "../../operations/nn/options.ts";
import type { TensorData } from "../../tensor/dtype.ts";
import type { LayerPlan, LinearTensors, ModelPlan, NormTensors } from "../architectures/model.ts";
import type { StoredTensor, TensorEntry, WeightFile } from "../files/weights.ts";
import { widened } from "../files/widen.ts";
import type { LinearWeights, NormWeights } from "./layers.ts";
import { TokenTable } from "./table.ts";

/** How weights are kept and multiplied. */
export interface Keeping {
  /** Nothing where weights are kept as they are in the file, or as the precision needs them. */
  readonly dtype: LinearDType | undefined;
  readonly precision: LinearPrecision;
}

/** Told of weights that were read. */
export interface LoadProgress {
  /** Bytes of the file that are in place. */
  readonly done: number;
  /** Bytes of all that the model needs. */
  readonly total: number;
}

/** What loading is done with. */
export interface Loading extends Keeping {
  readonly engine: Engine;
  readonly onProgress: ((progress: LoadProgress) => void) | undefined;
  readonly signal: SignalLike | null | undefined;
}

/** A layer: what its plan says, and its weights under the same names. */
export interface LayerWeights extends Pick<LayerPlan, "window" | "rope"> {
  readonly attentionNorm: NormWeights | undefined;
  readonly qkv: LinearWeights;
  readonly queryNorm: NormWeights | undefined;
  readonly keyNorm: NormWeights | undefined;
  readonly output: LinearWeights;
  readonly attentionAfter: NormWeights | undefined;
  readonly feedNorm: NormWeights;
  readonly feed: LinearWeights;
  readonly down: LinearWeights;
  readonly feedAfter: NormWeights | undefined;
}

/** A model's weights. */
export interface ModelWeights {
  readonly tokens: TokenTable;
  /** Added to a token by its position, kinds of tokens included: a row for each, or one for all. */
  readonly places: EngineTensor<TensorData> | undefined;
  readonly embeddingNorm: NormWeights | undefined;
  /** Biases of scores by distance, `[buckets, heads]`. */
  readonly relative: Float32Array | undefined;
  readonly layers: readonly LayerWeights[];
  readonly finalNorm: NormWeights | undefined;
  readonly head: LinearWeights | undefined;
}

/** Several of them as one, their outputs one behind the other: of blocks the bytes. */
function joined(parts: readonly StoredTensor[]): StoredTensor {
  const [first] = parts;
  if (parts.length === 1) return first;
  if (parts.some(({ dtype }) => dtype !== first.dtype)) {
    return joined(parts.map((part) => ({ ...part, data: widened(part), dtype: "f32" })));
  }
  const Kind = first.data.constructor as new (length: number) => Uint8Array;
  const data = new Kind(parts.reduce((sum, part) => sum + part.data.length, 0));
  let at = 0;
  for (const part of parts) {
    data.set(part.data as Uint8Array, at);
    at += part.data.length;
  }
  const outputs = parts.reduce((sum, { shape }) => sum + shape[0], 0);
  return { data, shape: [outputs, ...first.shape.slice(1)], dtype: first.dtype };
}

function isInBlocks({ dtype }: StoredTensor): boolean {
  return dtype === "q8_0" || dtype === "q4_0";
}

/** Reads tensors into an engine's memory, and gives all of it back. */
export class WeightReader {
  readonly #file: WeightFile;
  readonly #loading: Loading;
  readonly #total: number;
  readonly #owned: { free(): void }[] = [];
  #done = 0;

  /** @param total Bytes that will be read. */
  constructor(file: WeightFile, loading: Loading, total = 0) {
    this.#file = file;
    this.#loading = loading;
    this.#total = total;
  }

  /** Reads a tensor as it is stored. */
  async stored({ name, bytes }: TensorEntry): Promise<StoredTensor> {
    const { signal, onProgress } = this.#loading;
    throwIfAborted(signal);
    const stored = await this.#file.read(name);
    throwIfAborted(signal);
    this.#done += bytes;
    onProgress?.({ done: this.#done, total: Math.max(this.#done, this.#total) });
    return stored;
  }

  /** Numbers in an engine's memory, whichever that is: a row, or rows. */
  async keep(data: Float32Array, shape: readonly number[]): Promise<EngineTensor<TensorData>> {
    const { engine } = this.#loading, kept = this.#own(engine.tensor(shape));
    const rows = [shape.length === 1 ? 1 : shape[0], shape.at(-1)!];
    const all = Int32Array.from({ length: rows[0] }, (_, at) => at);
    await embedding(all, { data, shape: rows }, {
      ...{ engine, out: { data: kept.data, shape: rows, dtype: "f32" } },
    });
    return kept;
  }

  /** Reads linear layers of the same inputs as one. Where there are several, rows are outputs. */
  async linear(all: readonly LinearTensors[]): Promise<LinearWeights> {
    const { engine, dtype, precision, signal } = this.#loading;
    const parts: StoredTensor[] = [];
    for (const { weight } of all) parts.push(await this.stored(weight));
    let stored = joined(parts);
    // Blocks are bytes already, and go with each precision.
    const wanted = isInBlocks(stored)
      ? dtype
      : dtype ?? (precision === "f32" ? undefined : precision);
    if (isInBlocks(stored) && wanted !== undefined && wanted !== "int8") {
      stored = { ...stored, data: widened(stored), dtype: "f32" };
    }
    const weight = stored as Parameters<typeof packLinear>[0], [{ layout }] = all;
    const packed = this.#own(await packLinear(weight, { engine, layout, dtype: wanted, signal }));
    return { packed, bias: await this.#bias(all) };
  }

  async #bias(all: readonly LinearTensors[]): Promise<EngineTensor<TensorData> | undefined> {
    if (all.every(({ bias }) => bias === undefined)) return undefined;
    const outputs = all.reduce((sum, one) => sum + one.outputs, 0),
      data = new Float32Array(outputs);
    let at = 0;
    for (const { bias, outputs } of all) {
      if (bias !== undefined) data.set(widened(await this.stored(bias)), at);
      at += outputs;
    }
    return await this.keep(data, [outputs]);
  }

  /** Reads a norm, if there is one. */
  async norm(tensors: NormTensors): Promise<NormWeights>;
  async norm(tensors: NormTensors | undefined): Promise<NormWeights | undefined>;
  async norm(tensors: NormTensors | undefined): Promise<NormWeights | undefined> {
    if (tensors === undefined) return undefined;
    const read = async (entry: TensorEntry) =>
      await this.keep(widened(await this.stored(entry)), entry.shape);
    const { weight, bias } = tensors;
    return { weight: await read(weight), bias: bias === undefined ? null : await read(bias) };
  }

  /** Gives all memory back. */
  free(): void {
    for (const one of this.#owned.splice(0)) one.free();
  }

  #own<Owned extends { free(): void }>(owned: Owned): Owned {
    this.#owned.push(owned);
    return owned;
  }
}

/** Every tensor of a plan. */
function* tensorsOf(value: unknown): Generator<TensorEntry> {
  if (typeof value !== "object" || value === null) return;
  if ("bytes" in value) yield value as TensorEntry;
  else for (const one of Object.values(value)) yield* tensorsOf(one);
}

/** Bytes of what a model reads: what has two readers is read twice. */
function bytesOf(plan: ModelPlan): number {
  return [...tensorsOf(plan)].reduce((sum, { bytes }) => sum + bytes, 0);
}

/** What is added to tokens by their positions. */
async function readPlaces(
  reader: WeightReader,
  { embedding, width }: ModelPlan,
  maxTokens: number,
): Promise<EngineTensor<TensorData> | undefined> {
  const { positions, types, firstPosition } = embedding;
  if (positions === undefined && types === undefined) return undefined;
  const kind = types && widened(await reader.stored(types)).subarray(0, width);
  if (positions === undefined) return await reader.keep(kind!, [1, width]);
  const table = widened(await reader.stored(positions))
    .slice(firstPosition * width, (firstPosition + maxTokens) * width);
  if (kind !== undefined) {
    for (let at = 0; at < table.length; at++) table[at] += kind[at % width];
  }
  return await reader.keep(table, [maxTokens, width]);
}

async function readLayer(reader: WeightReader, layer: LayerPlan): Promise<LayerWeights> {
  const { window, rope } = layer;
  return {
    ...{ window, rope },
    attentionNorm: await reader.norm(layer.attentionNorm),
    qkv: await reader.linear(layer.qkv),
    queryNorm: await reader.norm(layer.queryNorm),
    keyNorm: await reader.norm(layer.keyNorm),
    output: await reader.linear([layer.output]),
    attentionAfter: await reader.norm(layer.attentionAfter),
    feedNorm: await reader.norm(layer.feedNorm),
    feed: await reader.linear(layer.feed),
    down: await reader.linear([layer.down]),
    feedAfter: await reader.norm(layer.feedAfter),
  };
}

/**
 * Reads all weights of a model.
 *
 * @returns They, and what gives their memory back. Where this throws, nothing of it is kept.
 */
export async function readWeights(
  plan: ModelPlan,
  file: WeightFile,
  maxTokens: number,
  loading: Loading,
): Promise<{ readonly weights: ModelWeights; free(): void }> {
  const reader = new WeightReader(file, loading, bytesOf(plan));
  const { embedding, relative, finalNorm, head } = plan;
  try {
    const layers: LayerWeights[] = [];
    for (const layer of plan.layers) layers.push(await readLayer(reader, layer));
    const weights = {
      layers,
      tokens: new TokenTable(await reader.stored(embedding.tokens), embedding.scale),
      places: await readPlaces(reader, plan, maxTokens),
      embeddingNorm: await reader.norm(embedding.norm),
      relative: relative && widened(await reader.stored(relative)),
      finalNorm: await reader.norm(finalNorm),
      head: head && await reader.linear([head]),
    };
    return { weights, free: () => reader.free() };
  } catch (error) {
    reader.free();
    throw error;
  }
}
