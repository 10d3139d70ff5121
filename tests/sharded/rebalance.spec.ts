import { type ShardedCache, ShardLostError, ShardRefusedError } from "@flashtile/attention/sharded";
import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import { test } from "node:test";
import { decode } from "../../src/sharded/messages/message.ts";
import { Cluster, randomRows, type Rows, sizes } from "../support/cluster.ts";
import { errorOf } from "../support/errors.ts";
import { calm } from "../support/fake_network.ts";
import { type Random, seeded, whole } from "../support/random.ts";
import { varyingSeed } from "../support/seed.ts";
import { inWholeRuns, isWhole, sharedOut } from "../support/share.ts";
import {
  assertTold,
  expectedUntil,
  generateUntil,
  recover,
  type Told,
} from "../support/sharded_tokens.ts";

const count = 100;

/** Attention of all tokens; of integers that of the last ones: one kernel has few rows, whoever has how many tokens. */
async function attendAll(cache: ShardedCache, { data, shape }: Rows["q"]): Promise<Float32Array> {
  const [batch, heads, , dim] = shape, last = (count - 1) * dim;
  const one = {
    data,
    shape: [batch, heads, 1, dim],
    strides: [heads * count * dim, count * dim, dim, 1],
  };
  const { out } = cache.options.dtype === "int8"
    ? await cache.attend(0, { ...one, offset: last })
    : await cache.attend(0, { data, shape }, { lengths: [count, 50], causal: true });
  return out.data;
}

/** A group that has everything, and others that came later. */
async function lopsided(random: Random, groups: number, options: object = {}, replicas = 1) {
  const cluster = new Cluster(random), rows: Rows[] = [];
  await cluster.startAll(1, replicas);
  const alone = await cluster.coordinate({ groups: 1, replicas, ...options });
  for (let layer = 0; layer < sizes.layers; layer++) {
    rows.push(randomRows(count, random));
    await alone.append(layer, rows[layer].k, rows[layer].v, { lengths: [count, count / 2] });
  }
  const before = await attendAll(alone, rows[0].q);
  await alone.close();
  for (let group = 1; group < groups; group++) {
    for (let at = 0; at < replicas; at++) await cluster.start(`${group}${"abc"[at]}`, group);
  }
  const cache = await cluster.coordinate({ groups, replicas, ...options });
  return { cluster, cache, rows, before };
}

/** Tokens of each shard. */
const held = ({ hosts }: Cluster) =>
  [...hosts.values()].map(({ shard }) => shard.stats().lengths.reduce((sum, one) => sum + one));

function assertClose(given: Float32Array, expected: Float32Array): void {
  const off = expected.reduce((most, x, at) => Math.max(most, Math.abs(x - given[at])), 0);
  assert(off <= 2e-6, `off by ${off}`);
}

const configs = [["f32", 3, 1], ["f32", 2, 2], ["int8", 3, 1], ["f16", 4, 1]] as const;

test("rebalance() evens shards out, and attention stays what it was", async () => {
  const random = seeded(varyingSeed());
  for (const [dtype, groups, replicas] of sharedOut(configs, 1, "rebalance() evens")) {
    const { cluster, cache, rows: [{ q, k, v }], before } = await lopsided(
      ...[random, groups, { dtype }, replicas] as const,
    );
    assertEquals(held(cluster).slice(replicas), new Array(replicas * (groups - 1)).fill(0));
    const bytes = () => [...cluster.hosts.values()].map(({ shard }) => shard.stats().bytes);
    const all = bytes().reduce((a, b) => a + b);
    // What is asked meanwhile is answered between.
    const [moved, meanwhile] = await Promise.all([
      cache.rebalance(),
      attendAll(cache, q),
    ]);
    assertClose(meanwhile, before);
    // 7 and 4 pages, of which 6 and 3 are full.
    const most = Math.ceil(11 / groups) * 16, least = (Math.floor(11 / groups) - 1) * 16;
    for (const tokens of held(cluster)) assert(tokens <= most && tokens > least, `${tokens}`);
    assert(moved >= 11 - Math.ceil(11 / groups), `${moved} moved`);
    assertEquals(bytes().reduce((a, b) => a + b), all);
    const after = await attendAll(cache, q);
    assertClose(after, before);
    assertEquals(await cache.rebalance(), 0);
    // It goes on: tokens behind, and fewer.
    await cache.append(0, k, v, { lengths: [1, 1] });
    await cache.truncate(0, 40);
    await cache.truncate(1, 40);
    const next = await cluster.coordinate({ groups, replicas, dtype });
    assertEquals(next.lengths, [40, 40]);
    await cluster.end();
  }
});

test("what forks share moves with each of them", async () => {
  const random = seeded(varyingSeed());
  const { cluster, cache, rows: [{ q }] } = await lopsided(random, 2);
  await cache.fork(0, 1);
  const { out: before } = await cache.attend(0, q, { causal: true });
  assert(await cache.rebalance() >= 6);
  assertClose((await cache.attend(0, q, { causal: true })).out.data, before.data);
  await cache.free(0);
  assertEquals(cache.lengths, [0, count]);
  await cluster.end();
});

