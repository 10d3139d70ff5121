/**
 * `deno task soak [--schedules N] [--minutes N]`: schedules of random faults on shards in processes of their own, for as long as that
 * takes; fails where a token is wrong, an error is another than one that says what is missing, or memory grows. No
 * part of CI, which has 20.
 *
 * @module
 */

import "../help.ts";
import process from "node:process";
import { parseArgs } from "node:util";
import { median } from "../../bench/spread.ts";
import { NatsServer } from "./server.ts";
import { runSchedule } from "./schedule.ts";

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

/** Bytes of this process, the coordinator's. */
const resident: number[] = [];

/** Bytes that a run may have more at its end than at its beginning: what collectors leave. */
const slack = 64 * 2 ** 20;

/** Fails where the last quarter has more than the first: the median of each, behind some to get warm. */
function checkFlat(all: readonly number[]): void {
  const warm = all.slice(10), quarter = Math.floor(warm.length / 4);
  if (quarter < 5) return;
  const [first, last] = [median(warm.slice(0, quarter)), median(warm.slice(-quarter))];
  console.log(
    `resident: ${Math.round(first / 2 ** 20)} MiB, then ${Math.round(last / 2 ** 20)} MiB`,
  );
  if (last > first + slack) throw new Error("Memory grows");
}

console.log(`seed ${seed}`);
try {
  let done = 0;
  for (; done < most && performance.now() < end; done++) {
    await runSchedule(server, seed + done, 100);
    resident.push(process.memoryUsage().rss);
    if (done % 10 === 9) {
      console.log(`${done + 1} schedules, ${Math.round(resident[done] / 2 ** 20)} MiB resident`);
    }
  }
  console.log(`${done} schedules, each token right`);
  checkFlat(resident);
} finally {
  await server.end();
}
