/**
 * Servers, shards and coordinators of a test, all of which end with it.
 *
 * @module
 */

import {
  type ShardedCache,
  shardedCache,
  type ShardedCacheOptions,
} from "@flashtile/attention/sharded";
import { connect, type NatsConnection } from "@nats-io/transport-node";
import { sizes } from "../../tests/support/cluster.ts";
import { HostProcess, type Runtime } from "./hosts.ts";
import { NatsServer } from "./server.ts";

/** Waits for what is slow: on a busy machine a process may not have its turn for some seconds. */
export const patience = { heartbeat: 1_500, deadline: 30_000 };

const forever = { maxReconnectAttempts: -1, reconnectTimeWait: 50, reconnectJitter: 0 };

/** A server, and what was started on it, all of which ends with it. */
export class Setting {
  readonly server: NatsServer;
  readonly hosts: HostProcess[] = [];
  readonly connections: NatsConnection[] = [];
  readonly caches: ShardedCache[] = [];

  private constructor(server: NatsServer) {
    this.server = server;
  }

  static async start(options: Parameters<typeof NatsServer.start>[0] = {}): Promise<Setting> {
    return new Setting(await NatsServer.start(options));
  }

  async host(name: string, group: number, more: object = {}, runtime: Runtime = "Deno") {
    const servers = this.server.url, options = { servers, prefix: "t.cache", group, name, ...more };
    const host = await HostProcess.start(runtime, options);
    this.hosts.push(host);
    return host;
  }

  async cache(options: Partial<ShardedCacheOptions>): Promise<ShardedCache> {
    const connection = await connect({ servers: this.server.url, ...forever });
    this.connections.push(connection);
    const common = { connection, prefix: "t.cache", ...patience };
    const cache = await shardedCache({ ...common, ...sizes, ...options });
    this.caches.push(cache);
    return cache;
  }

  async end(): Promise<void> {
    for (const cache of this.caches) await cache.close();
    for (const host of this.hosts) host.signal("SIGCONT");
    await Promise.all(this.hosts.map((host) => host.kill()));
    await Promise.all(this.connections.map((connection) => connection.close()));
    await this.server.end();
  }
}

/** Does something on a server, and ends everything. */
export async function within(
  options: Parameters<typeof NatsServer.start>[0],
  act: (setting: Setting) => Promise<void>,
): Promise<void> {
  const setting = await Setting.start(options);
  try {
    await act(setting);
  } finally {
    await setting.end();
  }
}
