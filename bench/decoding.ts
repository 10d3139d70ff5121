/**
 * `deno task bench:decoding [--json FILE]`: a decoding step of FlashTile and of onnxruntime-web's
 * `GroupQueryAttention` in turn in one process of Node, each checked against the oracle first.
 *
 * @module
 */

import { writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { machine } from "./machine.ts";
import { carryOut } from "./peers/children.ts";
import { decoders, type DecodingShape } from "./peers/decoding.ts";
import { installPeers, pinnedVersions } from "./peers/install.ts";
import type { Answer } from "./peers/orders.ts";
import { median, ratioOf } from "./peers/races.ts";
import type { Missing, Ratio } from "./peers/report.ts";

const dim = 128, kvHeads = 8;

const shapes: readonly DecodingShape[] = [2_000, 32_768].flatMap((past) =>
  [8, 32].map((heads) => ({ heads, kvHeads, dim, past }))
);

/** onnxruntime-web's threads spin for some 25 ms after a call, on a core that the next one needs. */
const rest = 50;

const bounds = { rounds: 15, perPeer: 6000, rest };

interface Row {
  readonly peer: string;
  readonly median: number;
  readonly best: number;
  readonly worst: number;
  readonly error: number;
  readonly ratio: Ratio;
}

interface Race {
  readonly shape: DecodingShape;
  readonly threads: number;
  readonly rows: readonly (Row | Missing)[];
}

function rowsOf(answers: readonly Answer[]): (Row | Missing)[] {
  const raced = answers.filter((answer) => answer.kind === "raced");
  const mine = raced.find(({ peer }) => peer === decoders[0].name)?.milliseconds ?? [];
  const rows = raced.map(({ peer, milliseconds, error }): Row => ({
    peer,
    median: median(milliseconds),
    best: Math.min(...milliseconds),
    worst: Math.max(...milliseconds),
    error,
    ratio: ratioOf(milliseconds, mine),
  }));
  const failures = answers.flatMap((answer) =>
    answer.kind === "failed" || answer.kind === "refused" ? [answer] : []
  );
  return [...rows, ...failures];
}

function print({ shape, threads, rows }: Race): void {
  const { heads, past } = shape;
  console.log(`\nHq=${heads} Hkv=${kvHeads} D=${dim}, past ${past}, threads ${threads}`);
  for (const row of rows) {
    const figures = "reason" in row ? [`${row.kind}: ${row.reason}`] : [
      `${row.median.toFixed(2)} ms (${row.best.toFixed(2)}-${row.worst.toFixed(2)})`,
      `${row.ratio.median.toFixed(2)}x (${row.ratio.lowest.toFixed(2)}-${
        row.ratio.highest.toFixed(2)
      })`,
      row.error.toExponential(1),
    ];
    console.log([row.peer.padEnd(38), ...figures.map((figure) => figure.padStart(26))].join(""));
  }
}

const { values } = parseArgs({ options: { json: { type: "string" } } });
const folder = installPeers(), version = pinnedVersions()["onnxruntime-web"];
const head = { machine: machine(), version };
console.log(`${head.machine.cpu}, ${head.machine.cores} cores; onnxruntime-web ${version}, Node`);
console.log("A step: one token is appended, one query attends. Their time / ours in turns.");
for (const { name, note } of decoders) console.log(`${name.padEnd(38)}${note}`);
const peers = decoders.map(({ name }) => name);
const races = [1, 2].flatMap((threads) =>
  shapes.map((shape): Race => {
    const answers = carryOut({ kind: "decoding", shape, peers, threads, folder, bounds }, "node");
    const race = { shape, threads, rows: rowsOf(answers) };
    print(race);
    return race;
  })
);
if (values.json) await writeFile(values.json, JSON.stringify({ ...head, races }, null, 2) + "\n");
