/**
 * A sharded cache on a network within the process, and the same on one machine.
 *
 * @module
 */

import { createEngine, type Engine, type KvCache } from "@flashtile/attention";
import {
  type ServedShard,
  serveShard,
  type ShardedCache,
  shardedCache,
  type ShardedCacheOptions,
  type ShardStore,
} from "@flashtile/attention/sharded";
import { assert } from "@std/assert";
import { type FakeConnection, FakeNetwork } from "./fake_network.ts";
import { once } from "./once.ts";
import { normals, type Random } from "./random.ts";

/** Sizes of the caches of these tests. */
export const sizes = { layers: 2, batch: 2, kvHeads: 2, headDim: 8, valueDim: 12, pageSize: 16 };

/** Query heads. */
export const queryHeads = 4;

/** One for all: each shard has caches of its own in it. */
export const engine = once(() => createEngine({ backend: "wasm", threads: 1 }));

/** A shard, and its connection. */
export interface Host {
  readonly shard: ServedShard;
  readonly connection: FakeConnection;
}

/** A network with shards. */
export class Cluster {
  readonly network: FakeNetwork;
  readonly hosts = new Map<string, Host>();
  readonly #store: ShardStore | undefined;
  readonly #caches: ShardedCache[] = [];

  constructor(random: Random, store?: ShardStore) {
    this.network = new FakeNetwork(random);
    this.#store = store;
  }

  /** Starts a shard. */
  async start(
    name: string,
    group: number,
    maxBytes?: number,
    on?: Engine<GPUBuffer>,
  ): Promise<Host> {
    const connection = this.network.connect(), prefix = "t.cache", store = this.#store;
    const options = { connection, prefix, group, name, maxBytes, store };
    const shard = await serveShard({ ...options, engine: on ?? await engine() });
    const host = { connection, shard };
    this.hosts.set(name, host);
    return host;
  }

  /** Starts shards of groups, `replicas` of each: `0a`, `0b`, `1a`, ... */
  async startAll(groups: number, replicas = 1): Promise<void> {
    const starts: Promise<Host>[] = [];
    for (let group = 0; group < groups; group++) {
      for (let at = 0; at < replicas; at++) {
        starts.push(this.start(`${group}${"abc"[at]}`, group));
      }
    }
    await Promise.all(starts);
  }

  /** A coordinator. */
  async coordinate(
    options: Partial<ShardedCacheOptions>,
    connection = this.network.connect(),
  ): Promise<ShardedCache> {
    const patience = { heartbeat: 20, deadline: 2_000 };
    const cache = await shardedCache({
      ...{ connection, prefix: "t.cache", ...sizes, ...patience, ...options },
    });
    this.#caches.push(cache);
    return cache;
  }

  async end(): Promise<void> {
    for (const cache of this.#caches) await cache.close();
    for (const { shard } of this.hosts.values()) await shard.close();
  }
}

/** Rows of all sequences. */
export interface Rows {
  readonly q: { readonly data: Float32Array; readonly shape: number[] };
  readonly k: { readonly data: Float32Array; readonly shape: number[] };
  readonly v: { readonly data: Float32Array; readonly shape: number[] };
}

/** Random rows of as many tokens. */
export function randomRows(count: number, random: Random, of = sizes): Rows {
  const { batch, kvHeads, headDim, valueDim } = of;
  const make = (heads: number, dim: number) => ({
    data: normals(batch * heads * count * dim, random),
    shape: [batch, heads, count, dim],
  });
  return { q: make(queryHeads, headDim), k: make(kvHeads, headDim), v: make(kvHeads, valueDim) };
}

/** The same on one machine. */
export function oneMachine(one: Engine, of = sizes): KvCache[] {
  const { layers, ...layout } = of;
  return Array.from({ length: layers }, () => one.kvCache(layout));
}

/** Asserts that numbers are alike within what merging of f32 parts rounds. */
export function assertNear(a: ArrayLike<number>, b: ArrayLike<number>, what: string): void {
  assert(a.length === b.length, `${what}: ${a.length} numbers, ${b.length} expected`);
  for (let at = 0; at < a.length; at++) {
    if (Object.is(a[at], b[at])) continue;
    const off = Math.abs(a[at] - b[at]);
    assert(off <= 2e-6, `${what}[${at}]: ${a[at]}, expected ${b[at]}`);
  }
}
