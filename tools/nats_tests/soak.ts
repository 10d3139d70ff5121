/**
 * `deno task soak [--schedules N] [--minutes N]`: schedules of random faults on shards in processes of their own, for as long as that
 * takes; fails where a token is wrong, an error is another than one that says what is missing, or memory grows: of the
 * coordinator's process, and of two shards that live from the first to the last, beside others that die. No part of CI,
 * which has 20.
 *
 * @module
 */

import "../help.ts";
import process from "node:process";
import { parseArgs } from "node:util";
import { median } from "../../bench/spread.ts";
import { seeded } from "../../tests/support/random.ts";
import { Broken, runSchedule } from "./schedule.ts";
import { NatsServer } from "./server.ts";

const { values } = parseArgs({
  options: {
    schedules: { type: "string", default: "200" },
    minutes: { type: "string" },
    seed: { type: "string", default: String(Math.floor(Math.random() * 2 ** 30)) },
  },
});
const end = values.minutes === undefined
  ? Infinity
  : performance.now() + 60_000 * Number(values.minutes);
const most = values.minutes === undefined ? Number(values.schedules) : Infinity;
const seed = Number(values.seed), server = await NatsServer.start();

/** Bytes that a process may have more at its end than at its beginning: what collectors leave. */
const slack = 64 * 2 ** 20;

const inMebibytes = (bytes: number) => `${Math.round(bytes / 2 ** 20)} MiB`;

/** Bytes of processes, by name, time after time. */
class Residents {
  readonly #all = new Map<string, number[]>();

  add(name: string, bytes: number): void {
    this.#all.set(name, [...this.#all.get(name) ?? [], bytes]);
  }

  /** The last ones. */
  get now(): string {
    const last = [...this.#all].map(([name, all]) => `${name} ${inMebibytes(all[all.length - 1])}`);
    return last.join(", ");
  }

  /** Fails where the last quarter of one has more than the first: the median of each, behind some to get warm. */
  check(): void {
    const grown: string[] = [];
    for (const [name, all] of this.#all) {
      const warm = all.slice(10), quarter = Math.floor(warm.length / 4);
      if (quarter < 5) continue;
      const [first, last] = [median(warm.slice(0, quarter)), median(warm.slice(-quarter))];
      console.log(`${name}: ${inMebibytes(first)} resident, then ${inMebibytes(last)}`);
      if (last > first + slack) grown.push(name);
    }
    if (grown.length > 0) throw new Error(`Memory grows: ${grown.join(", ")}`);
  }
}

const residents = new Residents(), heartbeat = 100;

console.log(`seed ${seed}`);
try {
  const sizes = { groups: 2, replicas: 2, mostGroups: 2, kept: 2 };
  const lasting = await Broken.start(server, seeded(seed), { prefix: "soak", heartbeat, ...sizes });
  let done = 0;
  try {
    for (; done < most && performance.now() < end; done++) {
      await runSchedule(server, seed + done, heartbeat);
      await lasting.generate(seed + done);
      await lasting.free();
      residents.add("coordinator", process.memoryUsage().rss);
      for (const host of lasting.hosts.slice(0, sizes.kept)) {
        const { resident, bytes } = await host.stats();
        if (bytes > 0) throw new Error(`${host.options.name} has ${bytes} bytes of nothing`);
        residents.add(host.options.name, resident);
      }
      if (done % 10 === 9) console.log(`${done + 1} schedules twice, ${residents.now}`);
    }
  } finally {
    await lasting.end();
  }
  console.log(`${done} schedules on new shards and as many on lasting ones, each token right`);
  residents.check();
} finally {
  await server.end();
}
