/**
 * A machine that holds a part of the past: `main.ts` starts some.
 *
 * @module
 */

import process from "node:process";
import { createEngine } from "@flashtile/attention";
import { serveShard } from "@flashtile/attention/sharded";
import { connect } from "@nats-io/transport-node";
import { credentials, prefix, servers } from "./options.ts";

const [name, group] = process.argv.slice(2);
const connection = await connect({ servers, ...credentials, maxReconnectAttempts: -1 });
const engine = await createEngine({ backend: "wasm" });
await serveShard({ connection, prefix, group: Number(group), name, engine });
console.log(`shard ${name} of group ${group} is ready`);
