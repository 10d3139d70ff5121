/**
 * Models that answer: encoders that turn texts into vectors, decoders that continue them, from their published files.
 *
 * ```ts
 * import { loadDecoder, loadEncoder } from "@flashtile/attention/models";
 * import { readFile } from "node:fs/promises";
 *
 * const folder = "examples/llama/model/"; // a small Llama whose tokens are bytes
 * const config = JSON.parse(await readFile(folder + "config.json", "utf8"));
 * const weights = new Uint8Array(await readFile(folder + "model.safetensors"));
 *
 * const decoder = await loadDecoder({ config, weights });
 * const prompt = new TextEncoder().encode("In the beginning");
 * for await (const { token } of decoder.generate(prompt, { maxTokens: 5 })) console.log(token);
 * decoder.free();
 *
 * const encoder = await loadEncoder({ config, weights }, { precision: "int16" });
 * const [vector] = await encoder.embed([prompt], { pooling: "last" });
 * console.log(vector.length); // 192
 * encoder.free();
 * ```
 *
 * @module
 */

import { provideRunners } from "../nn/runners.ts";

export { type Decoder, type GeneratedToken, type GenerateOptions, loadDecoder } from "./decoder.ts";
export type { DecoderSession, PassOptions, SessionOptions } from "./session.ts";
export type { LayeredCache, ShardedSession, ShardedSessionOptions } from "./sharded_session.ts";
export {
  type EmbedOptions,
  type Encoder,
  type EncoderSource,
  loadEncoder,
  type LoadEncoderOptions,
  type StatesOptions,
} from "./encoder.ts";
export type { LoadedModel, LoadOptions, ModelSource } from "./load.ts";
export type { LoadProgress } from "./forward/weights.ts";
export type { Text } from "./texts.ts";
export type { Modules, Pooling } from "./architectures/modules.ts";
export type { FileBytes, RangeReader } from "./files/bytes.ts";
export type { WeightsGiven } from "./files/open.ts";
export type { Shards } from "./files/shards.ts";
export { sentencePiece } from "./tokens/sentence_piece.ts";
export type { TextStream, Tokenizer, TokenizerLike } from "./tokens/tokenizer.ts";

provideRunners();
