/**
 * What a sharded cache is asked when it is made.
 *
 * @module
 */

import { checkOneOf, isExtent, isWhole, kindOf, mostDims, readOptions } from "../../check/words.ts";
import { type CacheDType, cacheDTypes } from "../../contract/pages.ts";
import { checkConnection, checkPrefix, type ShardConnection } from "../connection.ts";
import { mostGroups } from "../shard/serve.ts";
import { mostLayers, mostPlaces, type ShardedSizes } from "../sizes.ts";

/** Options of `shardedCache()`. */
export interface ShardedCacheOptions {
  /** A connection to the server; it stays the caller's. */
  readonly connection: ShardConnection;
  /** What all subjects of the cache begin with, as its shards have it. */
  readonly prefix: string;
  /** Groups, each of which has a part of the tokens; 1 by default. */
  readonly groups?: number | undefined;
  /** Shards of each group, which all have the same; 1 by default. */
  readonly replicas?: number | undefined;
  /** Layers of the model. */
  readonly layers: number;
  /** Sequences, B; 1 by default. */
  readonly batch?: number | undefined;
  /** Key/value heads, Hkv. */
  readonly kvHeads: number;
  /** Size of a key, D. */
  readonly headDim: number;
  /** Size of a value, Dv; as D by default. */
  readonly valueDim?: number | undefined;
  /** How shards store keys and values; f32 by default. */
  readonly dtype?: CacheDType | undefined;
  /** Tokens that are dealt to a group in one go: a power of two from 16 to 2,048; 256 by default. */
  readonly pageSize?: number | undefined;
  /** How long a call waits for shards that live, in milliseconds; 10,000 by default. */
  readonly deadline?: number | undefined;
  /** Every so many milliseconds shards are asked whether they live, and what was not answered is sent again; 1,000 by default. */
  readonly heartbeat?: number | undefined;
}

const optionNames = [
  "connection",
  "prefix",
  "groups",
  "replicas",
  "layers",
  "batch",
  "kvHeads",
  "headDim",
  "valueDim",
  "dtype",
  "pageSize",
  "deadline",
  "heartbeat",
] as const satisfies readonly (keyof ShardedCacheOptions)[];

/** They, with their defaults filled in. */
export interface ReadCacheOptions {
  readonly connection: ShardConnection;
  readonly prefix: string;
  readonly groups: number;
  readonly replicas: number;
  readonly sizes: ShardedSizes;
  readonly deadline: number;
  readonly heartbeat: number;
}

/** What messages of errors begin with. */
export const cannotMake = "Cannot make a sharded cache";

const mostSequences = 65_536;

function checkNumber(name: string, value: unknown, least: number, most: number): void {
  if (isWhole(value) && value >= least && value <= most) return;
  throw new RangeError(
    `${cannotMake}: \`${name}\` must be a whole number from ${least} to ${most}, got ${
      kindOf(value)
    }`,
  );
}

/** Reads them. */
export function readCacheOptions(given: ShardedCacheOptions): ReadCacheOptions {
  const options = readOptions(given, optionNames, cannotMake);
  const { connection, prefix, groups = 1, replicas = 1, layers, batch = 1 } = options;
  const { kvHeads, headDim, valueDim = headDim, dtype = "f32", pageSize = 256 } = options;
  const { deadline = 10_000, heartbeat = 1_000 } = options;
  checkConnection(connection, cannotMake);
  checkPrefix(prefix, cannotMake);
  checkNumber("groups", groups, 1, mostGroups);
  checkNumber("replicas", replicas, 1, 16);
  checkNumber("layers", layers, 1, mostLayers);
  checkNumber("batch", batch, 1, Math.min(mostSequences, Math.floor(mostPlaces / layers)));
  for (const [name, value] of Object.entries({ kvHeads, headDim, valueDim })) {
    checkNumber(name, value, 1, mostDims);
  }
  checkOneOf("dtype", dtype, cacheDTypes, cannotMake);
  const isPower = isExtent(pageSize) && (pageSize & (pageSize - 1)) === 0;
  if (!isPower || pageSize < 16 || pageSize > 2048) {
    throw new RangeError(
      `${cannotMake}: \`pageSize\` must be a power of two from 16 to 2048, got ${kindOf(pageSize)}`,
    );
  }
  checkNumber("heartbeat", heartbeat, 10, 60_000);
  checkNumber("deadline", deadline, heartbeat, 3_600_000);
  return {
    ...{ connection, prefix, groups, replicas, deadline, heartbeat },
    sizes: { layers, batch, kvHeads, headDim, valueDim, pageSize, dtype },
  };
}
