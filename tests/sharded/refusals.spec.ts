import { ShardLostError, ShardRefusedError } from "@flashtile/attention/sharded";
import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import { test } from "node:test";
import { decode, encode, type Header, type Message } from "../../src/sharded/messages/message.ts";
import {
  assertNear,
  Cluster,
  engine,
  oneMachine,
  queryHeads,
  randomRows,
  sizes,
} from "../support/cluster.ts";
import { errorOf } from "../support/errors.ts";
import { seeded } from "../support/random.ts";
import { varyingSeed } from "../support/seed.ts";

async function refusedBy(act: () => Promise<unknown>): Promise<ShardRefusedError> {
  const error = await errorOf(act);
  assertInstanceOf(error, ShardRefusedError);
  return error as ShardRefusedError;
}

const header: Header = {
  ...{ request: 3, epoch: 0, coordinator: 0, generation: 0, sender: 5, layer: 0 },
};

/** A message as another version would write it. */
function ofVersion(version: number, bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const other = new Uint8Array(bytes);
  other[4] = version;
  return other;
}

test("a shard of another version is told by the coordinator, and tells it a coordinator", async () => {
  const cluster = new Cluster(seeded(varyingSeed())), other = cluster.network.connect();
  other.subscribe("t.cache.all", {
    callback: (_, { reply }) => other.publish(reply!, ofVersion(2, encode("done", header, {}))),
  });
  const refused = await refusedBy(() => cluster.coordinate({ groups: 1 }));
  assertEquals(refused.reason, "version");
  assert(/a shard has version 2 of messages, this coordinator has 1/.test(refused.message));
  // The other way round: whoever asks in another version's words is answered by what each version has.
  await cluster.start("a", 0);
  const answer = new Promise<Uint8Array>((resolve) => {
    other.subscribe("t.cache.back.7", { callback: (_, { data }) => resolve(data) });
  });
  const asked = ofVersion(9, encode("ping", header, {}));
  other.publish("t.cache.shard.a", asked, { reply: "t.cache.back.7" });
  const { kind, body } = decode(await answer) as Message;
  const text = "a has version 1 of messages, asked is 9";
  assertEquals({ kind, body }, { kind: "refused", body: { reason: "version", text } } as never);
  await cluster.end();
});

test("a shard that refuses a coordinator's version ends what it asks", async () => {
  const cluster = new Cluster(seeded(varyingSeed())), other = cluster.network.connect();
  const body = { reason: "version", text: "a has version 2 of messages, asked is 1" } as const;
  other.subscribe("t.cache.all", {
    callback: (_, { reply }) => other.publish(reply!, encode("refused", header, body)),
  });
  const refused = await refusedBy(() => cluster.coordinate({ groups: 1 }));
  assertEquals(refused.reason, "version");
  assert(refused.message.includes(body.text), refused.message);
  await cluster.end();
});

/** A row of 16-bit queries, half as long as f32 ones; its answer is not. */
function halfQueries(random: () => number) {
  const { batch, headDim } = sizes, shape = [batch, queryHeads, 1, headDim];
  const some = [0x3c00, 0xbc00, 0x3555, 0xb266, 0x4100, 0x2e66]; // 1, -1, 1/3, ...
  const data = Uint16Array.from(
    { length: batch * queryHeads * headDim },
    () => some[Math.floor(random() * some.length)],
  );
  return { data, dtype: "f16", shape } as const;
}

test("an answer longer than the server lets through is refused before anything is asked", async () => {
  const random = seeded(varyingSeed()), cluster = new Cluster(random), q = halfQueries(random);
  const [local] = oneMachine(await engine()), { k, v } = randomRows(9, random);
  await cluster.start("a", 0);
  const first = await cluster.coordinate({ groups: 1 });
  for (let layer = 0; layer < sizes.layers; layer++) await first.append(layer, k, v);
  local.append(k, v);
  await first.close();
  // What is around a row, and either the row or its answer, whichever is longer.
  const answer = 4 * queryHeads * (sizes.valueDim + 1), least = 120 + 28 + answer;
  assert(answer > 2 * queryHeads * sizes.headDim);
  cluster.network.maxPayload = least - 1;
  const short = await cluster.coordinate({ groups: 1 }), sent = cluster.network.sent.length;
  const refused = await refusedBy(() => short.attend(0, q));
  assertEquals(refused.reason, "payload");
  const text = `a row needs a message of ${least} bytes, the server lets ${least - 1} through`;
  assert(refused.message.includes(text), refused.message);
  const asked = cluster.network.sent.slice(sent).map(({ data }) => decode(data)!.kind);
  assert(!asked.includes("step"), asked.join());
  cluster.network.maxPayload = least;
  const enough = await cluster.coordinate({ groups: 1 });
  const given = await enough.attend(0, q);
  // Numbers of 16 bits are widened exactly: the result on one machine is as near as f32 is.
  const expected = await local.attend({ ...q, data: q.data }, { lse: true });
  assertNear(given.lse.data, expected.lse.data, "lse");
  await cluster.end();
  local.free();
});

test("of two shards that begin at once under one name a coordinator takes none", async () => {
  const cluster = new Cluster(seeded(varyingSeed()));
  await Promise.all([cluster.start("a", 0), cluster.start("a", 0)]);
  const refused = await refusedBy(() => cluster.coordinate({ groups: 1, replicas: 2 }));
  assertEquals([refused.reason, refused.shard], ["name", "a"]);
  assert(/two shards have the name a, give each its own/.test(refused.message), refused.message);
  await cluster.end();
});

