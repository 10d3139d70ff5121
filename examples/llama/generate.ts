/**
 * Continuing prompts side by side: each is read at once, then token after token is chosen and read, one
 * of each prompt in a step.
 *
 * @module
 */

import type { Decoder, DecoderSession, SessionOptions } from "@flashtile/attention/models";
import type { Sampler } from "./sample.ts";

/** What is to be made. */
export interface GenerateOptions {
  /** Tokens to choose for each prompt; fewer are chosen when the context is full before. */
  readonly count: number;
  /** Whether a prompt's continuation ends behind a token that was chosen, as its `count`th. */
  readonly ends?: (token: number, count: number) => boolean;
  /** How keys and values are stored; f32 by default. */
  readonly kv?: SessionOptions["dtype"];
  /** Makes what chooses a prompt's tokens. */
  readonly sampler: () => Sampler;
}

/** What a part of the work took. */
export interface Phase {
  /** Tokens that the model read. */
  readonly tokens: number;
  /** Time of reading them and of choosing what follows, in milliseconds. */
  readonly ms: number;
}

/** What continuing prompts took, and why it ended. */
export interface Generation {
  /** Reading the prompts. */
  readonly prefill: Phase;
  /** Reading the tokens that were chosen; the last ones are not read. */
  readonly decode: Phase;
  /** Tokens that were chosen for each prompt. */
  readonly generated: readonly number[];
  /** Prompts for which the context was full before their continuation ended, by their numbers. */
  readonly full: readonly number[];
  /** Bytes that the keys and values took in the end. */
  readonly cacheBytes: number;
}

/** Receives a token as soon as it is chosen; nothing more is computed before it has settled. */
export type OnToken = (token: number, prompt: number) => void | Promise<void>;

/** The token that follows each prompt; `null` of one that is finished. */
type Chosen = readonly (number | null)[];

/**
 * Continues prompts.
 *
 * @param decoder The model.
 * @param prompts Each prompt's tokens: at least one, and fewer than the context has.
 * @param options What is to be made.
 * @param onToken Receives the tokens, and the number of the prompt that they continue.
 */
export async function generate(
  decoder: Decoder,
  prompts: readonly Uint8Array[],
  { count, ends, kv, sampler }: GenerateOptions,
  onToken: OnToken,
): Promise<Generation> {
  using session = decoder.session({ batch: prompts.length, dtype: kv });
  const samplers = prompts.map(sampler);
  const lengths = new Lengths(prompts.map(({ length }) => decoder.maxTokens - length), count, ends);
  let [chosen, prefill] = await byTheClock(() => readPrompts(session, prompts, samplers));
  await hand(chosen, onToken);
  let decode: Phase = { tokens: 0, ms: 0 };
  for (
    let unfinished = lengths.take(chosen);
    unfinished.some((token) => token !== null);
    unfinished = lengths.take(chosen)
  ) {
    const [next, phase] = await byTheClock(() => readTokens(session, unfinished, samplers));
    await hand(next, onToken);
    chosen = next;
    decode = { tokens: decode.tokens + phase.tokens, ms: decode.ms + phase.ms };
  }
  const { generated, full } = lengths;
  return { prefill, decode, generated, full, cacheBytes: session.bytes };
}

/** How long each continuation is by now, and which of them have ended. */
class Lengths {
  /** Tokens that were chosen for each prompt. */
  readonly generated: number[];
  /** Prompts whose context was full before anything else ended them. */
  readonly full: number[] = [];
  readonly #rooms: readonly number[];
  readonly #count: number;
  readonly #ends: (token: number, count: number) => boolean;

  constructor(
    rooms: readonly number[],
    count: number,
    ends: GenerateOptions["ends"] = () => false,
  ) {
    this.generated = rooms.map(() => 0);
    this.#rooms = rooms;
    this.#count = count;
    this.#ends = ends;
  }

  /** Counts what was chosen; gives it without what ends a continuation. */
  take(chosen: Chosen): Chosen {
    return chosen.map((token, prompt) =>
      token === null || this.#isLast(token, prompt) ? null : token
    );
  }

  #isLast(token: number, prompt: number): boolean {
    const count = ++this.generated[prompt];
    if (count >= this.#count || this.#ends(token, count)) return true;
    if (count < this.#rooms[prompt]) return false;
    this.full.push(prompt);
    return true;
  }
}

/** What was chosen, and how many tokens were read for that. */
interface Read {
  readonly chosen: Chosen;
  readonly tokens: number;
}

async function byTheClock(read: () => Promise<Read>): Promise<[Chosen, Phase]> {
  const begin = performance.now(), { chosen, tokens } = await read();
  return [chosen, { tokens, ms: performance.now() - begin }];
}

async function readPrompts(
  session: DecoderSession,
  prompts: readonly Uint8Array[],
  samplers: readonly Sampler[],
): Promise<Read> {
  const chosen: number[] = [];
  for (const [at, prompt] of prompts.entries()) {
    chosen.push(samplers[at](await session.prefill(prompt, at)));
  }
  return { chosen, tokens: prompts.reduce((sum, { length }) => sum + length, 0) };
}

async function readTokens(
  session: DecoderSession,
  tokens: Chosen,
  samplers: readonly Sampler[],
): Promise<Read> {
  const { data, shape: [batch] } = await session.step(tokens), width = data.length / batch;
  const chosen = tokens.map((token, at) =>
    token === null ? null : samplers[at](data.subarray(at * width, (at + 1) * width))
  );
  return { chosen, tokens: tokens.filter((token) => token !== null).length };
}

async function hand(chosen: Chosen, onToken: OnToken): Promise<void> {
  for (const [prompt, token] of chosen.entries()) {
    if (token !== null) await onToken(token, prompt);
  }
}
