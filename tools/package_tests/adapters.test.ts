/**
 * The adapters of `examples/adapters/` where those call them that they are for: the AI SDK, and a vector store of
 * LangChain's.
 *
 * @module
 */

import { FakeVectorStore } from "@langchain/core/utils/testing";
import { assertEquals } from "@std/assert";
import { embed, embedMany } from "ai";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { embeddingModel } from "../../examples/adapters/ai_sdk.ts";
import { FlashTileEmbeddings } from "../../examples/adapters/langchain.ts";
import { loadEncoder } from "../../src/models/mod.ts";

const folder = "examples/llama/model/";
const encoder = await loadEncoder({
  config: JSON.parse(await readFile(folder + "config.json", "utf8")),
  weights: await readFile(folder + "model.safetensors"),
  tokenizer: {
    encode: (text) => new TextEncoder().encode(text),
    decode: (ids) => new TextDecoder().decode(Uint8Array.from(ids)),
  },
});
const values = ["In the beginning", "And the king", "1 2 3"];
const vectors = (await encoder.embed(values)).map((vector) => [...vector]);

test("the AI SDK embeds texts by an encoder", async () => {
  const model = embeddingModel(encoder, "examples/llama");
  assertEquals((await embedMany({ model, values })).embeddings, vectors);
  assertEquals((await embed({ model, value: values[1] })).embedding, vectors[1]);
});

test("a vector store of LangChain's finds texts by an encoder", async () => {
  const embeddings = new FlashTileEmbeddings(encoder);
  const metadata = values.map((_, at) => ({ at }));
  const store = await FakeVectorStore.fromTexts(values, metadata, embeddings);
  const found = await store.similaritySearch("And the king", 1);
  assertEquals(found.map(({ pageContent, metadata }) => [pageContent, metadata.at]), [
    ["And the king", 1],
  ]);
});
