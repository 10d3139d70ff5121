/**
 * `deno task bench:peers [--quick | --few] [--name NAME] [--json FILE] [--svg FILE]`: FlashTile against its
 * peers, each checked against the oracle first. `--name NAME` writes `bench/results/NAME.json` and
 * `bench/results/NAME.svg`; a full run is named `peers` unless it is told where to write.
 *
 * Timed is, for all alike, a call from arrays of numbers to an array of numbers, with sessions,
 * kernels and masks made before.
 *
 * @module
 */

import "../../tools/help.ts";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { machine } from "../machine.ts";
import { peers } from "./all.ts";
import { flashtile } from "./flashtile.ts";
import { growthOfPeer, type GrowthOptions } from "./growths.ts";
import { installPeers, pinnedVersions } from "./install.ts";
import { webMultiHeadAttention } from "./onnxruntime.ts";
import { drawGrowth } from "./plot.ts";
import type { Shape } from "./problem.ts";
import { type RaceOptions, runSeries, type Series } from "./races.ts";
import type { Named, Report } from "./report.ts";
import { printGrowth, printLosses, printRace } from "./table.ts";

/** How much is measured. */
interface Plan {
  readonly series: readonly Series[];
  readonly races: Pick<RaceOptions, "bounds" | "longestCall">;
  readonly growth: Omit<GrowthOptions, "folder">;
}

function square(heads: number, dim: number, length: number, causal = false): Shape {
  return { heads, dim, queries: length, keys: length, causal };
}

/** What comes up most: eight heads of 64 at 1,024 tokens. */
const usual = [square(8, 64, 1024), square(8, 64, 1024, true)];

/** A few new tokens against many keys. */
const few = [1, 4, 16].map((queries) => ({ ...square(8, 64, 8192), queries }));

/** Where little is to be gained: a short call, and those. */
const small = [square(8, 64, 64), ...few];

/**
 * From short to long. onnxruntime-web multiplies its extents in 32 bits and fails from
 * `4 * N * N * D = 2 ** 32` on: with D = 64 at 4,096 tokens, so that 4,000 are there as well.
 */
const full = [
  ...small,
  ...usual,
  ...[square(8, 64, 2048), square(8, 64, 2048, true)],
  ...[square(2, 64, 4000), square(2, 64, 4000, true), square(8, 64, 4096)],
  ...[square(8, 128, 1024), square(8, 128, 1024, true)],
  ...[square(4, 128, 2048), square(4, 128, 2048, true), square(2, 128, 4096)],
];

/** The same on Node, whose V8 lets micro-kernels load more freely. */
const guarded = [
  ...usual,
  ...[square(2, 64, 4000), square(2, 64, 4000, true)],
  ...[square(8, 128, 1024), square(8, 128, 1024, true), square(4, 128, 2048)],
];

const threaded = [...usual, square(8, 64, 2048), square(8, 128, 1024)];

const powers = (from: number, to: number, step: number) =>
  Array.from({ length: Math.floor((to - from) / step) + 1 }, (_, i) => 2 ** (from + i * step));

const fullPlan: Plan = {
  series: [
    { runtime: "deno", threads: 1, shapes: full },
    { runtime: "deno", threads: 2, shapes: threaded },
    { runtime: "node", threads: 1, shapes: guarded },
    { runtime: "node", threads: 2, shapes: usual },
  ],
  races: { bounds: { rounds: 15, perPeer: 1200 }, longestCall: 2000 },
  growth: { runtime: "deno", heads: 1, dim: 64, lengths: powers(8, 16, 1), longestCall: 30_000 },
};

const quickPlan: Plan = {
  series: [
    { runtime: "deno", threads: 1, shapes: [...small, ...usual] },
    { runtime: "deno", threads: 2, shapes: usual.slice(0, 1) },
  ],
  races: { bounds: { rounds: 5, perPeer: 300 }, longestCall: 1500 },
  growth: { runtime: "deno", heads: 1, dim: 64, lengths: powers(10, 14, 2), longestCall: 3000 },
};

const fewPlan: Plan = {
  series: [{ runtime: "deno", threads: 1, shapes: small }],
  races: { bounds: { rounds: 15, perPeer: 1200 }, longestCall: 2000 },
  growth: { ...quickPlan.growth, lengths: [] },
};

/** onnxruntime-web's two operators have the same curve: one is enough. */
const grown = peers.filter((peer) => peer !== webMultiHeadAttention);

async function namedPeers(): Promise<Named[]> {
  const own = JSON.parse(await readFile(new URL("../../deno.json", import.meta.url), "utf8"));
  const versions: Record<string, string> = { ...pinnedVersions(), [own.name]: own.version };
  return peers.map(({ name, package: from, note }) => ({
    name,
    version: from && versions[from],
    note,
  }));
}

function printHead({ machine, peers }: Pick<Report, "machine" | "peers">): void {
  const { cpu, cores, memoryGiB, system } = machine;
  console.log(`${cpu}, ${cores} cores, ${memoryGiB} GiB, ${system}`);
  console.log("Timed: from arrays of numbers to an array of numbers, with each peer's own copies.");
  console.log("Ratios: medians of turns next to each other in one process (lowest-highest).\n");
  for (const { name, version, note } of peers) {
    console.log(`${name.padEnd(36)}${(version ?? "").padEnd(9)}${note}`);
  }
}

async function measure(plan: Plan): Promise<Report> {
  const head = { machine: machine(), peers: await namedPeers() };
  const folder = installPeers();
  printHead(head);
  const races = plan.series.flatMap((series) =>
    runSeries(series, { ...plan.races, folder, report: printRace })
  );
  const { heads, dim } = plan.growth;
  console.log(`\nGrowth, H=${heads} D=${dim} dense, one thread: the fastest of some calls, and`);
  console.log("the growth of resident memory in the first one, result included");
  const curves = grown.map(({ name }) => {
    // Ours goes on to the end: whether there is one is what the curve asks.
    const longestCall = name === flashtile.name ? Infinity : plan.growth.longestCall;
    const curve = growthOfPeer(name, { ...plan.growth, folder, longestCall });
    printGrowth(curve);
    return curve;
  });
  const shape = { heads, dim, causal: false };
  return { ...head, races, growth: { runtime: head.machine.runtime, shape, curves } };
}

async function write(file: string, content: string): Promise<void> {
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, content);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      quick: { type: "boolean", default: false },
      few: { type: "boolean", default: false },
      name: { type: "string" },
      json: { type: "string" },
      svg: { type: "string" },
    },
  });
  const { quick, few, json, svg } = values;
  const name = values.name ?? (quick || few || json || svg ? undefined : "peers");
  const named = (ending: string) =>
    name && fileURLToPath(new URL(`../results/${name}.${ending}`, import.meta.url));
  const report = await measure(few ? fewPlan : quick ? quickPlan : fullPlan);
  printLosses(report);
  const jsonFile = json ?? named("json"), svgFile = svg ?? named("svg");
  if (jsonFile) await write(jsonFile, JSON.stringify(report, null, 2) + "\n");
  if (svgFile) await write(svgFile, await drawGrowth(report));
}

if (import.meta.main) {
  await main();
}
