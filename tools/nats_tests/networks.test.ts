import { type ShardedCache, shardedCache, ShardLostError } from "@flashtile/attention/sharded";
import { connect } from "@nats-io/transport-node";
import { assertInstanceOf } from "@std/assert";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { sizes } from "../../tests/support/cluster.ts";
import { errorOf } from "../../tests/support/errors.ts";
import { varyingSeed } from "../../tests/support/seed.ts";
import {
  assertTold,
  expectedUntil,
  generateUntil,
  recover,
  type Told,
} from "../../tests/support/sharded_tokens.ts";
import { HostProcess } from "./hosts.ts";
import { NatsServer } from "./server.ts";

/** Runs a program of the system; whether it went well. */
function runs(...[program, ...given]: readonly string[]): boolean {
  return spawnSync(program, given, { stdio: "ignore" }).status === 0;
}

/** A host's network: a name, and the address of its side and of ours. */
const networkOf = (at: number) => ({
  name: `flashtile${at}`,
  ours: `10.213.${at}.1`,
  theirs: `10.213.${at}.2`,
  link: `ftv${at}`,
});

type Network = ReturnType<typeof networkOf>;

function remove({ name, link }: Network): void {
  runs("ip", "link", "delete", link);
  runs("ip", "netns", "delete", name);
}

/** Makes a network; whether that is allowed here. */
function make({ name, ours, theirs, link }: Network): boolean {
  const within = ["ip", "netns", "exec", name];
  return runs("ip", "netns", "add", name) &&
    runs("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", name) &&
    runs("ip", "address", "add", `${ours}/24`, "dev", link) &&
    runs("ip", "link", "set", link, "up") &&
    runs(...within, "ip", "address", "add", `${theirs}/24`, "dev", "eth0") &&
    runs(...within, "ip", "link", "set", "eth0", "up") &&
    runs(...within, "nft", "add", "table", "inet", "cut");
}

const networks = [0, 1, 2].map(networkOf);

/** Why not here; `undefined` where networks can be made. */
function unavailable(): string | undefined {
  try {
    const [first] = networks;
    remove(first);
    return make(first) ? undefined : "networks of hosts need root, iproute2 and nftables";
  } finally {
    remove(networks[0]);
  }
}

/** A firewall's rule that lets nothing through, one way or both. */
function cut({ name }: Network, ways: readonly ("input" | "output")[]): void {
  for (const way of ways) {
    const chain = `add chain inet cut ${way} { type filter hook ${way} priority 0; policy drop; }`;
    runs("ip", "netns", "exec", name, "nft", chain);
  }
}

function join({ name }: Network): void {
  runs("ip", "netns", "exec", name, "nft", "flush", "ruleset");
  runs("ip", "netns", "exec", name, "nft", "add", "table", "inet", "cut");
}

const skip = unavailable();

test(
  "a host that a firewall cuts off, both ways or one way, is told, and goes on",
  { skip },
  async () => {
    const seed = varyingSeed(), until = 64, expected = await expectedUntil(seed, until);
    const hosts: HostProcess[] = [], told: Told = new Map();
    for (const network of networks) {
      remove(network);
      make(network);
    }
    const server = await NatsServer.start({ address: "0.0.0.0" });
    const connection = await connect({ servers: server.url });
    let cache: ShardedCache | undefined;
    try {
      for (const [group, { name, ours }] of networks.entries()) {
        const servers = `nats://${ours}:${server.port}`;
        const options = { servers, prefix: "t.cache", group, name: `h${group}` };
        const within = ["ip", "netns", "exec", name];
        hosts.push(await HostProcess.start("Deno", options, within));
      }
      const common = {
        connection,
        prefix: "t.cache",
        groups: 3,
        heartbeat: 1_500,
        deadline: 30_000,
      };
      cache = await shardedCache({ ...common, ...sizes });
      const cuts = [["input", "output"], ["input"], ["output"]] as const;
      for (const [at, ways] of cuts.entries()) {
        await generateUntil(cache, seed, 16 * (at + 1), told);
        cut(networks[1], ways);
        const error = await errorOf(() => generateUntil(cache!, seed, until, told));
        assertInstanceOf(error, ShardLostError);
        join(networks[1]);
        await recover(cache, error);
      }
      await generateUntil(cache, seed, until, told);
      assertTold(told, expected);
    } finally {
      await cache?.close();
      await Promise.all(hosts.map((host) => host.kill()));
      await connection.close();
      await server.end();
      for (const network of networks) remove(network);
    }
  },
);
