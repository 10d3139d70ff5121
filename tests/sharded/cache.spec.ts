import { ShardLostError, ShardRefusedError } from "@flashtile/attention/sharded";
import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import { test } from "node:test";
import {
  assertNear,
  Cluster,
  engine,
  oneMachine,
  queryHeads,
  randomRows,
  type Rows,
  sizes,
} from "../support/cluster.ts";
import { errorOf } from "../support/errors.ts";
import { seeded } from "../support/random.ts";
import { varyingSeed } from "../support/seed.ts";
import { sharedOut } from "../support/share.ts";

function isRefused(error: unknown, reason: string, text: RegExp): void {
  assertInstanceOf(error, ShardRefusedError);
  const refused = error as ShardRefusedError;
  assertEquals(refused.reason, reason, refused.message);
  assert(text.test(refused.message), refused.message);
}

/** Groups, and options of a step. */
const configs = [
  [1, {}],
  [3, {}],
  [3, { window: [20, 0] }],
  [2, { softcap: 3 }],
  [3, { window: [5, null], scale: 0.2 }],
] as const;

test("step() gives what one machine gives, whatever the groups, windows and softcaps", async () => {
  const random = seeded(varyingSeed()), one = await engine();
  for (const [groups, options] of sharedOut(configs, 2, "step()")) {
    const cluster = new Cluster(random), local = oneMachine(one);
    await cluster.startAll(groups);
    const cache = await cluster.coordinate({ groups });
    for (const count of [40, 1, 1, 7]) {
      for (let layer = 0; layer < sizes.layers; layer++) {
        const { q, k, v } = randomRows(count, random), lengths = [count, Math.ceil(count / 2)];
        const given = await cache.step(layer, q, k, v, { lengths, ...options });
        local[layer].append(k, v, { lengths });
        const asked = { causal: true, lengths, lse: true, ...options } as const;
        const expected = local[layer].attendSync(q, asked);
        assertNear(given.out.data, expected.out.data, "out");
        assertNear(given.lse.data, expected.lse.data, "lse");
        assertEquals(given.out.shape, [...expected.out.shape]);
      }
    }
    assertEquals(cache.lengths, local[0].lengths);
    await cluster.end();
    for (const each of local) each.free();
  }
});

/** How queries and keys are turned. */
const rotations = [
  { theta: 500 },
  { style: "interleaved", dims: 4 },
  { scaling: { type: "llama3", factor: 8, originalLength: 16 } },
  { positions: 100 },
] as const;

test("step() turns queries and keys as a cache on one machine does, and leaves them as they are", async () => {
  const random = seeded(varyingSeed()), one = await engine();
  for (const rope of sharedOut(rotations, 1, "step() turns")) {
    const cluster = new Cluster(random), local = oneMachine(one);
    await cluster.startAll(2);
    const cache = await cluster.coordinate({ groups: 2 });
    for (const [count, layout] of [[20, "bhnd"], [1, "bnhd"], [3, "bnhd"]] as const) {
      const rows = randomRows(count, random), lengths = [count, Math.ceil(count / 2)];
      const [q, k, v] = [rows.q, rows.k, rows.v].map(({ data, shape: [batch, heads, n, dim] }) => ({
        data,
        shape: layout === "bhnd" ? [batch, heads, n, dim] : [batch, n, heads, dim],
      }));
      const before = [q, k].map(({ data }) => data.slice()), options = { lengths, layout, rope };
      const given = await cache.step(0, q, k, v, options);
      assertEquals([q.data, k.data], before);
      const expected = await local[0].step(q, k, v, { ...options, causal: true });
      assertNear(given.out.data, expected.out.data, JSON.stringify(rope));
    }
    await cluster.end();
    for (const each of local) each.free();
  }
});

test("a rotation that cannot be is refused, and nothing is appended", async () => {
  const random = seeded(varyingSeed()), cluster = new Cluster(random);
  await cluster.startAll(1);
  const cache = await cluster.coordinate({ groups: 1 }), { q, k, v } = randomRows(3, random);
  const refused = async (rope: object, text: string) => {
    const error = await errorOf(() => cache.step(0, q, k, v, { rope }));
    assert((error as Error).message.includes(text), String(error));
  };
  await refused({ dims: 3 }, "`dims` must be even and from 2 to D = 8, got 3");
  await refused({ positions: [1, 2] }, "`positions` must be a number, or 3 of them");
  await refused({ layout: "bnhd" }, "Cannot step: ");
  assertEquals(cache.lengthsOf(0), [0, 0]);
  await cache.step(0, q, k, v, { rope: {} });
  assertEquals(cache.lengthsOf(0), [3, 3]);
  await cluster.end();
});

