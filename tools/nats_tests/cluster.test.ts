import { createEngine } from "@flashtile/attention";
import { shardedCache, ShardRefusedError } from "@flashtile/attention/sharded";
import { connect } from "@nats-io/transport-node";
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
  type Told,
} from "../../tests/support/sharded_tokens.ts";
import { freePort } from "../ports.ts";
import { type Runtime, startScript } from "./hosts.ts";
import { alone, goOn, loadModel, modelOptions, promptIds, until } from "./model.ts";
import { NatsServer } from "./server.ts";
import { patience, within } from "./setting.ts";

test("the model's tokens are those of one machine, on shards in Deno, Node and Bun", () =>
  within({}, async (setting) => {
    const runtimes: Runtime[] = ["Deno", "Node", "Bun"];
    await Promise.all(runtimes.map((runtime, at) => setting.host(runtime, at, {}, runtime)));
    const cache = await setting.cache({ groups: 3, ...await modelOptions() }), ids = [...promptIds];
    const decoder = await loadModel(), session = decoder.session({ cache });
    const { ids: expected, logits: expectedLogits } = await alone();
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
    const { ids: expected } = await alone();
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

test("shards on one server give the same to a coordinator on another of its cluster", async () => {
  const port = await freePort(), routes = `routes: ["nats://127.0.0.1:${port}"]`;
  const clusterOf = (listen: number, more = "") => ({
    config: `cluster { name: t, listen: "127.0.0.1:${listen}", ${more} }`,
  });
  await within(clusterOf(port), async (setting) => {
    const other = await NatsServer.start(clusterOf(await freePort(), routes));
    try {
      const seed = varyingSeed(), told: Told = new Map();
      // One of them is where the coordinator is, and is heard at once.
      await setting.host("h0", 0);
      await setting.host("h1", 1, { servers: other.url });
      await setting.host("h2", 2, { servers: other.url });
      const cache = await setting.cache({ groups: 3 });
      await generateUntil(cache, seed, 40, told);
      assertTold(told, await expectedUntil(seed, 40));
    } finally {
      await other.end();
    }
  });
});

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
