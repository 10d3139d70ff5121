/**
 * `deno task cluster`: starts a server and shards on this machine, until it is ended with Ctrl+C.
 * `deno task cluster:generate` then continues a text on them.
 *
 * @module
 */

import "../../tools/help.ts";
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { configuration, groups, replicas } from "./options.ts";

const path = join(mkdtempSync(join(tmpdir(), "cluster-")), "server.conf");
writeFileSync(path, configuration);
const children: ChildProcess[] = [];

/** Ends everything that was started. */
function end(code: number): void {
  for (const child of children) child.kill();
  process.exit(code);
}

const server = spawn("nats-server", ["--config", path], { stdio: "ignore" });
children.push(server);
server.on("error", () => {
  console.error("Cannot find nats-server: install it with `apt-get install nats-server`");
  end(1);
});
server.on("exit", (code) => {
  console.error(`nats-server ended with ${code}: is another one at its address?`);
  end(1);
});
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => end(0));

const script = fileURLToPath(new URL("shard.ts", import.meta.url));
for (let group = 0; group < groups; group++) {
  for (let replica = 0; replica < replicas; replica++) {
    const given = ["run", "-A", "--no-check", script, `${group}${"abc"[replica]}`, String(group)];
    children.push(spawn(process.execPath, given, { stdio: "inherit" }));
  }
}
