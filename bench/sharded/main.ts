/**
 * `deno task bench:sharded [--shards 1,2,3] [--tokens 1024,4096] [--json FILE] [--svg FILE]`: what a step costs over the
 * number of tokens, on as many shards of this machine, each pinned to a core in turn, and what a model of it says: the
 * bytes that a shard reads by its rate, and one round trip. With `--json` points are added to those of the file, so that
 * it can be run in pieces; `--svg` draws all that the file has, and where there is no `--tokens` does nothing else.
 *
 * @module
 */

import "../../tools/help.ts";
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { type ShardedCache, shardedCache, type Traffic } from "@flashtile/attention/sharded";
import { connect } from "@nats-io/transport-node";
import { normals, seeded } from "../../tests/support/random.ts";
import { HostProcess } from "../../tools/nats_tests/hosts.ts";
import { NatsServer } from "../../tools/nats_tests/server.ts";
import { machine } from "../machine.ts";
import { median } from "../spread.ts";
import { dim, heads, kvHeads, type Model, modelOf, type Point } from "./model.ts";
import { drawSteps } from "./picture.ts";

/** Tokens of an append. */
const chunk = 1024;

/** Steps that are not timed, and then at least so many, and for so many milliseconds. */
const warming = 3, steps = 15, milliseconds = 2_000;

const random = seeded(1);
const rowsOf = (count: number, heads: number) => ({
  data: normals(count * heads * dim, random),
  shape: [1, heads, count, dim],
});

/** The same tokens each time: what they are costs nothing. */
const some = { k: rowsOf(chunk, kvHeads), v: rowsOf(chunk, kvHeads) };
const one = { q: rowsOf(1, heads), k: rowsOf(1, kvHeads), v: rowsOf(1, kvHeads) };

/** Bytes of a message and of all its answers, as docs/SHARDED.md says. */
function bytesOf(groups: number) {
  const elements = heads * dim + kvHeads * 2 * dim;
  return {
    bytesOut: 124 + 4 * groups + 4 * elements,
    bytesIn: groups * (52 + 4 * heads * (dim + 1)),
  };
}

function checkBytes(before: Traffic, after: Traffic, count: number, groups: number): void {
  const expected = bytesOf(groups);
  for (const name of ["bytesOut", "bytesIn"] as const) {
    const each = (after[name] - before[name]) / count;
    if (each === expected[name]) continue;
    throw new Error(`${name} of a step is ${each}, docs/SHARDED.md says ${expected[name]}`);
  }
}

async function measure(cache: ShardedCache, shards: number, tokens: number): Promise<Point> {
  while (cache.lengths[0] < tokens) await cache.append(0, some.k, some.v);
  await cache.truncate(0, tokens);
  const times: number[] = [], before = cache.traffic, started = performance.now();
  for (let step = -warming; step < steps || performance.now() - started < milliseconds; step++) {
    const begun = performance.now();
    await cache.step(0, one.q, one.k, one.v);
    if (step >= 0) times.push(performance.now() - begun);
  }
  checkBytes(before, cache.traffic, warming + times.length, shards);
  return { shards, tokens, median: median(times), least: Math.min(...times), ...bytesOf(shards) };
}

/** Times steps on so many shards. */
async function race(
  shards: number,
  lengths: readonly number[],
  told: (point: Point) => void,
): Promise<void> {
  const server = await NatsServer.start(), hosts: HostProcess[] = [];
  const connection = await connect({ servers: server.url });
  try {
    for (let group = 0; group < shards; group++) {
      const options = { servers: server.url, prefix: "bench", group, name: `s${group}` };
      const pinned = ["taskset", "--cpu-list", String(group % availableParallelism())];
      hosts.push(await HostProcess.start("Deno", options, pinned));
    }
    const sizes = { layers: 1, kvHeads, headDim: dim, groups: shards };
    // So rarely that no heartbeat comes between steps.
    const patience = { heartbeat: 60_000, deadline: 600_000 };
    const cache = await shardedCache({ connection, prefix: "bench", ...sizes, ...patience });
    for (const tokens of lengths) {
      const begun = performance.now(), point = await measure(cache, shards, tokens);
      const bytes = await Promise.all(hosts.map(async (host) => (await host.stats()).bytes));
      console.log(
        `${shards} shards, ${String(tokens).padStart(7)} tokens: ${point.median.toFixed(2)} ms, ` +
          `least ${point.least.toFixed(2)}, shards of ${
            bytes.map((each) => (each / 2 ** 30).toFixed(2)).join(", ")
          } GiB, after ${((performance.now() - begun) / 1000).toFixed(0)} s`,
      );
      told(point);
    }
    await cache.close();
  } finally {
    for (const host of hosts) await host.kill();
    await connection.close();
    await server.end();
  }
}

/** What was found so far. */
interface Found {
  readonly machine: unknown;
  readonly server: string;
  readonly heads: number;
  readonly kvHeads: number;
  readonly dim: number;
  readonly model: Model | undefined;
  readonly points: readonly Point[];
}

/** Points, of which those that are new replace others of the same. */
function merge(points: readonly Point[], point: Point): Point[] {
  const others = points.filter(({ shards, tokens }) =>
    shards !== point.shards || tokens !== point.tokens
  );
  return [...others, point].sort((a, b) => a.shards - b.shards || a.tokens - b.tokens);
}

const { values } = parseArgs({
  options: {
    shards: { type: "string", default: "1,2,3" },
    tokens: { type: "string" },
    json: { type: "string" },
    svg: { type: "string" },
  },
});
const numbersOf = (list: string) => list.split(",").filter(Boolean).map(Number);
const { json, svg, tokens = svg === undefined ? "1024,4096,16384,65536" : "" } = values;
const lengths = numbersOf(tokens).toSorted((a, b) => a - b);
let points: readonly Point[] = json !== undefined && existsSync(json)
  ? (JSON.parse(readFileSync(json, "utf8")) as Found).points
  : [];
const server = execFileSync("/usr/sbin/nats-server", ["--version"], { encoding: "utf8" }).trim();
for (const shards of lengths.length > 0 ? numbersOf(values.shards) : []) {
  await race(shards, lengths, (point) => {
    points = merge(points, point);
    if (json === undefined) return;
    const model = modelOf(points);
    const found: Found = { machine: machine(), server, heads, kvHeads, dim, model, points };
    writeFileSync(json, `${JSON.stringify(found, null, 2)}\n`);
  });
}
const model = modelOf(points);
if (model !== undefined) {
  const rate = (model.rate / 1e6).toFixed(2);
  console.log(`model: ${model.roundTrip.toFixed(2)} ms a round trip, ${rate} GB/s a shard`);
  if (svg !== undefined) writeFileSync(svg, await drawSteps(points, model));
}
