import { type ShardedCache, ShardLostError, ShardRefusedError } from "@flashtile/attention/sharded";
import { assert } from "@std/assert";
import { test } from "node:test";
import { Cluster, queryHeads, sizes } from "../support/cluster.ts";
import { normals, type Random, seeded, whole } from "../support/random.ts";
import { varyingSeed } from "../support/seed.ts";
import { share } from "../support/share.ts";

/** Rows of a token of a layer, by its position alone: appended anew, they are the same. */
function rowsAt(seed: number, layer: number, positions: readonly number[]) {
  const { batch, kvHeads, headDim, valueDim } = sizes;
  const make = (heads: number, dim: number, which: number) => ({
    data: Float32Array.from(positions.flatMap((position, sequence) => [
      ...normals(
        heads * dim,
        seeded(seed ^ Math.imul(position + 1, 0x9e3779b1) ^ (layer * 64 + sequence * 8 + which)),
      ),
    ])),
    shape: [batch, heads, 1, dim],
  });
  return {
    q: make(queryHeads, headDim, 0),
    k: make(kvHeads, headDim, 1),
    v: make(kvHeads, valueDim, 2),
  };
}

function assertAlike(row: Float32Array, expected: Float32Array, key: string): void {
  const wrong = expected.findIndex((value, at) => !(Math.abs(value - row[at]) <= 2e-6));
  assert(wrong < 0, `token ${key}: ${row[wrong]}, expected ${expected[wrong]}`);
}

type Results = Map<string, Float32Array>;

/** Generates until each sequence has so many tokens; what each gave, by its place. */
async function generate(cache: ShardedCache, seed: number, until: number, told: Results) {
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

/** A cluster, and what breaks it. */
interface Broken {
  readonly cluster: Cluster;
  readonly random: Random;
  readonly groups: number;
  readonly replicas: number;
  cache: ShardedCache;
}

/** Something goes wrong. */
async function breakSomething(broken: Broken): Promise<void> {
  const { cluster, random, groups, replicas } = broken;
  const names = [...cluster.hosts.keys()], name = names[whole(random, 0, names.length - 1)];
  const host = cluster.hosts.get(name)!, { connection } = host;
  switch (whole(random, 0, 3)) {
    case 0: { // It dies, and another comes.
      connection.die();
      await host.shard.close();
      cluster.hosts.delete(name);
      await cluster.start(
        `x${names.length}${whole(random, 0, 0xffffff)}`,
        host.shard.stats().group,
      );
      return;
    }
    case 1: // It hears nothing for a while, or is not heard.
    case 2: {
      const way = random() < 0.5 ? "sends" : "hears";
      connection[way] = false;
      setTimeout(() => connection[way] = true, whole(random, 20, 200));
      return;
    }
    default: { // Another coordinator takes over.
      const old = broken.cache;
      broken.cache = await cluster.coordinate({ groups, replicas, heartbeat: 10 });
      await old.close();
    }
  }
}

const isTyped = (error: unknown) =>
  error instanceof ShardLostError ||
  (error instanceof ShardRefusedError && ["epoch", "name", "failed"].includes(error.reason));

/** Goes on after whatever error that is told. */
async function recover(broken: Broken, error: unknown): Promise<void> {
  for (let attempt = 0;; attempt++) {
    if (!isTyped(error) || attempt > 40) throw error;
    try {
      return await broken.cache.restore();
    } catch (next) {
      error = next;
    }
  }
}

/** One schedule of faults: the same tokens as without any, and nothing but typed errors. */
async function runSchedule(seed: number): Promise<void> {
  const random = seeded(seed), groups = whole(random, 2, 3), replicas = whole(random, 1, 2);
  const until = 40, calm = new Cluster(random), expected: Results = new Map();
  await calm.startAll(groups);
  await generate(await calm.coordinate({ groups }), seed, until, expected);
  await calm.end();
  const cluster = new Cluster(random), told: Results = new Map();
  await cluster.startAll(groups, replicas);
  const cache = await cluster.coordinate({ groups, replicas, heartbeat: 10 });
  const broken: Broken = { cluster, random, groups, replicas, cache };
  cluster.network.faults = { drop: 0.02, double: 0.05, late: 0.1, milliseconds: 30 };
  for (let length = 5; length <= until; length += whole(random, 3, 12)) {
    for (;;) {
      try {
        await generate(broken.cache, seed, Math.min(length, until), told);
        await breakSomething(broken);
        break;
      } catch (error) {
        await recover(broken, error);
      }
    }
  }
  cluster.network.faults = { drop: 0, double: 0, late: 0, milliseconds: 0 };
  for (let attempt = 0;; attempt++) {
    try {
      await generate(broken.cache, seed, until, told);
      break;
    } catch (error) {
      assert(attempt < 40, String(error));
      await recover(broken, error);
    }
  }
  for (const [key, row] of expected) assertAlike(told.get(key)!, row, key);
  await cluster.end();
}

test("whatever goes wrong, each token gets what it gets without, or an error says so: 10 schedules in a whole run", async () => {
  const seed = varyingSeed();
  for (let at = 0; at < share(40) / 4; at++) {
    try {
      await runSchedule(seed + at);
    } catch (error) {
      throw new Error(`schedule of seed ${seed + at}`, { cause: error });
    }
  }
});
