import { BackendUnavailableError } from "@flashtile/attention";
import { loadDecoder } from "@flashtile/attention/models";
import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import { Cluster, randomRows } from "../support/cluster.ts";
import { gpuTest, noGpu, withGpu } from "../support/device.ts";
import { errorOf } from "../support/errors.ts";
import { randomLlama } from "../support/made_model.ts";
import { assertNear } from "../support/near.ts";
import { seeded } from "../support/random.ts";
import { varyingSeed } from "../support/seed.ts";
import { leftToOneStack } from "../support/share.ts";

gpuTest("shards on a GPU give what shards on the CPU give, and move pages", async () => {
  const random = seeded(varyingSeed()), rows = randomRows(40, random), one = randomRows(1, random);
  /** Everything that a cache does, and what it gives. */
  const use = async (
    cluster: Cluster,
    start: (name: string, group: number) => Promise<unknown>,
  ) => {
    await start("a", 0);
    await start("b", 1);
    const cache = await cluster.coordinate({ groups: 2, deadline: 60_000 }), given: number[] = [];
    for (const layer of [0, 1]) {
      given.push(...(await cache.step(layer, rows.q, rows.k, rows.v, { rope: {} })).out.data);
    }
    await cache.fork(0, 1);
    await cache.truncate(0, 20);
    given.push(...(await cache.step(1, one.q, one.k, one.v, { lengths: [1, 1] })).out.data);
    await cache.close();
    // Another group gets pages as the GPU has them.
    await start("c", 2);
    const more = await cluster.coordinate({ groups: 3, deadline: 60_000 });
    assertEquals(more.lengths, [20, 40]);
    assert(await more.rebalance() > 0);
    given.push(...(await more.attend(1, one.q)).out.data);
    assertEquals([...cluster.hosts.values()].map(({ shard }) => shard.stats().refused), [0, 0, 0]);
    await cluster.end();
    return Float32Array.from(given);
  };
  const host = new Cluster(random);
  const wanted = await use(host, (name, group) => host.start(name, group));
  await withGpu(async (engine) => {
    const cluster = new Cluster(random);
    const start = (name: string, group: number) => cluster.start(name, group, undefined, engine);
    assertNear(await use(cluster, start), wanted, 2e-6, "shards");
  });
}, noGpu ?? leftToOneStack);

gpuTest(
  "a decoder on a GPU begins no session on a sharded cache, and says what to do",
  async () => {
    const cluster = new Cluster(seeded(varyingSeed()));
    await cluster.start("a", 0);
    const cache = await cluster.coordinate({ groups: 1 });
    await withGpu(async (engine) => {
      const decoder = await loadDecoder(randomLlama(seeded(varyingSeed()), {}), { engine });
      const error = await errorOf(() => decoder.session({ cache }));
      assertInstanceOf(error, BackendUnavailableError);
      const { message } = error as BackendUnavailableError;
      assert(message.includes('make the engine with { backend: "wasm" }'), message);
      // Sessions of its own go on.
      const session = decoder.session();
      assert((await session.prefill([1, 2, 3])).every(Number.isFinite));
      session.free();
      decoder.free();
    });
    await cluster.end();
  },
  noGpu ?? leftToOneStack,
);
