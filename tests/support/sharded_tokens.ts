/**
 * Tokens that are what their positions say: appended anew, after whatever went wrong, they are the same, and so must be
 * what attention gives them.
 *
 * @module
 */

import { type ShardedCache, ShardLostError, ShardRefusedError } from "@flashtile/attention/sharded";
import { assert } from "@std/assert";
import { Cluster, queryHeads, sizes } from "./cluster.ts";
import { normals, seeded } from "./random.ts";

/** Rows of a token of each sequence in a layer, by their positions alone. */
function rowsAt(seed: number, layer: number, positions: readonly number[]) {
  const { batch, kvHeads, headDim, valueDim } = sizes;
  const make = (heads: number, dim: number, which: number) => ({
    data: Float32Array.from(positions.flatMap((position, sequence) => {
      const place = layer * 64 + sequence * 8 + which;
      return [
        ...normals(heads * dim, seeded(seed ^ Math.imul(position + 1, 0x9e3779b1) ^ place)),
      ];
    })),
    shape: [batch, heads, 1, dim],
  });
  return {
    q: make(queryHeads, headDim, 0),
    k: make(kvHeads, headDim, 1),
    v: make(kvHeads, valueDim, 2),
  };
}

/** What attention gave, by layer, sequence and position. */
export type Told = Map<string, Float32Array>;

function assertAlike(row: Float32Array, expected: Float32Array, key: string): void {
  const wrong = expected.findIndex((value, at) => !(Math.abs(value - row[at]) <= 2e-6));
  assert(wrong < 0, `token ${key}: ${row[wrong]}, expected ${expected[wrong]}`);
}

/** Generates until each sequence has so many tokens. What a place gives is always the same. */
export async function generateUntil(
  cache: ShardedCache,
  seed: number,
  until: number,
  told: Told,
): Promise<void> {
  for (;;) {
    const { lengths } = cache;
    if (lengths.every((length) => length >= until)) return;
    const counts = lengths.map((length) => Number(length < until));
    for (let layer = 0; layer < sizes.layers; layer++) {
      const { q, k, v } = rowsAt(seed, layer, lengths);
      const { out } = await cache.step(layer, q, k, v, { lengths: counts });
      const width = queryHeads * sizes.valueDim;
      for (const [at, length] of lengths.entries()) {
        if (counts[at] === 0) continue;
        const key = `${layer} ${at} ${length}`, row = out.data.slice(at * width, (at + 1) * width);
        const before = told.get(key);
        // Not to the last bit: pages may have been dealt to others since.
        if (before !== undefined) assertAlike(row, before, key);
        told.set(key, row);
      }
    }
  }
}

/** What generating gives where nothing goes wrong. */
export async function expectedUntil(seed: number, until: number): Promise<Told> {
  const calm = new Cluster(seeded(seed)), expected: Told = new Map();
  await calm.startAll(1);
  await generateUntil(await calm.coordinate({ groups: 1 }), seed, until, expected);
  await calm.end();
  return expected;
}

/** Asserts that everything was told that there is, and is right. */
export function assertTold(told: Told, expected: Told): void {
  for (const [key, row] of expected) {
    const given = told.get(key);
    assert(given !== undefined, `token ${key} was never told`);
    assertAlike(given!, row, key);
  }
}

/** Errors that say that shards, servers or coordinators are missing or others, and nothing else. */
const reasons: readonly string[] = ["epoch", "name", "failed"];

/** Whether an error says that. */
export const isTyped = (error: unknown): boolean =>
  error instanceof ShardLostError ||
  (error instanceof ShardRefusedError && reasons.includes(error.reason));

/** Longest wait for what is missing, in milliseconds: on a busy machine nobody may have a turn for many seconds. */
const patience = 120_000;

/**
 * Goes on after an error, which must be one that says what is missing.
 *
 * @param again Takes the cache anew where another coordinator, which came no further, has an epoch of it.
 */
export async function recover(
  cache: ShardedCache,
  error: unknown,
  again?: () => Promise<void>,
): Promise<void> {
  for (const end = performance.now() + patience;;) {
    const isOver = error instanceof ShardRefusedError && error.reason === "epoch";
    const isHopeless = isOver && again === undefined;
    if (!isTyped(error) || isHopeless || performance.now() > end) throw error;
    try {
      return await (isOver ? again!() : cache.restore());
    } catch (next) {
      error = next;
    }
  }
}
