/**
 * Decoders: logits, and texts that go on.
 *
 * @module
 */

import { type SignalLike, throwIfAborted } from "../check/errors.ts";
import { isWhole, kindOf, readOptions } from "../check/words.ts";
import { draw, greatest, readSampling } from "../operations/nn/sampling.ts";
import { sampleNames, type SampleOptions } from "../operations/nn/options.ts";
import type { NumberList, Tensor } from "../tensor/tensor.ts";
import type { OpenedWeights } from "./files/open.ts";
import {
  type LoadedModel,
  loadModel,
  loadNames,
  type LoadOptions,
  type ModelSource,
  openModel,
  readLoading,
  readSource,
  type Resident,
  sourceNames,
} from "./load.ts";
import {
  type DecoderSession,
  type PassOptions,
  Session,
  type SessionOptions,
  writeLogits,
} from "./session.ts";
import {
  RemoteSession,
  type ShardedSession,
  type ShardedSessionOptions,
} from "./sharded_session.ts";
import { checkLength, encode, readIds, type Text } from "./texts.ts";
import { ggufTokenizer } from "./tokens/sentence_piece.ts";
import {
  streamOf,
  type TextStream,
  type Tokenizer,
  type TokenizerLike,
} from "./tokens/tokenizer.ts";

/** A token that was chosen. */
export interface GeneratedToken {
  /** Its id. */
  readonly token: number;
  /**
   * What the text grows by; a character whose bytes are spread over tokens comes with its last. Without a tokenizer
   * nothing.
   */
  readonly text: string;
}

/** Options of `decoder.generate()`. */
export interface GenerateOptions {
  /** Tokens that are added at most; by default as many as fit behind the prompt. */
  readonly maxTokens?: number | undefined;
  /** How each is chosen: `"greedy"`, the default, takes the likeliest; or what `sample()` of `./nn` takes. */
  readonly sampling?: "greedy" | SampleOptions | undefined;
  /** Told of each token before it is given. */
  readonly onToken?: ((token: GeneratedToken) => void) | undefined;
  /** Ends the text: what waits for its next token rejects with `signal.reason`. */
  readonly signal?: SignalLike | null | undefined;
}

const generateNames = [
  "maxTokens",
  "sampling",
  "onToken",
  "signal",
] as const satisfies readonly (keyof GenerateOptions)[];

/** A model that says what follows. Made by `loadDecoder()`. */
export interface Decoder extends LoadedModel {
  /**
   * Logits of each token: what follows it.
   *
   * @param ids At least one.
   * @returns `[tokens, vocabulary]`.
   * @throws {RangeError} When ids are out of range, or more than the model takes.
   */
  logits(ids: NumberList, options?: PassOptions): Promise<Tensor>;
  /**
   * Continues a text, token by token, until the model's end token, which is not given.
   *
   * @param prompt A text, which gets the beginning token where the vocabulary says so; or ids, which get none.
   * @throws {TypeError} When an option is unknown or of a wrong kind.
   * @throws {RangeError} When values are out of range, or the prompt leaves no room.
   */
  generate(prompt: Text, options?: GenerateOptions): AsyncGenerator<GeneratedToken, void, void>;
  /** Sequences that go on as the caller wants. */
  session(options?: SessionOptions): DecoderSession;
  /** The same with keys and values on other machines: see `shardedCache()` of `./sharded`. */
  session(options: ShardedSessionOptions): ShardedSession;
}

const cannotLoad = "Cannot load the decoder", cannotGenerate = "Cannot generate";

/** Chooses an id of logits. */
type Choose = (logits: Float32Array) => number;

function readChoice(sampling: unknown): Choose {
  if (sampling === undefined || sampling === "greedy") return greatest;
  if (typeof sampling === "string") {
    throw new TypeError(
      `${cannotGenerate}: \`sampling\` must be "greedy" or options of \`sample()\`, got ${
        kindOf(sampling)
      }`,
    );
  }
  const options = readOptions(sampling as SampleOptions, sampleNames, cannotGenerate);
  const read = readSampling(options, cannotGenerate);
  return (logits) => draw(logits, read);
}