test("append() and attend() give what one machine gives, in both layouts", async () => {
  const random = seeded(varyingSeed()), one = await engine();
  const cluster = new Cluster(random), local = oneMachine(one);
  await cluster.startAll(3);
  const cache = await cluster.coordinate({ groups: 3 });
  const { q, k, v } = randomRows(50, random);
  await cache.append(1, k, v);
  local[1].append(k, v);
  for (
    const options of [{}, { causal: true }, { window: [3, 5] }, {
      causal: true,
      scale: 0.5,
    }] as const
  ) {
    const given = await cache.attend(1, q, options);
    const expected = await local[1].attend(q, { ...options, offset: 0, lse: true });
    assertNear(given.out.data, expected.out.data, JSON.stringify(options));
    assertNear(given.lse.data, expected.lse.data, JSON.stringify(options));
  }
  const { batch, headDim } = sizes,
    swapped = { data: q.data, shape: [batch, 50, queryHeads, headDim] };
  const given = await cache.attend(1, swapped, { layout: "bnhd", causal: true });
  const expected = await local[1].attend(swapped, { layout: "bnhd", causal: true });
  assertNear(given.out.data, expected.out.data, "bnhd");
  assertEquals(cache.lengths, [0, 0]);
  assertEquals(cache.lengthsOf(1), [50, 50]);
  await cluster.end();
  for (const each of local) each.free();
});

test("truncate(), fork() and free() leave what one machine has", async () => {
  const random = seeded(varyingSeed()), one = await engine();
  const cluster = new Cluster(random), local = oneMachine(one);
  await cluster.startAll(2, 2);
  const cache = await cluster.coordinate({ groups: 2, replicas: 2 });
  const step = async (count: number, lengths: number[]) => {
    for (let layer = 0; layer < sizes.layers; layer++) {
      const { q, k, v } = randomRows(count, random);
      const given = await cache.step(layer, q, k, v, { lengths });
      local[layer].append(k, v, { lengths });
      const expected = local[layer].attendSync(q, { causal: true, lengths });
      assertNear(given.out.data, expected.out.data, `layer ${layer}`);
    }
    assertEquals(cache.lengths, local[0].lengths);
  };
  await step(45, [45, 3]);
  await cache.truncate(0, 37);
  for (const each of local) each.truncate(0, 37);
  await step(4, [4, 4]);
  await cache.fork(0, 1);
  for (const each of local) each.fork(0, 1);
  await step(20, [20, 3]);
  await cache.free(0);
  for (const each of local) each.free(0);
  await step(5, [5, 5]);
  await cache.free();
  assertEquals(cache.lengths, [0, 0]);
  for (const { shard } of cluster.hosts.values()) assertEquals(shard.stats().bytes, 0);
  await cluster.end();
  for (const each of local) each.free();
});

/** Steps of all layers; the rows of each. */
async function fill(cluster: Cluster, groups: number, count: number, random: () => number) {
  await cluster.startAll(groups);
  const cache = await cluster.coordinate({ groups });
  const rows: Rows[] = [];
  for (let layer = 0; layer < sizes.layers; layer++) {
    rows.push(randomRows(count, random));
    await cache.append(layer, rows[layer].k, rows[layer].v);
  }
  return { cache, rows };
}

