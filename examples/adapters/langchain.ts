/**
 * An encoder as LangChain's embeddings.
 *
 * @module
 */

import type { EmbedOptions, Encoder } from "@flashtile/attention/models";
import type { EmbeddingsInterface } from "@langchain/core/embeddings";

/** What vector stores of LangChain take. */
export class FlashTileEmbeddings implements EmbeddingsInterface {
  readonly #encoder: Encoder;
  readonly #options: Pick<EmbedOptions, "pooling" | "normalize">;

  /**
   * @param encoder What `loadEncoder()` gave; the caller frees it.
   * @param options How states become vectors.
   */
  constructor(encoder: Encoder, options: Pick<EmbedOptions, "pooling" | "normalize"> = {}) {
    this.#encoder = encoder;
    this.#options = options;
  }

  /** Embeds texts, packed into as few passes as they fit in. */
  async embedDocuments(documents: readonly string[]): Promise<number[][]> {
    const vectors = await this.#encoder.embed(documents, this.#options);
    return vectors.map((vector) => [...vector]);
  }

  /** Embeds one text. */
  async embedQuery(document: string): Promise<number[]> {
    const [vector] = await this.embedDocuments([document]);
    return vector;
  }
}
