/**
 * The same worker by all-MiniLM-L6-v2, or another encoder that is published with a `tokenizer.json`. Its files are
 * modules of data in a folder `model` beside the script, where `serve.ts` puts them.
 *
 * @module
 */

import { Tokenizer } from "@huggingface/tokenizers";
// @ts-ignore: a module of data beside the script, as the others.
import config from "./model/config.json";
// @ts-ignore: The same.
import weights from "./model/model.safetensors";
// @ts-ignore: The same.
import tokenizer from "./model/tokenizer.json";
// @ts-ignore: The same.
import settings from "./model/tokenizer_config.json";
import { Embedder } from "./embedder.ts";
import { handlerOf } from "./handler.ts";

function parse(file: ArrayBuffer) {
  return JSON.parse(new TextDecoder().decode(file));
}

const { _name_or_path: name = "model", ...sizes } = parse(config);
const embedder = await Embedder.load({
  name,
  source: {
    config: sizes,
    weights: new Uint8Array(weights),
    tokenizer: new Tokenizer(parse(tokenizer), parse(settings)),
  },
  // As right as f32, in 0.7 of its time.
  precision: "int16",
  maxMemoryBytes: 48 * 2 ** 20,
});

export default handlerOf(embedder);
