import type { ShardedCache } from "@flashtile/attention/sharded";
import { Cluster } from "../support/cluster.ts";
import { calm } from "../support/fake_network.ts";
import { type Random, seeded, whole } from "../support/random.ts";
import { varyingSeed } from "../support/seed.ts";
import { longTest, share } from "../support/share.ts";
import {
  assertTold,
  expectedUntil,
  generateUntil,
  recover,
  type Told,
} from "../support/sharded_tokens.ts";

/** A cluster, and what breaks it. */
interface Broken {
  readonly cluster: Cluster;
  readonly random: Random;
  readonly groups: number;
  readonly replicas: number;
  cache: ShardedCache;
}

/** Something goes wrong. */
async function breakSomething(broken: Broken): Promise<void> {
  const { cluster, random } = broken;
  const names = [...cluster.hosts.keys()], name = names[whole(random, 0, names.length - 1)];
  const host = cluster.hosts.get(name)!, { connection } = host;
  switch (whole(random, 0, 3)) {
    case 0: { // It dies, and another comes.
      connection.die();
      await host.shard.close();
      cluster.hosts.delete(name);
      await cluster.start(
        `x${names.length}${whole(random, 0, 0xffffff)}`,
        host.shard.stats().group,
      );
      return;
    }
    case 1: // It hears nothing for a while, or is not heard.
    case 2: {
      const way = random() < 0.5 ? "sends" : "hears";
      connection[way] = false;
      setTimeout(() => connection[way] = true, whole(random, 20, 200));
      return;
    }
    default:
      await takeOver(broken);
  }
}

/** Another coordinator takes over. */
async function takeOver(broken: Broken): Promise<void> {
  const { cluster, groups, replicas, cache } = broken;
  broken.cache = await cluster.coordinate({ groups, replicas, heartbeat: 10 });
  await cache.close();
}

/** One schedule of faults: the same tokens as without any, and nothing but typed errors. */
async function runSchedule(seed: number): Promise<void> {
  const random = seeded(seed), groups = whole(random, 2, 3), replicas = whole(random, 1, 2);
  const until = 40, expected = await expectedUntil(seed, until), told: Told = new Map();
  const cluster = new Cluster(random);
  await cluster.startAll(groups, replicas);
  const cache = await cluster.coordinate({ groups, replicas, heartbeat: 10 });
  const broken: Broken = { cluster, random, groups, replicas, cache };
  cluster.network.faults = { drop: 0.02, double: 0.05, late: 0.1, milliseconds: 30 };
  const going = async (act: () => Promise<void>) => {
    for (;;) {
      try {
        return await act();
      } catch (error) {
        await recover(broken.cache, error, () => takeOver(broken));
      }
    }
  };
  for (let length = 5; length < until; length += whole(random, 3, 12)) {
    await going(() => generateUntil(broken.cache, seed, length, told));
    await going(() => breakSomething(broken));
  }
  cluster.network.faults = calm;
  await going(() => generateUntil(broken.cache, seed, until, told));
  assertTold(told, expected);
  await cluster.end();
}

longTest(
  "whatever goes wrong, each token gets what it gets without, or an error says so: 10 schedules in a whole run",
  async () => {
    const seed = varyingSeed();
    for (let at = 0; at < share(10); at++) {
      try {
        await runSchedule(seed + at);
      } catch (error) {
        throw new Error(`schedule of seed ${seed + at}`, { cause: error });
      }
    }
  },
);