/** The tokenizer that was given, or the file's own. */
function tokenizerOf(
  given: TokenizerLike | undefined,
  file: OpenedWeights,
): TokenizerLike | undefined {
  if (given !== undefined || !("metadata" in file)) return given;
  return file.metadata.get("tokenizer.ggml.model") === "llama"
    ? ggufTokenizer(file.metadata)
    : undefined;
}

/** What a generation goes on with. */
interface Continuation {
  readonly ids: readonly number[];
  readonly most: number;
  readonly choose: Choose;
  readonly stream: TextStream | undefined;
  readonly onToken: GenerateOptions["onToken"];
  readonly signal: SignalLike | null | undefined;
}

class LoadedDecoder implements Decoder {
  readonly maxTokens: number;
  readonly #resident: Resident;
  readonly #tokenizer: TokenizerLike | undefined;

  constructor(resident: Resident, maxTokens: number, tokenizer: TokenizerLike | undefined) {
    this.#resident = resident;
    this.#tokenizer = tokenizer;
    this.maxTokens = maxTokens;
  }

  get architecture(): string {
    return this.#resident.running.plan.architecture;
  }

  get width(): number {
    return this.#resident.running.plan.width;
  }

  get vocabulary(): number {
    return this.#resident.running.plan.vocabulary;
  }

  async logits(given: NumberList, options: PassOptions = {}): Promise<Tensor> {
    const cannot = "Cannot give logits";
    this.#resident.checkOpen(cannot);
    const { signal } = readOptions(options, ["signal"], cannot), { vocabulary } = this;
    const ids = readIds(given, vocabulary, "ids", cannot);
    checkLength(ids.length, this.maxTokens, "ids", cannot);
    const data = new Float32Array(ids.length * vocabulary);
    const session = this.#begin();
    try {
      const resident = this.#resident;
      await resident.run((calls) =>
        session.append(calls, ids, 0, function* (x, first, rows) {
          const to = data.subarray(first * vocabulary, (first + rows) * vocabulary);
          yield* writeLogits(resident, calls, x(), { first: 0, rows }, to);
        }), signal);
    } finally {
      session.free();
    }
    return { data, shape: [ids.length, vocabulary] };
  }

  generate(
    prompt: Text,
    options: GenerateOptions = {},
  ): AsyncGenerator<GeneratedToken, void, void> {
    this.#resident.checkOpen(cannotGenerate);
    const given = readOptions(options, generateNames, cannotGenerate);
    const { maxTokens, onToken, signal } = given;
    const ids = this.#idsOf(prompt), room = this.maxTokens - ids.length;
    checkLength(ids.length, this.maxTokens, "prompt", cannotGenerate);
    if (maxTokens !== undefined && !(isWhole(maxTokens) && maxTokens >= 0)) {
      throw new RangeError(
        `${cannotGenerate}: \`maxTokens\` must be a whole number of at least 0, got ${
          kindOf(maxTokens)
        }`,
      );
    }
    if (onToken !== undefined && typeof onToken !== "function") {
      throw new TypeError(
        `${cannotGenerate}: \`onToken\` must be a function, got ${kindOf(onToken)}`,
      );
    }
    const most = Math.min(maxTokens ?? Infinity, room), choose = readChoice(given.sampling);
    return this.#continue({ ids, most, choose, stream: this.#streamAfter(ids), onToken, signal });
  }

