/**
 * Schedules of faults, by a seed, on shards in processes of their own: killed, paused, the server killed, messages lost,
 * doubled and late, another coordinator, another group that pages move to.
 *
 * @module
 */

import { type ShardedCache, shardedCache } from "@flashtile/attention/sharded";
import { connect, type NatsConnection } from "@nats-io/transport-node";
import { sizes } from "../../tests/support/cluster.ts";
import { type Random, seeded, whole } from "../../tests/support/random.ts";
import {
  assertTold,
  expectedUntil,
  generateUntil,
  isTyped,
  recover,
  type Told,
} from "../../tests/support/sharded_tokens.ts";
import { HostProcess } from "./hosts.ts";
import { FaultyProxy } from "./proxy.ts";
import type { NatsServer } from "./server.ts";

/** Tokens of each sequence. */
const until = 40;

/** Nothing is lost, doubled or late. */
const calm = { drop: 0, double: 0, late: 0, milliseconds: 0 };

/** What a cluster is like, and what may happen to it. */
export interface BrokenOptions {
  readonly prefix: string;
  readonly heartbeat: number;
  readonly groups: number;
  readonly replicas: number;
  /** Groups that it may grow to. */
  readonly mostGroups: number;
  /** How many shards, from the first on, are never killed: their memory is looked at. */
  readonly kept: number;
}

/** A cluster that things happen to. */
export class Broken {
  readonly hosts: HostProcess[] = [];
  readonly #server: NatsServer;
  readonly #proxy: FaultyProxy;
  readonly #random: Random;
  readonly #options: BrokenOptions;
  #groups: number;
  #cache: ShardedCache | undefined;
  #connection: NatsConnection | undefined;
  #started = 0;

  private constructor(
    server: NatsServer,
    proxy: FaultyProxy,
    random: Random,
    options: BrokenOptions,
  ) {
    this.#server = server;
    this.#proxy = proxy;
    this.#random = random;
    this.#options = options;
    this.#groups = options.groups;
  }

  /** Starts one on a server, behind a proxy of its own. */
  static async start(
    server: NatsServer,
    random: Random,
    options: BrokenOptions,
  ): Promise<Broken> {
    const proxy = await FaultyProxy.start(server.port, calm, random),
      { groups, replicas } = options;
    const broken = new Broken(server, proxy, random, options);
    try {
      const all = Array.from({ length: groups * replicas }, (_, at) => at % groups);
      // One after the other, so that the first ones are of different groups.
      for (const group of all) await broken.#start(group);
      await broken.#begin();
      return broken;
    } catch (error) {
      await broken.end();
      throw error;
    }
  }

  get cache(): ShardedCache {
    return this.#cache!;
  }

  /** Goes on until something is done: each error must say what is missing. */
  async going<Result>(act: () => Promise<Result>): Promise<Result> {
    for (;;) {
      try {
        return await act();
      } catch (error) {
        await this.#recover(error);
      }
    }
  }

  /** Generates, while things happen. @throws {Error} Where a token gets what it does not get without. */
  async generate(seed: number): Promise<void> {
    const random = this.#random,
      expected = await expectedUntil(seed, until),
      told: Told = new Map();
    const generate = (length: number) =>
      this.going(() => generateUntil(this.cache, seed, length, told));
    this.#proxy.faults = { drop: 0.01, double: 0.03, late: 0.05, milliseconds: 60 };
    for (let length = 8; length < until; length += whole(random, 8, 20)) {
      await generate(length);
      await this.#break().catch((error) => this.#recover(error));
    }
    this.#proxy.faults = calm;
    await generate(until);
    assertTold(told, expected);
  }

  /** Forgets all tokens, on all of the shards. */
  async free(): Promise<void> {
    for (;;) {
      await this.going(() => this.cache.free());
      const { shards } = this.cache;
      if (shards.length === this.hosts.length && shards.every(({ lives }) => lives)) return;
      await this.going(() => this.cache.restore());
    }
  }

  async end(): Promise<void> {
    await this.#cache?.close();
    for (const host of this.hosts) host.signal("SIGCONT");
    await Promise.all(this.hosts.map((host) => host.kill()));
    await this.#connection?.close();
    this.#proxy.end();
  }

  #recover(error: unknown): Promise<void> {
    return recover(this.cache, error, () => this.#coordinate());
  }

  async #start(group: number): Promise<void> {
    const { url: servers } = this.#proxy, { prefix } = this.#options, name = `h${++this.#started}`;
    this.hosts.push(await HostProcess.start("Deno", { servers, prefix, group, name }));
  }

  /** The first coordinator: there is nothing yet that could be restored. */
  async #begin(): Promise<void> {
    for (let attempt = 0;; attempt++) {
      try {
        return await this.#coordinate();
      } catch (error) {
        if (!isTyped(error) || attempt === 10) throw error;
      }
    }
  }

  async #coordinate(): Promise<void> {
    const forever = { maxReconnectAttempts: -1, reconnectTimeWait: 20, reconnectJitter: 0 };
    const connection = await connect({ servers: this.#proxy.url, ...forever });
    const { prefix, heartbeat, replicas } = this.#options, groups = this.#groups;
    const common = { connection, prefix, heartbeat, deadline: 5_000, groups, replicas };
    try {
      const next = await shardedCache({ ...common, ...sizes });
      await this.#cache?.close();
      await this.#connection?.close();
      this.#cache = next;
      this.#connection = connection;
    } catch (error) {
      await connection.close();
      throw error;
    }
  }

  /** Something goes wrong, or another group comes. */
  async #break(): Promise<void> {
    const { hosts } = this, random = this.#random, { kept, mostGroups } = this.#options;
    const at = whole(random, 0, hosts.length - 1), host = hosts[at];
    switch (whole(random, 0, 4)) {
      case 0:
        if (at < kept) return;
        hosts.splice(at, 1);
        await host.kill();
        return await this.#start(host.options.group);
      case 1:
        host.signal("SIGSTOP");
        setTimeout(() => host.signal("SIGCONT"), whole(random, 50, 700));
        return;
      case 2:
        await this.#server.kill();
        return await this.#server.begin();
      case 3:
        return await this.#coordinate();
      default:
        if (this.#groups < mostGroups) await this.#grow();
    }
  }

  /** Another group comes, and gets pages. */
  async #grow(): Promise<void> {
    const { replicas } = this.#options;
    await Promise.all(Array.from({ length: replicas }, () => this.#start(this.#groups)));
    this.#groups++;
    await this.#coordinate().catch((error) => {
      this.#groups--; // Whoever coordinates knows nothing of them.
      throw error;
    });
    await this.going(() => this.cache.rebalance());
  }
}

/** Runs a schedule: each token gets what it gets without faults, or an error says what is missing. */
export async function runSchedule(
  server: NatsServer,
  seed: number,
  heartbeat: number,
): Promise<void> {
  const random = seeded(seed), groups = whole(random, 1, 2), replicas = whole(random, 1, 2);
  const sizes = { groups, replicas, mostGroups: 3, kept: 0 };
  const broken = await Broken.start(server, random, { prefix: `s${seed}`, heartbeat, ...sizes });
  try {
    await broken.generate(seed);
  } catch (error) {
    throw new Error(`schedule of seed ${seed}`, { cause: error });
  } finally {
    await broken.end();
  }
}