test("a shard that dies is a ShardLostError, and restore() goes on with what is there", async () => {
  const random = seeded(varyingSeed()), cluster = new Cluster(random), one = await engine();
  const { cache, rows: [{ q, k, v }] } = await fill(cluster, 3, 50, random);
  cluster.hosts.get("1a")!.connection.die();
  const error = await errorOf(() => cache.attend(0, q, { causal: true }));
  assertInstanceOf(error, ShardLostError);
  const lost = error as ShardLostError;
  assertEquals(lost.shards, ["1a"]);
  assertEquals(lost.tokens, 34); // Of pages 1, and of 0 and 3.
  assertEquals(await errorOf(() => cache.truncate(0, 1)), error);
  assertInstanceOf(await errorOf(() => cache.restore()), ShardLostError);
  await cluster.start("1b", 1);
  await cache.restore();
  assertEquals(cache.lengths, [16, 0]);
  const rest = (tensor: { data: Float32Array; shape: number[] }, from = 16) => {
    const [batch, heads, count, dim] = tensor.shape;
    const strides = [heads * count * dim, count * dim, dim, 1];
    return {
      data: tensor.data,
      shape: [batch, heads, count - from, dim],
      strides,
      offset: from * dim,
    };
  };
  await cache.append(0, rest(k), rest(v), { lengths: [34, 0] });
  await cache.append(0, k, v, { lengths: [0, 50] });
  const [local] = oneMachine(one);
  local.append(k, v);
  const given = await cache.attend(0, q, { causal: true });
  assertNear(given.out.data, local.attendSync(q, { causal: true }).out.data, "out");
  await cluster.end();
  local.free();
});

test("with replicas a shard may die, and one that is started anew gets what the others have", async () => {
  const random = seeded(varyingSeed()), cluster = new Cluster(random);
  await cluster.startAll(2, 2);
  const cache = await cluster.coordinate({ groups: 2, replicas: 2 });
  const { q, k, v } = randomRows(40, random);
  for (let layer = 0; layer < sizes.layers; layer++) await cache.append(layer, k, v);
  const before = await cache.attend(0, q, { causal: true });
  cluster.hosts.get("0a")!.connection.die();
  const { q: one, k: key, v: value } = randomRows(1, random);
  const expected: Float32Array[] = [];
  for (let layer = 0; layer < sizes.layers; layer++) {
    expected.push((await cache.step(layer, one, key, value)).out.data);
  }
  assertEquals(cache.shards.filter(({ lives }) => !lives).map(({ name }) => name), ["0a"]);
  await cluster.start("0c", 0);
  await cache.restore();
  assertEquals(cache.lengths, [41, 41]);
  const [copy, origin] = ["0c", "0b"].map((name) => cluster.hosts.get(name)!.shard.stats());
  assertEquals(copy.lengths, origin.lengths);
  cluster.hosts.get("0b")!.connection.die();
  await cache.truncate(0, 40);
  await cache.truncate(1, 40);
  assertEquals((await cache.attend(0, q, { causal: true })).out.data, before.out.data);
  for (let layer = 0; layer < sizes.layers; layer++) {
    const { out } = await cache.step(layer, one, key, value);
    assertEquals(out.data, expected[layer]);
  }
  await cluster.end();
});

test("a coordinator that is replaced is refused from then on, and its successor has everything", async () => {
  const random = seeded(varyingSeed()), cluster = new Cluster(random);
  const { cache, rows: [{ q }] } = await fill(cluster, 3, 50, random);
  const before = await cache.attend(0, q, { causal: true });
  const next = await cluster.coordinate({ groups: 3 });
  assertEquals(next.lengths, [50, 50]);
  assert(next.epoch > cache.epoch);
  isRefused(
    await errorOf(() => cache.attend(0, q)),
    "epoch",
    /epoch \d+ was granted to another coordinator/,
  );
  isRefused(await errorOf(() => cache.restore()), "epoch", /granted/);
  assertEquals((await next.attend(0, q, { causal: true })).out.data, before.out.data);
  await cluster.end();
});

test("a layer that a dead coordinator left longer is cut to what all have", async () => {
  const random = seeded(varyingSeed()), cluster = new Cluster(random);
  const { cache } = await fill(cluster, 3, 50, random);
  const { k, v } = randomRows(30, random);
  await cache.append(0, k, v);
  const next = await cluster.coordinate({ groups: 3 });
  assertEquals(next.lengths, [50, 50]);
  assertEquals(next.lengthsOf(0), [50, 50]);
  await cluster.end();
});

