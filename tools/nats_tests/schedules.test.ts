import { test } from "node:test";
import { varyingSeed } from "../../tests/support/seed.ts";
import { runSchedule } from "./schedule.ts";
import { NatsServer } from "./server.ts";

/** Schedules go on after any error that says what is missing. */
const briefHeartbeat = 100;

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
