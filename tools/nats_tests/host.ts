/**
 * A process that serves as a shard, on whatever runtime: its options are JSON, its first argument. It says `ready`, and
 * what it has when it is asked by a line.
 *
 * @module
 */

import process from "node:process";
import { createInterface } from "node:readline";
import { createEngine } from "@flashtile/attention";
import { serveShard, type ShardStore } from "@flashtile/attention/sharded";
import { Objm } from "@nats-io/obj";
import { connect, type NatsConnection } from "@nats-io/transport-node";

/** What a host is told. */
export interface HostOptions {
  readonly servers: string;
  readonly user?: string;
  readonly pass?: string;
  readonly prefix: string;
  readonly group: number;
  readonly name: string;
  readonly maxBytes?: number;
  /** The name of its object store, where it has one. */
  readonly bucket?: string;
}

async function storeOf(connection: NatsConnection, bucket: string): Promise<ShardStore> {
  const store = await new Objm(connection).create(bucket);
  return {
    put: (name, bytes) => store.putBlob({ name, options: { max_chunk_size: 131_072 } }, bytes),
    get: (name) => store.getBlob(name),
  };
}

const options = JSON.parse(process.argv[2]) as HostOptions;
const { servers, user, pass, prefix, group, name, maxBytes, bucket } = options;
const forever = { maxReconnectAttempts: -1, reconnectTimeWait: 50, reconnectJitter: 0 };
const connection = await connect({ servers, user, pass, waitOnFirstConnect: true, ...forever });
const engine = await createEngine({ backend: "wasm", threads: 1 });
const store = bucket === undefined ? undefined : await storeOf(connection, bucket);
try {
  const shard = await serveShard({ connection, prefix, group, name, engine, maxBytes, store });
  console.log("ready");
  createInterface({ input: process.stdin })
    .on("line", () => {
      console.log(JSON.stringify({ ...shard.stats(), resident: process.memoryUsage().rss }));
    })
    .on("close", () => process.exit());
} catch (error) {
  console.log(`failed: ${(error as Error).message}`);
  process.exit(1);
}
