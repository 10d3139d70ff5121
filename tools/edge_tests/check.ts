/**
 * What a worker may ask of the package, compared with the oracle where it runs.
 *
 * @module
 */

import {
  attention,
  type AttentionOptions,
  attentionWithGradient,
  type Capabilities,
  capabilities,
  createEngine,
  softmax,
  tensor,
} from "@flashtile/attention";
import {
  referenceAttention,
  referenceAttentionBackward,
  referenceSoftmax,
} from "@flashtile/attention/reference";

/** What was found: largest errors by what was computed, and what ran it. */
export interface Checked {
  readonly errors: Readonly<Record<string, number>>;
  /** Whether what works on rows by themselves is right, by a program of its own; else what it says. */
  readonly rows: string;
  /** The same of score and mask functions. */
  readonly functions: string;
  /** Why the engine runs what it runs. */
  readonly reason: string;
  /** What the runtime offers. */
  readonly offered: Capabilities;
  readonly memoryBytes: number;
}

/** Numbers between -1 and 1, the same each time. */
function numbers(length: number, seed: number): Float32Array {
  return Float32Array.from({ length }, (_, at) => Math.sin(seed * 1000 + at * 12.9898));
}

/** Largest error by the largest number. */
function errorOf(got: ArrayLike<number>, expected: ArrayLike<number>): number {
  let largest = 0, error = got.length === expected.length ? 0 : NaN;
  for (let at = 0; at < got.length; at++) {
    largest = Math.max(largest, Math.abs(expected[at]));
    error = Math.max(error, Math.abs(got[at] - expected[at])); // NaN stays.
  }
  return error / largest;
}

const shape = [2, 100, 64], options = { causal: true, lse: true } as const;
const [q, k, v, dOut] = [1, 2, 3, 4].map((seed) => tensor(numbers(2 * 100 * 64, seed), shape));
// Enough work for several turns of the event loop.
const long = tensor(numbers(8 * 1024 * 64, 5), [8, 1024, 64]);

/** Whether a softmax is right, or why there is none. */
async function checkRows(): Promise<string> {
  try {
    const { out } = await softmax(q), error = errorOf(out.data, referenceSoftmax(q).out.data);
    return error < 1e-6 ? "right" : `wrong by ${error}`;
  } catch (error) {
    return (error as Error).message;
  }
}

/** The same with functions. */
async function checkFunctions(): Promise<string> {
  const asked: AttentionOptions = {
    scoreMod: (score, { q, k }) => score.sub(q.sub(k).abs().toF32().mul(0.1)),
    maskMod: ({ q, k }) => q.ge(k),
  };
  try {
    const { out } = await attention(q, k, v, asked);
    const error = errorOf(out.data, referenceAttention(q, k, v, asked).out.data);
    return error < 1e-5 ? "right" : `wrong by ${error}`;
  } catch (error) {
    return (error as Error).message;
  }
}

/** Computes everything once, on the default engine and on one of its own. */
export async function check(): Promise<Checked> {
  const expected = referenceAttention(q, k, v, options);
  const wanted = referenceAttentionBackward(dOut, q, k, v, { causal: true });
  const { out, lse } = await attention(q, k, v, options);
  const { backward } = await attentionWithGradient(q, k, v, { causal: true });
  const { dq, dk, dv } = await backward(dOut);
  await using engine = await createEngine();
  using cache = engine.kvCache({ kvHeads: 2, headDim: 64 });
  cache.append(k, v);
  const cached = await cache.attend(q, { causal: true });
  const whole = await engine.attention(long, long, long, { causal: true });
  const head = (x: Float32Array) => tensor(x.slice(7 * 1024 * 64), [1, 1024, 64]);
  const last = head(long.data);
  return {
    errors: {
      out: errorOf(out.data, expected.out.data),
      lse: errorOf(lse.data, expected.lse.data),
      dq: errorOf(dq.data, wanted.dq.data),
      dk: errorOf(dk.data, wanted.dk.data),
      dv: errorOf(dv.data, wanted.dv.data),
      cached: errorOf(cached.out.data, expected.out.data),
      long: errorOf(
        head(whole.out.data).data,
        referenceAttention(last, last, last, { causal: true }).out.data,
      ),
    },
    ...{ rows: await checkRows(), functions: await checkFunctions() },
    reason: engine.reason,
    offered: await capabilities(),
    memoryBytes: engine.memoryBytes,
  };
}
