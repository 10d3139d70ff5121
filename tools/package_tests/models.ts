/**
 * A user's program of models: `decoder FOLDER`, the demo's small Llama, goes on with texts as PyTorch does; `encoder
 * FOLDER`, all-MiniLM-L6-v2, embeds texts as another implementation does. Prints what it found as one line of JSON.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { readFile } from "node:fs/promises";
import process from "node:process";
import { loadDecoder, loadEncoder } from "@flashtile/attention/models";
import { Tokenizer } from "@huggingface/tokenizers";

const [kind, folder] = process.argv.slice(2);

async function json(name: string) {
  return JSON.parse(await readFile(`${folder}/${name}`, "utf8"));
}

/** A token of the small model is a byte. */
const bytes = {
  encode: (text: string) => new TextEncoder().encode(text),
  decode: (ids: number[]) => new TextDecoder().decode(Uint8Array.from(ids)),
};

/** Largest difference of logits, and whether texts go on with the same bytes. */
async function continueTexts() {
  const config = await json("config.json");
  const weights = await readFile(`${folder}/model.safetensors`);
  const decoder = await loadDecoder({ config, weights, tokenizer: bytes });
  const { prompts } = await json("reference.json");
  let difference = 0, same = prompts.length > 0;
  for (const { prompt, last_logits, greedy } of prompts) {
    const wanted = Buffer.from(last_logits, "base64");
    const { data } = await decoder.logits(bytes.encode(prompt)), last = data.subarray(-256);
    for (const [at, logit] of last.entries()) {
      difference = Math.max(difference, Math.abs(logit - wanted.readFloatLE(4 * at)));
    }
    let text = "";
    for await (const { text: more } of decoder.generate(prompt, { maxTokens: 16 })) text += more;
    same &&= text === greedy.slice(0, 16);
  }
  decoder.free();
  return { difference, same };
}

interface Text {
  readonly text: string;
  readonly ids: readonly number[];
  readonly embedding: readonly number[];
}

/** The least cosine to the reference of the shortest texts, and whether the first has the same bits alone. */
async function embedTexts(count: number) {
  const tokenizer = new Tokenizer(
    await json("tokenizer.json"),
    await json("tokenizer_config.json"),
  );
  const config = await json("config.json");
  const weights = await readFile(`${folder}/model.safetensors`);
  const encoder = await loadEncoder({ config, weights, tokenizer });
  const { texts } = await json("embeddings.json") as { texts: Text[] };
  const some = texts.sort((a, b) => a.ids.length - b.ids.length).slice(0, count);
  const vectors = await encoder.embed(some.map(({ text }) => text));
  const cosines = some.map(({ embedding }, at) =>
    embedding.reduce((sum, x, i) => sum + x * vectors[at][i], 0)
  );
  const [alone] = await encoder.embed([some[0].text]);
  encoder.free();
  return {
    least: Math.min(...cosines),
    texts: vectors.length,
    alone: alone.every((x, at) => x === vectors[0][at]),
  };
}

const found = kind === "decoder" ? await continueTexts() : await embedTexts(24);
console.log(JSON.stringify(found));
