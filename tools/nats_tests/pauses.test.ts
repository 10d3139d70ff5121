import { ShardLostError } from "@flashtile/attention/sharded";
import { assertEquals, assertInstanceOf } from "@std/assert";
import { test } from "node:test";
import { errorOf } from "../../tests/support/errors.ts";
import { recover } from "../../tests/support/sharded_tokens.ts";
import { alone, goOn, loadModel, modelOptions, promptIds, until } from "./model.ts";
import { within } from "./setting.ts";

test("a server that is killed and comes again changes nothing", () =>
  within({}, async (setting) => {
    await Promise.all([0, 1].map((group) => setting.host(`h${group}`, group)));
    // Nothing is heard meanwhile, by whomever: shards count as lost later than that lasts.
    const cache = await setting.cache({ groups: 2, ...await modelOptions(), heartbeat: 2_000 });
    const decoder = await loadModel(), session = decoder.session({ cache }), ids = [...promptIds];
    await goOn(session, ids, 120);
    await setting.server.kill();
    const going = goOn(session, ids, until);
    await new Promise((resolve) => setTimeout(resolve, 300));
    await setting.server.begin();
    await going;
    assertEquals(ids, (await alone()).ids);
    decoder.free();
  }));

test("a shard that is paused for ten seconds is told, and has everything afterwards", () =>
  within({}, async (setting) => {
    await Promise.all([0, 1].map((group) => setting.host(`h${group}`, group)));
    const cache = await setting.cache({ groups: 2, ...await modelOptions() });
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
    assertEquals(ids, (await alone()).ids);
    decoder.free();
  }));