test("a shard that is started again under its name is another one, until the first comes back", async () => {
  const random = seeded(varyingSeed()), cluster = new Cluster(random);
  await cluster.startAll(2);
  const cache = await cluster.coordinate({ groups: 2 }), { q, k, v } = randomRows(40, random);
  for (let layer = 0; layer < sizes.layers; layer++) await cache.append(layer, k, v);
  const old = cluster.hosts.get("1a")!;
  old.connection.die();
  const again = await cluster.start("1a", 1);
  const error = await errorOf(() => cache.attend(0, q, { causal: true }));
  assertInstanceOf(error, ShardLostError);
  assertEquals((error as ShardLostError).shards, ["1a"]);
  await cache.restore();
  // The first pages of both sequences, of which the second one has its first on the other shard.
  assertEquals(cache.lengths, [16, 0]);
  assertEquals(again.shard.stats().epoch, cache.epoch);
  // Both have the name now: that is told where both are heard of, and else one of them is nobody.
  old.connection.sends = old.connection.hears = true;
  const [local] = oneMachine(await engine());
  local.append(k, v, { lengths: [40, 0] });
  for (let attempt = 0; attempt < 3; attempt++) {
    const told = await cache.restore().catch((error) => error);
    if (told === undefined) {
      const [length] = cache.lengths, asked = { lengths: [length, 0], causal: true };
      local.truncate(0, length);
      const { out } = await local.attend(q, asked);
      assertNear((await cache.attend(0, q, asked)).out.data, out.data, "out");
    } else assertEquals([told.reason, told.shard], ["name", "1a"]);
  }
  await old.shard.close();
  await cache.restore();
  await cluster.end();
  local.free();
});

test("pages come from the shard that has them, whoever else answers to its name", async () => {
  const random = seeded(varyingSeed()), cluster = new Cluster(random);
  const stranger = cluster.network.connect(), { q, k, v } = randomRows(100, random);
  let lies = 0;
  stranger.subscribe("t.cache.shard.0a", {
    callback(_, { data, reply }) {
      const message = decode(data) as Message;
      if (message.kind !== "pull") return;
      lies++;
      const body = { total: 12, bytes: new Uint8Array(12) };
      stranger.publish(reply!, encode("data", { ...message.header, sender: 4711 }, body));
    },
  });
  await cluster.start("0a", 0);
  const alone = await cluster.coordinate({ groups: 1 });
  for (let layer = 0; layer < sizes.layers; layer++) await alone.append(layer, k, v);
  const before = await alone.attend(0, q, { causal: true });
  await cluster.start("1a", 1);
  const cache = await cluster.coordinate({ groups: 2 });
  assert(await cache.rebalance() > 0);
  assert(lies > 0);
  assertNear((await cache.attend(0, q, { causal: true })).out.data, before.out.data, "out");
  await cluster.end();
});

test("a connection that closes ends a shard, and what a coordinator waits for", async () => {
  const random = seeded(varyingSeed()), cluster = new Cluster(random);
  const { shard, connection } = await cluster.start("a", 0);
  await cluster.start("b", 1);
  const line = cluster.network.connect(), cache = await cluster.coordinate({ groups: 2 }, line);
  const { q, k, v } = randomRows(3, random);
  await cache.append(0, k, v);
  // It drains: nothing is sent any more, and then it is closed.
  connection.isDrainingNow = true;
  const waiting = refusedBy(() => cache.attend(0, q, { causal: true }));
  await new Promise((resolve) => setTimeout(resolve, 5));
  connection.close();
  const ended = await shard.ended;
  assertEquals([ended?.reason, ended?.shard], ["closed", "server"]);
  assertEquals(shard.stats().bytes, 0);
  line.close();
  assertEquals((await waiting).reason, "closed");
  assertEquals((await refusedBy(() => cache.restore())).reason, "closed");
  await cluster.end();
});

test("a shard begins on no connection that is over, nor where the server permits it nothing", async () => {
  const cluster = new Cluster(seeded(varyingSeed())), { network } = cluster;
  const start = network.connect.bind(network);
  const on = (change: (connection: ReturnType<typeof start>) => void) => {
    network.connect = () => {
      const connection = start();
      change(connection);
      return connection;
    };
    return refusedBy(() => cluster.start("a", 0));
  };
  assertEquals((await on((connection) => connection.close())).reason, "closed");
  assertEquals((await on((connection) => connection.isDrainingNow = true)).reason, "closed");
  const refused = await on((connection) => connection.refused = /all$/);
  assertEquals(refused.reason, "permission");
  assert(/the server refuses to let t\.cache\.all be heard/.test(refused.message));
  await cluster.end();
});

test("of two coordinators that begin at once one has the cache, and the other is told so", async () => {
  const random = seeded(varyingSeed()), cluster = new Cluster(random);
  await cluster.startAll(2);
  const both = await Promise.allSettled([0, 1].map(() => cluster.coordinate({ groups: 2 })));
  const { k, v } = randomRows(3, random);
  const used = await Promise.allSettled(both.map(async (made) => {
    if (made.status === "rejected") throw made.reason;
    await made.value.append(0, k, v);
  }));
  assertEquals(used.filter(({ status }) => status === "fulfilled").length, 1);
  for (const one of used) {
    if (one.status === "fulfilled") continue;
    assertInstanceOf(one.reason, ShardRefusedError);
    assertEquals((one.reason as ShardRefusedError).reason, "epoch");
  }
  await cluster.end();
});
