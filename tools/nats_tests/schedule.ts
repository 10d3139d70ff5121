/**
 * Schedules of faults, by a seed, on shards in processes of their own: killed, paused, the server killed, messages lost,
 * doubled and late, another coordinator.
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

/** A cluster that things happen to. */
class Broken {
  readonly hosts: HostProcess[] = [];
  cache: ShardedCache | undefined;
  readonly #connections: NatsConnection[] = [];
  #started = 0;

  constructor(
    readonly server: NatsServer,
    readonly proxy: FaultyProxy,
    readonly random: Random,
    readonly sizes: { readonly groups: number; readonly replicas: number },
    readonly prefix: string,
    readonly heartbeat: number,
  ) {}

  async start(group: number): Promise<void> {
    const { url: servers } = this.proxy, { prefix } = this, name = `h${++this.#started}`;
    this.hosts.push(await HostProcess.start("Deno", { servers, prefix, group, name }));
  }

  async coordinate(): Promise<void> {
    const forever = { maxReconnectAttempts: -1, reconnectTimeWait: 20, reconnectJitter: 0 };
    const connection = await connect({ servers: this.proxy.url, ...forever });
    this.#connections.push(connection);
    const { prefix, heartbeat } = this;
    const common = { connection, prefix, heartbeat, deadline: 5_000 };
    const next = await shardedCache({ ...common, ...this.sizes, ...sizes });
    await this.cache?.close();
    this.cache = next;
  }

  /** Something goes wrong. */
  async break(): Promise<void> {
    const { random, hosts } = this, at = whole(random, 0, hosts.length - 1), host = hosts[at];
    switch (whole(random, 0, 3)) {
      case 0:
        hosts.splice(at, 1);
        await host.kill();
        return await this.start(host.options.group);
      case 1:
        host.signal("SIGSTOP");
        setTimeout(() => host.signal("SIGCONT"), whole(random, 50, 700));
        return;
      case 2:
        await this.server.kill();
        return await this.server.begin();
      default:
        return await this.coordinate();
    }
  }

  async end(): Promise<void> {
    await this.cache?.close();
    for (const host of this.hosts) host.signal("SIGCONT");
    await Promise.all(this.hosts.map((host) => host.kill()));
    await Promise.all(this.#connections.map((connection) => connection.close()));
  }
}

/** Runs a schedule: each token gets what it gets without faults, or an error says what is missing. */
export async function runSchedule(
  server: NatsServer,
  seed: number,
  heartbeat: number,
): Promise<void> {
  const random = seeded(seed), groups = whole(random, 1, 2), replicas = whole(random, 1, 2);
  const expected = await expectedUntil(seed, until), told: Told = new Map();
  const proxy = await FaultyProxy.start(server.port, calm, random);
  const broken = new Broken(server, proxy, random, { groups, replicas }, `s${seed}`, heartbeat);
  /** Until it is done: each error must say what is missing. */
  const going = async (act: () => Promise<void>) => {
    for (;;) {
      try {
        return await act();
      } catch (error) {
        await recover(broken.cache!, error);
      }
    }
  };
  const generate = (length: number) =>
    going(() => generateUntil(broken.cache!, seed, length, told));
  try {
    const all = Array.from({ length: groups * replicas }, (_, at) => at % groups);
    await Promise.all(all.map((group) => broken.start(group)));
    await broken.coordinate();
    proxy.faults = { drop: 0.01, double: 0.03, late: 0.05, milliseconds: 60 };
    for (let length = 8; length < until; length += whole(random, 8, 20)) {
      await generate(length);
      await broken.break().catch((error) => recover(broken.cache!, error));
    }
    proxy.faults = calm;
    await generate(until);
    assertTold(told, expected);
  } catch (error) {
    throw new Error(`schedule of seed ${seed}`, { cause: error });
  } finally {
    await broken.end();
    proxy.end();
  }
}
