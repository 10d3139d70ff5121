/**
 * Continuing prompts side by side: all are read at once, then token after token is chosen and read,
 * one of each prompt in a step.
 *
 * @module
 */

import type { Caches, StoredAs } from "./caches.ts";
import type { Llama } from "./model.ts";
import type { Sampler } from "./sample.ts";

/** What is to be made. */
export interface GenerateOptions {
  /** Tokens to choose for each prompt; fewer are chosen when the context is full before. */
  readonly count: number;
  /** How keys and values are stored; f32 by default. */
  readonly kv?: StoredAs["dtype"];
  /** Makes what chooses a prompt's tokens. */
  readonly sampler: () => Sampler;
}

/** What a part of the work took. */
export interface Phase {
  /** Tokens that the model read. */
  readonly tokens: number;
  /** Time of reading them and of choosing what follows, in milliseconds. */
  readonly ms: number;
  /** The part of `ms` that was spent in the library, in milliseconds. */
  readonly attentionMs: number;
}

/** What continuing prompts took, and why it ended. */
export interface Generation {
  /** Reading the prompts. */
  readonly prefill: Phase;
  /** Reading the tokens that were chosen; the last ones are not read. */
  readonly decode: Phase;
  /** Tokens that were chosen for each prompt; fewer than asked for where the context was full. */
  readonly generated: readonly number[];
  /** Bytes that the keys and values took in the end. */
  readonly cacheBytes: number;
}

/** Receives a token as soon as it is chosen; nothing more is computed before it has settled. */
export type OnToken = (token: number, prompt: number) => void | Promise<void>;

/**
 * Continues prompts.
 *
 * @param model The model.
 * @param prompts Each prompt's tokens: at least one, and fewer than the context has.
 * @param options What is to be made.
 * @param onToken Receives the tokens, and the number of the prompt that they continue.
 */
export async function generate(
  model: Llama,
  prompts: readonly Uint8Array[],
  { count, kv, sampler }: GenerateOptions,
  onToken: OnToken,
): Promise<Generation> {
  using caches = model.createCaches({ sequences: prompts.length, dtype: kv });
  const samplers = prompts.map(sampler);
  const generated = prompts.map(({ length }) => Math.min(count, model.config.context - length));
  const advance = async (tokens: readonly Uint8Array[]) => {
    const read = await step(model, tokens, caches, samplers);
    await hand(read.tokens, onToken);
    return read;
  };
  let { tokens, phase: prefill } = await advance(prompts);
  let decode: Phase = { tokens: 0, ms: 0, attentionMs: 0 };
  for (let steps = 1; steps < Math.max(...generated); steps++) {
    const unfinished = tokens.map((token, prompt) => steps < generated[prompt] ? token : none);
    const read = await advance(unfinished);
    tokens = read.tokens;
    decode = addPhases(decode, read.phase);
  }
  return { prefill, decode, generated, cacheBytes: caches.bytes };
}

const none = new Uint8Array(0);

/** Reads tokens and chooses the next of each sequence that had some, by the clock. */
async function step(
  model: Llama,
  tokens: readonly Uint8Array[],
  caches: Caches,
  samplers: readonly Sampler[],
): Promise<{ readonly tokens: readonly Uint8Array[]; readonly phase: Phase }> {
  const begin = performance.now();
  const attentionBegin = model.attentionMs;
  const logits = await model.forward(tokens, caches, "last");
  const chosen = logits.map((row, at) => row.length > 0 ? Uint8Array.of(samplers[at](row)) : none);
  const ms = performance.now() - begin;
  const attentionMs = model.attentionMs - attentionBegin;
  const count = tokens.reduce((sum, { length }) => sum + length, 0);
  return { tokens: chosen, phase: { tokens: count, ms, attentionMs } };
}

async function hand(tokens: readonly Uint8Array[], onToken: OnToken): Promise<void> {
  for (const [prompt, chosen] of tokens.entries()) {
    for (const token of chosen) await onToken(token, prompt);
  }
}

/** What two parts of the work took together. */
export function addPhases(a: Phase, b: Phase): Phase {
  return {
    tokens: a.tokens + b.tokens,
    ms: a.ms + b.ms,
    attentionMs: a.attentionMs + b.attentionMs,
  };
}
