/**
 * Caches over many machines: each shard keeps pages of the tokens, a coordinator asks all of them and merges what
 * they answer, exactly. Messages go over a NATS server, by a connection of the caller's.
 *
 * ```ts ignore
 * import { createEngine } from "@flashtile/attention";
 * import { serveShard, shardedCache } from "@flashtile/attention/sharded";
 * import { connect } from "@nats-io/transport-node";
 *
 * // On each machine that holds a part:
 * const connection = await connect({ servers: "nats://127.0.0.1:4222" });
 * const engine = await createEngine({ backend: "wasm" });
 * const shard = await serveShard({ connection, prefix: "demo", group: 0, name: "a", engine });
 *
 * // On the one that generates:
 * const sizes = { layers: 2, kvHeads: 2, headDim: 64 };
 * const cache = await shardedCache({ connection, prefix: "demo", groups: 1, ...sizes });
 * console.log(cache.lengths); // [0]
 * await cache.close();
 * await shard.close();
 * ```
 *
 * @module
 */

export type { ConnectionMessage, ConnectionSubscription, ShardConnection } from "./connection.ts";
export {
  type RestoreOptions,
  type ShardedCache,
  shardedCache,
  type ShardState,
} from "./coordinator/cache.ts";
export type { Traffic } from "./coordinator/exchange.ts";
export type { ShardedCacheOptions } from "./coordinator/options.ts";
export type { ShardedResult } from "./coordinator/parts.ts";
export type {
  ShardedAppendOptions,
  ShardedAttendOptions,
  ShardedStepOptions,
} from "./coordinator/read.ts";
export { type RefusalReason, ShardLostError, ShardRefusedError } from "./errors.ts";
export {
  type ServedShard,
  serveShard,
  type ServeShardOptions,
  type ShardStats,
} from "./shard/serve.ts";
export type { ShardedSizes } from "./sizes.ts";
export type { ShardStore } from "./store.ts";
