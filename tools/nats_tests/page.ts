/**
 * A page as the coordinator of a sharded cache, by WebSocket.
 *
 * @module
 */

import { shardedCache } from "@flashtile/attention/sharded";
import { wsconnect } from "@nats-io/nats-core";
import { sizes } from "../../tests/support/cluster.ts";
import { generateUntil, type Told } from "../../tests/support/sharded_tokens.ts";

/** Generates, and gives all that attention gave. */
async function generate(servers: string, groups: number, seed: number, until: number) {
  const connection = await wsconnect({ servers }), told: Told = new Map();
  const cache = await shardedCache({ connection, prefix: "t.cache", groups, ...sizes });
  await generateUntil(cache, seed, until, told);
  await cache.close();
  await connection.close();
  return [...told].map(([key, row]) => [key, [...row]] as const);
}

Object.assign(globalThis, { generate });
