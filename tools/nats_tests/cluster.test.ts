import { createEngine } from "@flashtile/attention";
import {
  type ShardedCache,
  shardedCache,
  type ShardedCacheOptions,
  ShardLostError,
  ShardRefusedError,
} from "@flashtile/attention/sharded";
import { connect, type NatsConnection } from "@nats-io/transport-node";
import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import { once } from "node:events";
import { test } from "node:test";
import { createInterface } from "node:readline";
import { queryHeads, sizes } from "../../tests/support/cluster.ts";
import { errorOf } from "../../tests/support/errors.ts";
import { normals, seeded } from "../../tests/support/random.ts";
import { varyingSeed } from "../../tests/support/seed.ts";
import {
  assertTold,
  expectedUntil,
  generateUntil,
  recover,
  type Told,
} from "../../tests/support/sharded_tokens.ts";
import { HostProcess, type Runtime, startScript } from "./hosts.ts";
import { goOn, loadModel, modelSizes, promptIds } from "./model.ts";
import { runSchedule } from "./schedule.ts";
import { NatsServer } from "./server.ts";

/** Waits for what is slow: on a busy machine a process may not have its turn for some seconds. */
const patience = { heartbeat: 1_500, deadline: 30_000 };

/** Of schedules, which go on after any error that says what is missing. */
const briefHeartbeat = 100;

const forever = { maxReconnectAttempts: -1, reconnectTimeWait: 50, reconnectJitter: 0 };

