/**
 * The logits that PyTorch computes in float64 with the same weights, and whether ours agree.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import type { Decoder } from "@flashtile/attention/models";
import { InputError } from "./error.ts";
import { type Logits, readAtOnce, readByTokens } from "./logits.ts";

/** What PyTorch computed for one prompt. */
export interface ReferencePrompt {
  /** The prompt's bytes. */
  readonly tokens: Uint8Array;
  /** Logits after the last byte, `[vocab]`. */
  readonly lastLogits: Float32Array;
  /** Logits after every byte, `[tokens.length, vocab]`, where they were recorded. */
  readonly allLogits?: Float32Array;
  /** The bytes that follow when the likeliest is taken each time. */
  readonly greedy: Uint8Array;
  /** Smallest distance between the first and the second choice while `greedy` was made. */
  readonly smallestMargin: number;
}

/** The contents of `reference.json`. */
export interface Reference {
  /** Results for single prompts. */
  readonly prompts: readonly ReferencePrompt[];
  /** Mean loss over the windows of `held_out_text.txt`, in nats per byte. */
  readonly lossPerByte: number;
}

/** Sizes of the model that it was recorded with. */
type Sizes = Pick<Decoder, "maxTokens" | "vocabulary">;

/** How far our logits are from PyTorch's. */
export interface LogitCheck {
  /** Logits that were compared. */
  readonly compared: number;
  /** Greatest absolute difference. */
  readonly difference: number;
}

/**
 * Roundings to f32 that follow one another between a byte and its logits: in each of 4 layers about
 * 20 operations on the residual stream (norms, projections, RoPE, SwiGLU, additions), and in
 * attention sums over D = 32 products and over up to 256 keys.
 */
const ROUNDINGS = 4 * (20 + 32 + 256);

/** Size of the greatest recorded logits. */
const LARGEST_LOGIT = 25;

/**
 * Greatest difference from PyTorch's float64 logits that is taken for rounding, 1e-4.
 *
 * A rounding changes a number by at most u = 2^-24 of its size. Roundings are as good as random, so
 * n of them grow like sqrt(n) u, not like n u (Higham & Mary 2019, "A new approach to probabilistic
 * rounding error analysis"). Twice that leaves room for what softmax amplifies. Measured on Wasm:
 * 2e-5. A wrong mask, head or position makes a difference of the order of 1.
 */
export const TOLERANCE = 2 * Math.sqrt(ROUNDINGS) * 2 ** -24 * LARGEST_LOGIT;

/**
 * Reads `reference.json`.
 *
 * @param json The text of the file.
 * @param source What messages call the file: its path.
 * @param sizes Sizes of the model.
 * @throws {InputError} When the file is damaged.
 */
export function parseReference(json: string, source: string, sizes: Sizes): Reference {
  try {
    const { prompts, loss } = JSON.parse(json) as Recorded;
    if (prompts.length === 0) throw new RangeError("it has no prompts");
    return {
      prompts: prompts.map((prompt) => parsePrompt(prompt, sizes)),
      lossPerByte: loss.nats_per_byte,
    };
  } catch (error) {
    throw new InputError(
      `Cannot read ${source}: ${(error as Error).message}; the file is damaged, restore it`,
    );
  }
}

/** `reference.json` as it is written; logits are little-endian f32 in base64. */
interface Recorded {
  readonly prompts: readonly RecordedPrompt[];
  readonly loss: { readonly nats_per_byte: number };
}

interface RecordedPrompt {
  readonly prompt: string;
  readonly last_logits: string;
  readonly all_logits?: { readonly b64: string };
  readonly greedy: string;
  readonly smallest_margin: number;
}

function parsePrompt(
  recorded: RecordedPrompt,
  { maxTokens, vocabulary }: Sizes,
): ReferencePrompt {
  const tokens = new TextEncoder().encode(recorded.prompt);
  if (tokens.length === 0 || tokens.length > maxTokens) {
    throw new RangeError(`a prompt has ${tokens.length} bytes, expected 1 to ${maxTokens}`);
  }
  return {
    tokens,
    lastLogits: decodeFloats(recorded.last_logits, vocabulary),
    allLogits: recorded.all_logits &&
      decodeFloats(recorded.all_logits.b64, tokens.length * vocabulary),
    greedy: new TextEncoder().encode(recorded.greedy),
    smallestMargin: recorded.smallest_margin,
  };
}

function decodeFloats(base64: string, length: number): Float32Array {
  const bytes = Buffer.from(base64, "base64");
  if (bytes.length !== 4 * length) {
    throw new RangeError(`a prompt has ${bytes.length / 4} logits, expected ${length}`);
  }
  return Float32Array.from({ length }, (_, i) => bytes.readFloatLE(4 * i));
}

/**
 * Compares the model's logits with PyTorch's: each prompt read at once, and all side by side, byte by
 * byte.
 *
 * @param decoder The model to check.
 * @param reference What PyTorch computed.
 */
export async function checkLogits(
  decoder: Decoder,
  { prompts }: Reference,
): Promise<LogitCheck> {
  const texts = prompts.map(({ tokens }) => tokens);
  const atOnce = compareAll(await readAtOnce(decoder, texts), prompts);
  return join(atOnce, compareAll(await readByTokens(decoder, texts), prompts));
}

/**
 * Compares logits with PyTorch's.
 *
 * @param logits Those after every byte of each prompt.
 * @param prompts What PyTorch computed.
 */
export function compareAll(logits: Logits, prompts: readonly ReferencePrompt[]): LogitCheck {
  return prompts.map(({ allLogits, lastLogits }, at) => {
    const expected = allLogits ?? lastLogits;
    return compare(logits[at].subarray(logits[at].length - expected.length), expected);
  }).reduce(join);
}

/** `Math.max` keeps a NaN, so a model that computes none of the numbers does not pass. */
function compare(ours: Float32Array, theirs: Float32Array): LogitCheck {
  let difference = 0;
  for (let i = 0; i < theirs.length; i++) {
    difference = Math.max(difference, Math.abs(ours[i] - theirs[i]));
  }
  return { compared: theirs.length, difference };
}

function join(a: LogitCheck, b: LogitCheck): LogitCheck {
  return {
    compared: a.compared + b.compared,
    difference: Math.max(a.difference, b.difference),
  };
}
