/**
 * An encoder as an embedding model of the AI SDK.
 *
 * @module
 */

import type { EmbeddingModelV4 } from "@ai-sdk/provider";
import type { EmbedOptions, Encoder } from "@flashtile/attention/models";

/**
 * Makes an embedding model for `embed()` and `embedMany()` of the package `ai`.
 *
 * @param encoder What `loadEncoder()` gave; the caller frees it.
 * @param modelId What logs call the model.
 * @param options How states become vectors.
 */
export function embeddingModel(
  encoder: Encoder,
  modelId: string,
  options: Pick<EmbedOptions, "pooling" | "normalize"> = {},
): EmbeddingModelV4 {
  return {
    specificationVersion: "v4",
    provider: "flashtile",
    modelId,
    maxEmbeddingsPerCall: Infinity,
    supportsParallelCalls: false, // Calls of an encoder run one after the other.
    async doEmbed({ values, dimensions, abortSignal }) {
      const warnings = dimensions === undefined || dimensions === encoder.dimensions
        ? []
        : [{ type: "unsupported", feature: "dimensions" } as const];
      const vectors = await encoder.embed(values, { ...options, signal: abortSignal });
      return { embeddings: vectors.map((vector) => [...vector]), warnings };
    },
  };
}