  session(options?: SessionOptions): DecoderSession;
  session(options: ShardedSessionOptions): ShardedSession;
  session(options: SessionOptions | ShardedSessionOptions = {}): DecoderSession | ShardedSession {
    if (Object.hasOwn(Object(options), "cache")) {
      const names = ["cache"] as const, doing = "Cannot begin a session";
      const read = readOptions(options as ShardedSessionOptions, names, doing);
      return new RemoteSession(this.#resident, this.maxTokens, read);
    }
    return new Session(this.#resident, this.maxTokens, options as SessionOptions);
  }

  free(): void {
    this.#resident.free();
  }

  [Symbol.dispose](): void {
    this.free();
  }

  #begin(): Session {
    return new Session(this.#resident, this.maxTokens);
  }

  #idsOf(prompt: Text): readonly number[] {
    const read = (ids: unknown) => readIds(ids, this.vocabulary, "prompt", cannotGenerate);
    if (typeof prompt !== "string") return read(prompt);
    const ids = Array.from(encode(prompt, this.#tokenizer, "prompt", cannotGenerate));
    const { addsBegin, begin } = this.#tokenizer as Tokenizer;
    // What another library's tokenizer wants in front of a text, it has put there.
    return read(addsBegin && begin !== undefined ? [begin, ...ids] : ids);
  }

  #streamAfter(ids: readonly number[]): TextStream | undefined {
    const tokenizer = this.#tokenizer;
    if (tokenizer === undefined) return undefined;
    return "stream" in tokenizer ? (tokenizer as Tokenizer).stream(ids) : streamOf(tokenizer, ids);
  }

  async *#continue(
    { ids, onToken, ...rest }: Continuation,
  ): AsyncGenerator<GeneratedToken, void, void> {
    if (rest.most === 0) return;
    const session = this.#begin();
    try {
      for await (const told of this.#tokensAfter(ids, session, rest)) {
        onToken?.(told);
        yield told;
      }
    } finally {
      session.free();
    }
  }

  async *#tokensAfter(
    ids: readonly number[],
    session: Session,
    { most, choose, stream, signal }: Omit<Continuation, "ids" | "onToken">,
  ): AsyncGenerator<GeneratedToken, void, void> {
    const { ends } = this.#resident.running.plan;
    /** One that gave no text yet: it may be the last, and then has what its bytes come to. */
    let held: number | undefined;
    let token = choose(await session.prefill(ids, 0, { signal }));
    for (let count = 1; !ends.includes(token); count++) {
      if (held !== undefined) yield { token: held, text: "" };
      const isLast = count === most, whole = stream?.push(token) ?? "";
      const text = isLast ? whole + (stream?.end() ?? "") : whole;
      held = stream !== undefined && text === "" && !isLast ? token : undefined;
      if (held === undefined) yield { token, text };
      if (isLast) return;
      token = choose(await session.prefill([token], 0, { signal }));
    }
    if (held !== undefined) yield { token: held, text: stream!.end() };
  }
}

/**
 * Loads a decoder: Llama, Mistral, Qwen, Gemma, Phi-3, SmolLM3 or GPT-2 from safetensors, one or sharded, Llama and others
 * from GGUF, and llama2.c's files.
 *
 * @param source Its config, weights and tokenizer.
 * @param options See {@linkcode LoadOptions}.
 * @throws {TypeError} When something is of a wrong kind, or an option is unknown.
 * @throws {RangeError} When files are damaged, tensors are missing, or the model is not supported: before anything is
 * allocated.
 * @throws {BackendUnavailableError} When a webgpu engine is asked for integers that are multiplied, or no backend can serve.
 * @throws `signal.reason` when the signal aborts.
 */
export async function loadDecoder(
  source: ModelSource,
  options: LoadOptions = {},
): Promise<Decoder> {
  const from = readSource(source, sourceNames, cannotLoad);
  const loading = readLoading(options, loadNames, cannotLoad);
  throwIfAborted(loading.signal);
  const opened = await openModel(from, loading, false, cannotLoad), { plan, file } = opened;
  if (plan.head === undefined) {
    throw new RangeError(
      `${cannotLoad}: ${plan.architecture} is an encoder, load it with \`loadEncoder()\``,
    );
  }
  const tokenizer = tokenizerOf(from.tokenizer, file);
  const resident = await loadModel(opened, loading, cannotLoad);
  return new LoadedDecoder(resident, opened.maxTokens, tokenizer);
}