test("nothing stays of an append in the middle of which a shard is full", async () => {
  const random = seeded(varyingSeed()), cluster = new Cluster(random);
  await cluster.start("a", 0);
  await cluster.start("b", 1, 4 * 16 * 2 * (8 + 12) * 2); // Two pages of one layer.
  const cache = await cluster.coordinate({ groups: 2 });
  const { k, v } = randomRows(20, random);
  await cache.append(0, k, v);
  const bytes = [...cluster.hosts.values()].map(({ shard }) => shard.stats().bytes);
  isRefused(
    await errorOf(() => cache.append(0, randomRows(80, random).k, randomRows(80, random).v)),
    "full",
    /b is full: it would have \d+ bytes, `maxBytes` is 5120/,
  );
  assertEquals(cache.lengthsOf(0), [20, 20]);
  assertEquals([...cluster.hosts.values()].map(({ shard }) => shard.stats().bytes), bytes);
  await cache.append(
    1,
    ...[randomRows(9, random)].flatMap(({ k, v }) => [k, v]) as [Rows["k"], Rows["v"]],
  );
  await cluster.end();
});

test("save() and restore({ saved }) bring everything back to what it was", async () => {
  const random = seeded(varyingSeed()), kept = new Map<string, Uint8Array>();
  const cluster = new Cluster(random, {
    put: (name, bytes) => Promise.resolve(void kept.set(name, bytes.slice())),
    get: (name) => Promise.resolve(kept.get(name) ?? null),
  });
  const { cache, rows: [{ q }] } = await fill(cluster, 2, 50, random);
  const before = await cache.attend(0, q, { causal: true });
  await cache.save("noon");
  await cache.truncate(0, 3);
  for (let layer = 0; layer < sizes.layers; layer++) {
    const { k, v } = randomRows(2, random);
    await cache.append(layer, k, v);
  }
  cluster.hosts.get("1a")!.connection.die();
  const lengths = [1, 1];
  assertInstanceOf(await errorOf(() => cache.attend(0, q, { lengths })), ShardLostError);
  await cluster.start("1b", 1);
  await cache.restore({ saved: "noon" });
  assertEquals(cache.lengths, [50, 50]);
  assertEquals((await cache.attend(0, q, { causal: true })).out.data, before.out.data);
  isRefused(
    await errorOf(() => cache.restore({ saved: "never" })),
    "failed",
    /the store has no never/,
  );
  await cluster.end();
});

test("restore() does not take tokens whose call was not answered", async () => {
  const random = seeded(varyingSeed()), cluster = new Cluster(random);
  await cluster.startAll(2);
  const cache = await cluster.coordinate({ groups: 2 });
  const first = randomRows(20, random), { q, k, v } = randomRows(1, random);
  for (let layer = 0; layer < sizes.layers; layer++) await cache.append(layer, first.k, first.v);
  await cache.step(0, q, k, v);
  // The owner appends, the other is not heard: of the last layer, so that all layers have the token.
  const [owner, other] = ["1a", "0a"].map((name) => cluster.hosts.get(name)!);
  other.connection.sends = false;
  assertInstanceOf(await errorOf(() => cache.step(1, q, k, v)), ShardLostError);
  assertEquals(owner.shard.stats().lengths, [5, 5]);
  other.connection.sends = true;
  await cache.restore();
  assertEquals(cache.lengths, [20, 20]);
  const next = await cluster.coordinate({ groups: 2 });
  assertEquals(next.lengths, [20, 20]);
  await cluster.end();
});

test("what is aborted leaves nothing, and the cache goes on", async () => {
  const random = seeded(varyingSeed()), cluster = new Cluster(random);
  const { cache, rows: [{ q }] } = await fill(cluster, 2, 50, random);
  const before = await cache.attend(0, q, { causal: true }), { k, v } = randomRows(30, random);
  const controller = new AbortController(), reason = new Error("enough");
  const running = cache.append(0, k, v, { signal: controller.signal });
  controller.abort(reason);
  assertEquals(await errorOf(() => running), reason);
  const again = cache.append(0, k, v, { signal: controller.signal });
  assertEquals(await errorOf(() => again), reason);
  assertEquals(cache.lengthsOf(0), [50, 50]);
  assertEquals((await cache.attend(0, q, { causal: true })).out.data, before.out.data);
  await cluster.end();
});

