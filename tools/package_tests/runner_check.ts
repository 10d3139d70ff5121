/**
 * What holds in the environment of a test runner: arrays of several realms, fake timers, masks that are
 * cloned.
 *
 * @module
 */

import {
  attention,
  attentionWithGradient,
  blockMask,
  createEngine,
  type Tensor,
  tensor,
} from "@flashtile/attention";

/** Rows of a head, and heads: worth several threads. */
const rows = 300, heads = 4;

function make(): Tensor {
  const data = Float32Array.from({ length: heads * rows * 64 }, (_, at) => Math.sin(at));
  return tensor(data, [heads, rows, 64]);
}

function assertEqual(what: string, got: unknown, expected: unknown): void {
  if (got !== expected) throw new Error(`${what}: ${got} instead of ${expected}`);
}

/**
 * Calls of every kind, of which the first is before the timers become fake.
 *
 * @param fakeTimers Puts fake timers in the place of the real ones; gives what ends that.
 * @returns What the engine runs on.
 */
export async function check(fakeTimers = () => () => {}): Promise<string> {
  const expected = (await attention(make(), make(), make(), { causal: true })).out.data[70];
  const restore = fakeTimers();
  const { out, backward } = await attentionWithGradient(make(), make(), make(), { causal: true });
  assertEqual("attentionWithGradient()", out.data[70], expected);
  assertEqual("backward()", (await backward(out)).dq.data.length, out.data.length);

  const engine = await createEngine(), sizes = { batch: 1, kvHeads: heads, headDim: 64 };
  const [cache, copy] = [engine.kvCache(sizes), engine.kvCache(sizes)];
  const tokens = { ...make(), shape: [1, heads, rows, 64] };
  cache.append(tokens, tokens);
  const saved = await cache.save();
  // Node's buffers are of another realm in some runners.
  const { Buffer } = globalThis as { Buffer?: { from(bytes: Uint8Array): Uint8Array } };
  copy.load(Buffer?.from(saved) ?? saved);
  const attended = await copy.attend(tokens, { causal: true });
  assertEqual("attend()", attended.out.data[70], expected);

  const plain = blockMask.causal({ queries: rows, block: 64 }).toPlain();
  const clone = "structuredClone" in globalThis ? structuredClone(plain) : plain; // jsdom has none
  const masked = await engine.attention(make(), make(), make(), {
    blockMask: blockMask.fromPlain(clone),
  });
  const kept = Math.abs(masked.out.data[70] - expected);
  if (!(kept < 1e-6)) throw new Error(`blockMask: wrong by ${kept}`);

  const large = tensor(new Float32Array(8 * 2048 * 64).fill(0.1), [8, 2048, 64]);
  let steps = 0;
  await engine.attention(large, large, large, { onProgress: () => steps++ });
  if (steps < 2) throw new Error("a long call had no turns");
  await engine.close();
  restore();
  return engine.reason;
}
