/**
 * `deno task bench:sharded [--most TOKENS] [--json FILE] [--svg FILE]`: what a step costs over the number of tokens, on 1, 2 and 3
 * shards of this machine, each pinned to a core in turn, and what a model of it says: the bytes that a shard
 * reads by its rate, and one round trip.
 *
 * @module
 */

import "../../tools/help.ts";
import { execFileSync } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { type ShardedCache, shardedCache } from "@flashtile/attention/sharded";
import { connect } from "@nats-io/transport-node";
import { normals, seeded } from "../../tests/support/random.ts";
import { HostProcess } from "../../tools/nats_tests/hosts.ts";
import { NatsServer } from "../../tools/nats_tests/server.ts";
import { machine } from "../machine.ts";
import { median } from "../spread.ts";
import { dim, heads, kvHeads, type Model, type Point, tokenBytes } from "./model.ts";
import { drawSteps } from "./picture.ts";

/** Tokens of an append. */
const chunk = 1024;

/** Steps that are timed at each length. */
const steps = 15;

const random = seeded(1);
const rowsOf = (count: number, count2: number) => ({
  data: normals(count * count2 * dim, random),
  shape: [1, count2, count, dim],
});

async function timeSteps(cache: ShardedCache): Promise<number[]> {
  const times: number[] = [], q = rowsOf(1, heads), k = rowsOf(1, kvHeads), v = rowsOf(1, kvHeads);
  for (let step = -3; step < steps; step++) {
    const begun = performance.now();
    await cache.step(0, q, k, v);
    if (step >= 0) times.push(performance.now() - begun);
  }
  return times;
}

/** Times steps on so many shards. */
async function race(shards: number, lengths: readonly number[]): Promise<Point[]> {
  const server = await NatsServer.start(), points: Point[] = [], hosts: HostProcess[] = [];
  const connection = await connect({ servers: server.url });
  try {
    for (let group = 0; group < shards; group++) {
      const options = { servers: server.url, prefix: "bench", group, name: `s${group}` };
      const pinned = ["taskset", "--cpu-list", String(group % availableParallelism())];
      hosts.push(await HostProcess.start("Deno", options, pinned));
    }
    const sizes = { layers: 1, kvHeads, headDim: dim, groups: shards, deadline: 60_000 };
    const cache = await shardedCache({ connection, prefix: "bench", ...sizes });
    for (const tokens of lengths) {
      while (cache.lengths[0] + chunk <= tokens) {
        await cache.append(0, rowsOf(chunk, kvHeads), rowsOf(chunk, kvHeads));
      }
      const times = await timeSteps(cache);
      const point = { shards, tokens, median: median(times), least: Math.min(...times) };
      console.log(
        `${shards} shards, ${String(tokens).padStart(7)} tokens: ${point.median.toFixed(2)} ms, ` +
          `least ${point.least.toFixed(2)}`,
      );
      points.push(point);
    }
    await cache.close();
  } finally {
    for (const host of hosts) await host.kill();
    await connection.close();
    await server.end();
  }
  return points;
}

/** The model by what one shard took: the shortest and the longest. */
function modelOf(points: readonly Point[]): Model {
  const [first, last] = [points[0], points[points.length - 1]];
  const rate = (last.tokens - first.tokens) * tokenBytes / (last.median - first.median);
  return { roundTrip: first.median - first.tokens * tokenBytes / rate, rate };
}

const { values } = parseArgs({
  options: {
    most: { type: "string", default: "65536" },
    json: { type: "string" },
    svg: { type: "string" },
  },
});
const lengths: number[] = [];
for (let tokens = 1024; tokens <= Number(values.most); tokens *= 4) lengths.push(tokens);
const points: Point[] = [];
for (const shards of [1, 2, 3]) points.push(...await race(shards, lengths));
const model = modelOf(points.filter(({ shards }) => shards === 1));
console.log(
  `model: ${model.roundTrip.toFixed(2)} ms a round trip, ${
    (model.rate / 1e6).toFixed(2)
  } GB/s a shard`,
);
const server = execFileSync("/usr/sbin/nats-server", ["--version"], { encoding: "utf8" }).trim();
if (values.json !== undefined) {
  const found = { machine: machine(), server, heads, kvHeads, dim, model, points };
  await writeFile(values.json, `${JSON.stringify(found, null, 2)}\n`);
}
if (values.svg !== undefined) await writeFile(values.svg, await drawSteps(points, model));
