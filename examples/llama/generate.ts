/**
 * Continuing a prompt: the prompt is read at once, then token after token is chosen and read.
 *
 * @module
 */

import type { KeyValueStore } from "./key_value_store.ts";
import type { Llama } from "./model.ts";
import type { Sampler } from "./sample.ts";

/** What a part of the work took. */
export interface Phase {
  /** Tokens that the model read. */
  readonly tokens: number;
  /** Time of reading them and of choosing what follows, in milliseconds. */
  readonly ms: number;
  /** The part of `ms` that was spent in attention, in milliseconds. */
  readonly attentionMs: number;
}

/** What continuing a prompt took, and why it ended. */
export interface Generation {
  /** Reading the prompt. */
  readonly prefill: Phase;
  /** Reading the tokens that were chosen; the last one is not read. */
  readonly decode: Phase;
  /** Tokens that were chosen. */
  readonly generated: number;
  /** Whether the context was full before as many tokens were chosen as were asked for. */
  readonly contextFull: boolean;
}

/** Receives a token as soon as it is chosen; the next is computed when it has settled. */
export type OnToken = (token: number) => void | Promise<void>;

/**
 * Continues a prompt.
 *
 * @param model The model.
 * @param prompt The prompt's tokens: at least one, and fewer than the context has.
 * @param count Tokens to choose; fewer are chosen when the context is full before.
 * @param sampler Chooses them.
 * @param onToken Receives them.
 */
export async function generate(
  model: Llama,
  prompt: Uint8Array,
  count: number,
  sampler: Sampler,
  onToken: OnToken,
): Promise<Generation> {
  const store = model.createStore();
  const room = Math.min(count, store.capacity - prompt.length);
  const first = await step(model, prompt, store, sampler);
  await onToken(first.token);
  let token = first.token;
  let decode: Phase = { tokens: 0, ms: 0, attentionMs: 0 };
  for (let generated = 1; generated < room; generated++) {
    const next = await step(model, Uint8Array.of(token), store, sampler);
    await onToken(next.token);
    token = next.token;
    decode = addPhases(decode, next.phase);
  }
  return { prefill: first.phase, decode, generated: room, contextFull: room < count };
}

/** Reads tokens and chooses the next, by the clock. */
async function step(
  model: Llama,
  tokens: Uint8Array,
  store: KeyValueStore,
  sampler: Sampler,
): Promise<{ token: number; phase: Phase }> {
  const begin = performance.now();
  const attentionBegin = model.attentionMs;
  const token = sampler(await model.forward(tokens, store, "last"));
  const ms = performance.now() - begin;
  const attentionMs = model.attentionMs - attentionBegin;
  return { token, phase: { tokens: tokens.length, ms, attentionMs } };
}

/** What two parts of the work took together. */
export function addPhases(a: Phase, b: Phase): Phase {
  return {
    tokens: a.tokens + b.tokens,
    ms: a.ms + b.ms,
    attentionMs: a.attentionMs + b.attentionMs,
  };
}