test("what cannot be is refused, with what to do", async () => {
  const random = seeded(varyingSeed()), cluster = new Cluster(random);
  const { cache, rows: [{ q, k, v }] } = await fill(cluster, 2, 20, random);
  // A name that is taken.
  isRefused(await errorOf(() => cluster.start("1a", 1)), "name", /another shard has the name 1a/);
  // Another model's cache.
  isRefused(
    await errorOf(() => cluster.coordinate({ groups: 2, headDim: 16 })),
    "sizes",
    /holds another model's cache: it has headDim 8, asked is 16/,
  );
  // A server that is too old.
  cluster.network.version = "1.4.1";
  isRefused(
    await errorOf(() => cluster.start("c", 0)),
    "version",
    /the server is nats-server 1\.4\.1, needed is 2\.2 or later/,
  );
  cluster.network.version = "2.9.10";
  // Subjects that the server does not permit.
  const connection = cluster.network.connect();
  connection.refused = /back/;
  isRefused(
    await errorOf(() => cluster.coordinate({ groups: 2 }, connection)),
    "permission",
    /the server refuses to let t\.cache\.back\.\w+ be heard/,
  );
  // Rows that no message has room for.
  cluster.network.maxPayload = 256;
  const small = await cluster.coordinate({ groups: 2 });
  isRefused(
    await errorOf(() => small.attend(0, q)),
    "payload",
    /a row needs a message of \d+ bytes/,
  );
  cluster.network.maxPayload = 1_048_576;
  // A connection that drains, and one that is closed.
  const draining = cluster.network.connect();
  const other = await cluster.coordinate({ groups: 2 }, draining);
  draining.isDrainingNow = true;
  isRefused(await errorOf(() => other.append(0, k, v)), "closed", /the connection drains/);
  draining.close();
  isRefused(await errorOf(() => other.append(0, k, v)), "closed", /the connection was closed/);
  // Shapes.
  const last = await cluster.coordinate({ groups: 2 });
  assertInstanceOf(await errorOf(() => last.append(0, q, v)), RangeError);
  assertInstanceOf(await errorOf(() => last.append(7, k, v)), RangeError);
  assertInstanceOf(await errorOf(() => last.attend(0, q, { lengths: [20, 21] })), RangeError);
  assertInstanceOf(await errorOf(() => last.attend(0, q, { sinks: [1] } as never)), TypeError);
  await cache.close();
  await cluster.end();
});

test("messages are as long as the server lets through, answers included", async () => {
  const random = seeded(varyingSeed()), cluster = new Cluster(random), one = await engine();
  cluster.network.maxPayload = 2_000;
  await cluster.startAll(3);
  const cache = await cluster.coordinate({ groups: 3 }), [local] = oneMachine(one);
  const { q, k, v } = randomRows(60, random);
  const given = await cache.step(0, q, k, v);
  local.append(k, v);
  assertNear(given.out.data, local.attendSync(q, { causal: true }).out.data, "out");
  const longest = Math.max(...cluster.network.sent.map(({ data }) => data.length));
  assert(longest <= 2_000 && longest > 1_500, `${longest} bytes`);
  await cluster.end();
  local.free();
});

test("a token costs the bytes that docs/SHARDED.md says", async () => {
  const random = seeded(varyingSeed()), cluster = new Cluster(random), groups = 3;
  const { kvHeads, headDim, valueDim } = sizes, batch = 1;
  await cluster.startAll(groups);
  const cache = await cluster.coordinate({ groups, batch }), before = cache.traffic;
  const { q, k, v } = randomRows(1, random, { ...sizes, batch });
  await cache.step(0, q, k, v);
  const { traffic } = cache, elements = queryHeads * headDim + kvHeads * (headDim + valueDim);
  assertEquals(traffic.messagesOut - before.messagesOut, 1);
  assertEquals(traffic.bytesOut - before.bytesOut, 124 + 4 * groups + 4 * elements);
  const answers = groups * (52 + 4 * queryHeads * (valueDim + 1));
  const pong = cluster.network.sent.filter(({ data }) => data[5] === 1).map(({ data }) =>
    data.length
  );
  const pongs = traffic.messagesIn - before.messagesIn - groups; // Whose time has come meanwhile.
  assertEquals(traffic.bytesIn - before.bytesIn, answers + pongs * (pong[0] ?? 0));
  await cluster.end();
});
