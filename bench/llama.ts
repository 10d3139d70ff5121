/**
 * The demo's trained model for the benches: real text, and the queries, keys and values that its
 * attention gets from it.
 *
 * @module
 */

import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { readModelFiles } from "../examples/llama/files.ts";
import { Llama } from "../examples/llama/model.ts";
import { readInChunks } from "../examples/llama/read.ts";
import type {
  AnyTensor,
  CacheAttentionOptions,
  Engine,
  KvCache,
  KvCacheOptions,
  Precision,
  Tensor,
} from "../mod.ts";

const folder = fileURLToPath(new URL("../examples/llama/model", import.meta.url));

/** The model, its attention by an engine. */
export async function loadLlama(engine: Engine): Promise<Llama> {
  const { config, weights } = await readModelFiles(folder, readFile);
  return new Llama(config, weights, engine);
}

/** Text that the model was not trained on. */
export async function heldOutText(): Promise<Uint8Array> {
  return new Uint8Array(await readFile(`${folder}/held_out_text.txt`));
}

/** What the attention of a layer is between, each `[B, N, H, D]`. */
export interface Operands {
  readonly q: Tensor<Float32Array>;
  readonly k: Tensor<Float32Array>;
  readonly v: Tensor<Float32Array>;
}

/**
 * Reads windows of the held-out text, and records what each layer's attention is between.
 *
 * @param engine Does the attention.
 * @param windows How many windows, each as long as the model's context.
 */
export async function recordLayers(engine: Engine, windows: number): Promise<Operands[]> {
  const layers: Operands[] = [];
  const model = await loadLlama(replaced(engine, {
    kvCache: (options: KvCacheOptions) => recorded(engine.kvCache(options), layers),
  }));
  const text = await heldOutText(), { context } = model.config;
  const texts = Array.from(
    { length: windows },
    (_, at) => text.subarray(at * context, (at + 1) * context),
  );
  await readInChunks(model, texts, { chunk: context });
  return layers;
}

/** An engine whose caches are attended to in a precision. */
export function withPrecision(engine: Engine, precision: Precision): Engine {
  return replaced(engine, {
    kvCache: (options: KvCacheOptions) => {
      const cache = engine.kvCache(options);
      return replaced(cache, {
        attend: (q: Tensor, options: CacheAttentionOptions) =>
          cache.attend(q, { ...options, precision }),
      });
    },
  });
}

/** A cache that tells what is appended and asked: one chunk holds all of its tokens. */
function recorded(cache: KvCache, layers: Operands[]): KvCache {
  let appended: Pick<Operands, "k" | "v">;
  return replaced(cache, {
    append: (...given: Parameters<KvCache["append"]>) => {
      appended = { k: copied(given[0]), v: copied(given[1]) };
      cache.append(...given);
    },
    attend: (q: Tensor, options: object) => {
      layers.push({ q: copied(q), ...appended });
      return cache.attend(q, options);
    },
  });
}

/** An object with some methods replaced; the others are called on itself, for its private fields. */
function replaced<T extends object>(target: T, methods: Record<string, unknown>): T {
  return new Proxy(target, {
    get(_, name) {
      if (Object.hasOwn(methods, name)) return methods[name as string];
      const value = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

/** The model uses its arrays again for the next layer. */
function copied({ data, shape }: AnyTensor): Tensor<Float32Array> {
  const length = shape.reduce((product, extent) => product * extent);
  return { data: (data as Float32Array).slice(0, length), shape };
}
