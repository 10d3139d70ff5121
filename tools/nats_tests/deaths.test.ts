import { ShardLostError } from "@flashtile/attention/sharded";
import { assertEquals, assertInstanceOf } from "@std/assert";
import { test } from "node:test";
import { errorOf } from "../../tests/support/errors.ts";
import { alone, goOn, loadModel, modelOptions, promptIds, until } from "./model.ts";
import { within } from "./setting.ts";

test("with two replicas a killed shard changes nothing", () =>
  within({}, async (setting) => {
    await Promise.all([0, 0, 1, 1].map((group, at) => setting.host(`h${at}`, group)));
    const cache = await setting.cache({ groups: 2, replicas: 2, ...await modelOptions() });
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
    assertEquals(ids, (await alone()).ids);
    decoder.free();
  }));

test("without replicas a killed shard is told, and the store has what it had", () =>
  within({ jetStream: true }, async (setting) => {
    const bucket = "pages";
    await setting.host("h0", 0, { bucket });
    await setting.host("h1", 1, { bucket });
    const cache = await setting.cache({ groups: 2, ...await modelOptions() });
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
    assertEquals(ids, (await alone()).ids);
    decoder.free();
  }));
