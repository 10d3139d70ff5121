/**
 * `deno task bench:decoding [--json FILE]`: a decoding step of FlashTile and of onnxruntime-web's
 * `GroupQueryAttention` in turn in one process of Node, each checked against the oracle first.
 *
 * @module
 */

import "../tools/help.ts";
import { writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { machine } from "./machine.ts";
import { carryOut } from "./peers/children.ts";
import { decoders, type DecodingShape } from "./peers/decoding.ts";
import { installPeers, pinnedVersions } from "./peers/install.ts";
import type { Missing } from "./peers/report.ts";
import { printRows, type Row, rowsOf } from "./peers/rows.ts";

const dim = 128, kvHeads = 8;

const shapes: readonly DecodingShape[] = [2_000, 32_768].flatMap((past) =>
  [8, 32].map((heads) => ({ heads, kvHeads, dim, past }))
);

/** onnxruntime-web's threads spin for some 25 ms after a call, on a core that the next one needs. */
const rest = 50;

const bounds = { rounds: 15, perPeer: 6000, rest };

interface Race {
  readonly shape: DecodingShape;
  readonly threads: number;
  readonly rows: readonly (Row | Missing)[];
}

function print({ shape, threads, rows }: Race): void {
  const { heads, past } = shape;
  console.log(`\nHq=${heads} Hkv=${kvHeads} D=${dim}, past ${past}, threads ${threads}`);
  printRows(rows);
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
    const race = { shape, threads, rows: rowsOf(answers, decoders[0].name) };
    print(race);
    return race;
  })
);
if (values.json) await writeFile(values.json, JSON.stringify({ ...head, races }, null, 2) + "\n");
