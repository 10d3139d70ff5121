/**
 * A process that generates with the demo's model as the coordinator of a sharded cache, on whatever runtime. Its options are
 * JSON, its first argument; it tells each token.
 *
 * @module
 */

import process from "node:process";
import { shardedCache } from "@flashtile/attention/sharded";
import { connect } from "@nats-io/transport-node";
import { goOn, loadModel, modelSizes, promptIds } from "./model.ts";

const { servers, prefix, groups, until } = JSON.parse(process.argv[2]);
const connection = await connect({ servers });
const decoder = await loadModel(), sizes = await modelSizes();
const cache = await shardedCache({ connection, prefix, groups, heartbeat: 1_500, ...sizes });
const session = decoder.session({ cache }), ids = [...promptIds];
const kept = cache.lengths[0];
if (kept > 0) await session.truncate(0, Math.min(kept, ids.length - 1));
for (let length = ids.length; length < until; length = ids.length) {
  await goOn(session, ids, length + 1);
  console.log(ids[ids.length - 1]);
}
await cache.close();
decoder.free();
await connection.close();
