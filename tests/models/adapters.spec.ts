import { type Encoder, loadEncoder } from "@flashtile/attention/models";
import { assertEquals, assertRejects } from "@std/assert";
import { test } from "node:test";
import { embeddingModel } from "../../examples/adapters/ai_sdk.ts";
import { FlashTileEmbeddings } from "../../examples/adapters/langchain.ts";
import { randomLlama } from "../support/made_model.ts";
import { seeded } from "../support/random.ts";
import { varyingSeed } from "../support/seed.ts";

const texts = ["abba", "b", "edcba abc"];

/** A model whose tokens are letters, and its vectors of the texts. */
async function withEncoder(
  use: (encoder: Encoder, vectors: readonly number[][]) => Promise<void>,
): Promise<void> {
  const tokenizer = {
    encode: (text: string) => Array.from(text, (letter) => letter.charCodeAt(0) % 5),
    decode: (ids: number[]) => String(ids),
  };
  const encoder = await loadEncoder({ ...randomLlama(seeded(varyingSeed())), tokenizer });
  try {
    const vectors = await encoder.embed(texts, { pooling: "last" });
    await use(encoder, vectors.map((vector) => [...vector]));
  } finally {
    encoder.free();
  }
}

test("an encoder is an embedding model of the AI SDK", () =>
  withEncoder(async (encoder, vectors) => {
    const model = embeddingModel(encoder, "made", { pooling: "last" });
    assertEquals([model.specificationVersion, model.modelId], ["v4", "made"]);
    assertEquals((await model.doEmbed({ values: texts })).embeddings, vectors);
    const abortSignal = AbortSignal.abort(new Error("enough"));
    await assertRejects(
      async () => void await model.doEmbed({ values: texts, abortSignal }),
      Error,
      "enough",
    );
  }));

test("an encoder is LangChain's embeddings", () =>
  withEncoder(async (encoder, vectors) => {
    const embeddings = new FlashTileEmbeddings(encoder, { pooling: "last" });
    assertEquals(await embeddings.embedDocuments(texts), vectors);
    assertEquals(await embeddings.embedQuery(texts[2]), vectors[2]);
    assertEquals(await embeddings.embedDocuments([]), []);
  }));