/** A server, and what was started on it, all of which ends with it. */
class Setting {
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
async function within(
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

const ofModel = { ...await modelSizes(), batch: 1, valueDim: undefined, pageSize: 16 };

const until = 200;

/** What one machine says: tokens, and the logits before each. */
const { ids: expected, logits: expectedLogits } = await (async () => {
  const decoder = await loadModel(), session = decoder.session(), ids = [...promptIds];
  const logits: Float32Array[] = [];
  await goOn(session, ids, until, (given) => logits.push(given));
  decoder.free();
  return { ids, logits };
})();

test("the model's tokens are those of one machine, on shards in Deno, Node and Bun", () =>
  within({}, async (setting) => {
    const runtimes: Runtime[] = ["Deno", "Node", "Bun"];
    await Promise.all(runtimes.map((runtime, at) => setting.host(runtime, at, {}, runtime)));
    const cache = await setting.cache({ groups: 3, ...ofModel }), ids = [...promptIds];
    const decoder = await loadModel(), session = decoder.session({ cache });
    let off = 0;
    await goOn(session, ids, until, (logits, at) => {
      const right = expectedLogits[at - promptIds.length];
      off = Math.max(off, ...logits.map((logit, id) => Math.abs(logit - right[id])));
    });
    assertEquals(ids, expected);
    // As the tests of decoders have it for passes of other lengths.
    assert(off <= 3e-5, `logits are off by ${off}`);
    assertEquals(cache.lengths, [until - 1]);
    for (const host of setting.hosts) {
      const { lengths } = await host.stats();
      assert(lengths[0] >= 48, `${host.options.name} has ${lengths} tokens`);
    }
    decoder.free();
  }));

test("coordinators on Node and Bun give the same, one killed and the next one going on", () =>
  within({}, async (setting) => {
    await Promise.all([0, 1].map((group) => setting.host(`h${group}`, group)));
    const options = { servers: setting.server.url, prefix: "t.cache", groups: 2, until };
    const first = startScript("Node", "generate", options), lines: number[] = [];
    for await (const line of createInterface({ input: first.stdout! })) {
      lines.push(Number(line));
      if (lines.length === 40) break;
    }
    first.kill("SIGKILL");
    assertEquals(lines, expected.slice(promptIds.length, promptIds.length + 40));
    for (const runtime of ["Bun", "Deno"] as const) {
      const next = startScript(runtime, "generate", options), all: number[] = [];
      for await (const line of createInterface({ input: next.stdout! })) all.push(Number(line));
      assertEquals(all, expected.slice(promptIds.length));
    }
  }));

test("with two replicas a killed shard changes nothing", () =>
  within({}, async (setting) => {
    await Promise.all([0, 0, 1, 1].map((group, at) => setting.host(`h${at}`, group)));
    const cache = await setting.cache({ groups: 2, replicas: 2, ...ofModel });
    const decoder = await loadModel(), session = decoder.session({ cache }), ids = [...promptIds];
    await goOn(session, ids, 120);
    const killed = setting.hosts[2].kill();
    await goOn(session, ids, 160);
    await killed;
    await setting.host("h4", 1);
    await cache.restore();
    assertEquals(cache.shards.map(({ lives }) => lives), [true, true, true, true]);
    await setting.hosts[3].kill();
    await goOn(session, ids, until);
    assertEquals(ids, expected);
    decoder.free();
  }));

test("without replicas a killed shard is told, and the store has what it had", () =>
  within({ jetStream: true }, async (setting) => {
    const bucket = "pages";
    await setting.host("h0", 0, { bucket });
    await setting.host("h1", 1, { bucket });
    const cache = await setting.cache({ groups: 2, ...ofModel });
    const decoder = await loadModel(), session = decoder.session({ cache }), ids = [...promptIds];
    await goOn(session, ids, 120);
    await cache.save("noon");
    await goOn(session, ids, 130);
    await setting.hosts[1].kill();
    const error = await errorOf(() => goOn(session, ids, until));
    assertInstanceOf(error, ShardLostError);
    assertEquals((error as ShardLostError).shards, ["h1"]);
    await setting.host("h2", 1, { bucket });
    await cache.restore({ saved: "noon" });
    assertEquals(cache.lengths, [119]);
    await goOn(session, ids, 160);
    // And without a store: what is behind the first gap is computed anew.
    await setting.hosts[0].kill();
    assertInstanceOf(await errorOf(() => goOn(session, ids, until)), ShardLostError);
    await setting.host("h3", 0);
    await cache.restore();
    assertEquals(cache.lengths, [0]);
    await goOn(session, ids, until);
    assertEquals(ids, expected);
    decoder.free();
  }));

test("a server that is killed and comes again changes nothing", () =>
  within({}, async (setting) => {
    await Promise.all([0, 1].map((group) => setting.host(`h${group}`, group)));
    // Nothing is heard meanwhile, by whomever: shards count as lost later than that lasts.
    const cache = await setting.cache({ groups: 2, ...ofModel, heartbeat: 2_000 });
    const decoder = await loadModel(), session = decoder.session({ cache }), ids = [...promptIds];
    await goOn(session, ids, 120);
    await setting.server.kill();
    const going = goOn(session, ids, until);
    await new Promise((resolve) => setTimeout(resolve, 300));
    await setting.server.begin();
    await going;
    assertEquals(ids, expected);
    decoder.free();
  }));

test("a shard that is paused for ten seconds is told, and has everything afterwards", () =>
  within({}, async (setting) => {
    await Promise.all([0, 1].map((group) => setting.host(`h${group}`, group)));
    const cache = await setting.cache({ groups: 2, ...ofModel });
    const decoder = await loadModel(), session = decoder.session({ cache }), ids = [...promptIds];
    await goOn(session, ids, 120);
    setting.hosts[1].signal("SIGSTOP");
    const error = await errorOf(() => goOn(session, ids, until));
    assertInstanceOf(error, ShardLostError);
    assertInstanceOf(await errorOf(() => cache.restore()), ShardLostError);
    await new Promise((resolve) => setTimeout(resolve, 10_000));
    setting.hosts[1].signal("SIGCONT");
    await recover(cache, error);
    assertEquals(cache.lengths, [ids.length - 1]);
    await goOn(session, ids, until);
    assertEquals(ids, expected);
    decoder.free();
  }));

test("20 random schedules of faults: the same as without any, or an error that says what is missing", async () => {
  const seed = varyingSeed(), seeds = Array.from({ length: 20 }, (_, at) => seed + at);
  // Some beside one another, each on a server of its own, since most of the time is waited.
  await Promise.all(Array.from({ length: 4 }, async () => {
    const server = await NatsServer.start();
    try {
      for (let next = seeds.pop(); next !== undefined; next = seeds.pop()) {
        await runSchedule(server, next, briefHeartbeat);
      }
    } finally {
      await server.end();
    }
  }));
});

test("a prompt of 32,768 tokens is prefilled by all", () =>
  within({}, async (setting) => {
    await Promise.all([0, 1, 2].map((group) => setting.host(`h${group}`, group)));
    const tokens = 32_768, dim = 16, random = seeded(varyingSeed());
    const one = { layers: 1, batch: 1, kvHeads: 1, headDim: dim, valueDim: dim, pageSize: 256 };
    const slow = { heartbeat: 3_000, deadline: 120_000 };
    const cache = await setting.cache({ groups: 3, ...one, ...slow });
    const make = () => ({ data: normals(tokens * dim, random), shape: [1, 1, tokens, dim] });
    const [q, k, v] = [make(), make(), make()], engine = await createEngine({ backend: "wasm" });
    const given = await cache.step(0, q, k, v);
    const right = await engine.attention(q, k, v, { causal: true });
    const off = right.out.data.reduce(
      (most, value, at) => Math.max(most, Math.abs(value - given.out.data[at])),
      0,
    );
    assert(off <= 2e-6, `off by ${off}`);
    assertEquals(cache.lengths, [tokens]);
    await engine.close();
  }));

/** Two tenants, each with subjects of its own. */
const tenants = `authorization { users = [
  { user: a, password: pa, permissions: { publish: ["a.>"], subscribe: ["a.>"] } }
  { user: b, password: pb, permissions: { publish: ["b.>"], subscribe: ["b.>"] } }
] }`;

test("another tenant can neither hear nor answer, and credentials that are wrong are told", () =>
  within({ config: tenants }, async (setting) => {
    const servers = setting.server.url;
    await setting.host("h0", 0, { user: "a", pass: "pa", prefix: "a.cache" });
    const connectAs = async (user: string, pass: string) => {
      const connection = await connect({ servers, user, pass });
      setting.connections.push(connection);
      return connection;
    };
    const [own, other] = [await connectAs("a", "pa"), await connectAs("b", "pb")];
    const common = { prefix: "a.cache", groups: 1, ...patience, ...sizes, deadline: 3_000 };
    const cache = await shardedCache({ connection: own, ...common });
    setting.caches.push(cache);
    const error = await errorOf(() => shardedCache({ connection: other, ...common }));
    assertInstanceOf(error, ShardRefusedError);
    assertEquals((error as ShardRefusedError).reason, "permission");
    let heard = 0;
    const refusals: string[] = [];
    other.subscribe("a.>", {
      callback(error) {
        if (error) refusals.push(error.message);
        else heard++;
      },
    });
    other.publish("a.cache.all", new Uint8Array(36));
    await other.flush();
    const { batch, kvHeads, headDim, valueDim } = sizes;
    const make = (heads: number, dim: number) => ({
      data: normals(batch * heads * dim, seeded(1)),
      shape: [batch, heads, 1, dim],
    });
    await cache.step(0, make(queryHeads, headDim), make(kvHeads, headDim), make(kvHeads, valueDim));
    assertEquals(heard, 0);
    assert(refusals.length > 0);
    assertEquals((await setting.hosts[0].stats()).malformed, 0);
    const wrong = await errorOf(() => connect({ servers, user: "a", pass: "b", reconnect: false }));
    assert(/authorization/i.test((wrong as Error).message), String(wrong));
  }));

test("a shard ends with its process's input", () =>
  within({}, async (setting) => {
    const host = await setting.host("h0", 0), told: Told = new Map(), seed = varyingSeed();
    const cache = await setting.cache({ groups: 1 });
    await generateUntil(cache, seed, 20, told);
    assertTold(told, await expectedUntil(seed, 20));
    host.child.stdin!.end();
    if (host.child.exitCode === null) await once(host.child, "exit");
    assertEquals(host.child.exitCode, 0);
  }));
