/**
 * A process of the lines: `child.ts ORDER` times what it is told and prints milliseconds as JSON. It runs on every runtime;
 * elsewhere than on Deno bundled into one file.
 *
 * @module
 */

import { createRequire } from "node:module";
import { join } from "node:path";
import process from "node:process";
import { mark, type Order } from "./orders.ts";
import { carryOut } from "./timing.ts";

/** Milliseconds on the processor. */
function processorTime(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

const order = JSON.parse(process.argv[2]) as Order;
if (order.wide) await import("../../src/wide/mod.ts");
const require = createRequire(join(order.folder, "package.json"));
const setup = { threads: order.threads, require, resolve: (name: string) => require.resolve(name) };
const now = order.processor ? processorTime : () => performance.now();
const answer = await carryOut(order, setup, now);
console.log(`\n${mark}${JSON.stringify(answer)}`);
// Peers leave threads behind that would keep the process alive.
process.exit(0);
