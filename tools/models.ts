/**
 * Models as a program asks them, wherever that runs and their files come from.
 *
 * @module
 */

import { loadDecoder, loadEncoder } from "@flashtile/attention/models";
import { Tokenizer } from "@huggingface/tokenizers";

/** Reads a file of a model's folder. */
export type ReadFile = (name: string) => Promise<Uint8Array>;

async function json(read: ReadFile, name: string) {
  return JSON.parse(new TextDecoder().decode(await read(name)));
}

/** What a model whose tokens are bytes goes on with. */
export async function continueText(
  read: ReadFile,
  prompt: string,
  maxTokens: number,
): Promise<string> {
  const decoder = await loadDecoder({
    config: await json(read, "config.json"),
    weights: await read("model.safetensors"),
    tokenizer: {
      encode: (text) => new TextEncoder().encode(text),
      decode: (ids) => new TextDecoder().decode(Uint8Array.from(ids)),
    },
  });
  let text = "";
  for await (const { text: more } of decoder.generate(prompt, { maxTokens })) text += more;
  decoder.free();
  return text;
}

/** Vectors of texts by an encoder, as plain arrays. */
export async function embed(read: ReadFile, texts: readonly string[]): Promise<number[][]> {
  const encoder = await loadEncoder({
    config: await json(read, "config.json"),
    weights: await read("model.safetensors"),
    tokenizer: new Tokenizer(
      await json(read, "tokenizer.json"),
      await json(read, "tokenizer_config.json"),
    ),
  });
  const vectors = await encoder.embed(texts);
  encoder.free();
  return vectors.map((vector) => [...vector]);
}