test("a shard that has no room gets no pages, and everything stays where it was", async () => {
  const random = seeded(varyingSeed()), cluster = new Cluster(random);
  await cluster.start("a", 0);
  const { q, k, v } = randomRows(count, random);
  const alone = await cluster.coordinate({ groups: 1 });
  for (let layer = 0; layer < sizes.layers; layer++) await alone.append(layer, k, v);
  const { out: before } = await alone.attend(0, q, { causal: true });
  await cluster.start("b", 1, 4096);
  const cache = await cluster.coordinate({ groups: 2 });
  const error = await errorOf(() => cache.rebalance());
  assertInstanceOf(error, ShardRefusedError);
  const { reason, shard, message } = error as ShardRefusedError;
  assertEquals([reason, shard], ["full", "b"]);
  assert(/b is full: it would have \d+ bytes, `maxBytes` is 4096/.test(message), message);
  assertEquals(held(cluster), [2 * count, 0]);
  assertClose((await cache.attend(0, q, { causal: true })).out.data, before.data);
  await cluster.end();
});

test("a giver that is cut off while pages move loses none, whenever that is", async () => {
  const random = seeded(varyingSeed());
  // The first has somebody wait for two seconds.
  for (const kind of isWhole ? ["fetch", "take", "drop"] : ["take", "drop"]) {
    const { cluster, cache, rows: [{ q }], before } = await lopsided(random, 2);
    const { connection } = cluster.hosts.get("0a")!;
    cluster.network.told = ({ data, subject }) => {
      const message = decode(data);
      if (!subject.endsWith("all") || message === undefined) return;
      const does = message.kind === "change" ? message.body.actions[0]?.do : message.kind;
      if (does === kind) connection.die();
    };
    const error = await errorOf(() => cache.rebalance());
    const isLost = error instanceof ShardLostError;
    assert(isLost || (error as ShardRefusedError).reason === "failed", String(error));
    cluster.network.told = () => {};
    connection.sends = connection.hears = true;
    await recover(cache, error);
    assertEquals(cache.lengths, [count, 50]);
    const after = await attendAll(cache, q);
    assertClose(after, before);
    await cache.rebalance();
    const again = await attendAll(cache, q);
    assertClose(again, before);
    assertEquals(held(cluster).reduce((a, b) => a + b), count + 50);
    await cluster.end();
  }
});

test("where the giver dies another shard of its group gives", inWholeRuns, async () => {
  const random = seeded(varyingSeed());
  const { cluster, cache, rows: [{ q }], before } = await lopsided(random, 2, {}, 2);
  const dead: string[] = [];
  cluster.network.told = ({ data, subject }) => {
    const message = decode(data);
    if (!subject.endsWith("all") || message?.kind !== "fetch" || dead.length > 0) return;
    dead.push(message.body.giver.name);
    cluster.hosts.get(dead[0])!.connection.die();
  };
  assert(await cache.rebalance() > 0);
  assertEquals(cache.shards.filter(({ lives }) => !lives).map(({ name }) => name), dead);
  assertClose(await attendAll(cache, q), before);
  await cluster.end();
});

/** Tokens come and pages move while messages are lost, doubled and late, and shards are cut off for a while. */
async function runSchedule(seed: number): Promise<void> {
  const random = seeded(seed), replicas = whole(random, 1, 2), until = 100;
  const expected = await expectedUntil(seed, until), told: Told = new Map();
  const cluster = new Cluster(random), patience = { replicas, heartbeat: 10 };
  await cluster.startAll(1, replicas);
  let cache: ShardedCache = await cluster.coordinate({ groups: 1, ...patience });
  const going = async (act: () => Promise<unknown>) => {
    for (;;) {
      try {
        return await act();
      } catch (error) {
        await recover(cache, error);
      }
    }
  };
  await generateUntil(cache, seed, 60, told);
  await cache.close();
  for (const group of [1, 2]) {
    for (let at = 0; at < replicas; at++) await cluster.start(`${group}${"abc"[at]}`, group);
  }
  cache = await cluster.coordinate({ groups: 3, ...patience });
  cluster.network.faults = { drop: 0.02, double: 0.05, late: 0.1, milliseconds: 30 };
  const hosts = [...cluster.hosts.values()];
  for (let length = 70; length <= until; length += 10) {
    const { connection } = hosts[whole(random, 0, hosts.length - 1)];
    const way = random() < 0.5 ? "sends" : "hears";
    setTimeout(() => connection[way] = false, whole(random, 0, 15));
    setTimeout(() => connection[way] = true, whole(random, 20, 200));
    await going(() => cache.rebalance());
    await going(() => generateUntil(cache, seed, length, told));
  }
  cluster.network.faults = calm;
  await going(() => generateUntil(cache, seed, until, told));
  await going(() => cache.rebalance());
  assertTold(told, expected);
  await cluster.end();
}

test("pages move under faults, and each token gets what it gets without", inWholeRuns, async () => {
  const seed = varyingSeed();
  for (let at = 0; at < 3; at++) {
    try {
      await runSchedule(seed + at);
    } catch (error) {
      throw new Error(`schedule of seed ${seed + at}`, { cause: error });
    }
  }
});
