/**
 * The tables that the bench prints.
 *
 * @module
 */

import {
  describe,
  type Growth,
  type Missing,
  type Race,
  type Raced,
  type Report,
} from "./report.ts";

const columns = ["peer", "ms (best-worst)", "GFLOPS", "their time / ours", "error"] as const;
const widths = [36, 24, 8, 26, 9, 0] as const;

function line(cells: readonly string[]): string {
  return cells.map((cell, index) =>
    index === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[index])
  ).join("");
}

/** Three digits, or whole numbers from 100 on. */
function short(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

function cellsOf({ peer, median, best, worst, gflops, ratio, error }: Raced): string[] {
  const spread = ratio && `${short(ratio.lowest)}-${short(ratio.highest)}`;
  return [
    peer,
    `${short(median)} (${short(best)}-${short(worst)})`,
    short(gflops),
    ratio ? `${short(ratio.median)}x (${spread})` : "",
    error.toExponential(1),
    ratio && ratio.median < 1 ? "  FlashTile loses" : "",
  ];
}

function missingLine({ peer, kind, reason }: Missing): string {
  return `${peer.padEnd(widths[0])}  ${kind}: ${reason}`;
}

function titleOf({ shape, threads, runtime }: Race): string {
  return `${describe(shape)}, ${threads === 1 ? "one thread" : `${threads} threads`}, ${runtime}`;
}

/** Prints a race. */
export function printRace(race: Race): void {
  console.log(`\n${titleOf(race)}`);
  console.log(line(columns));
  for (const row of race.rows) {
    console.log("reason" in row ? missingLine(row) : line(cellsOf(row)));
  }
}

/** Prints a growth curve in one line per length. */
export function printGrowth({ peer, points, end }: Growth): void {
  console.log(`\n${peer}`);
  for (const { length, milliseconds, bytes } of points) {
    const time = `${short(milliseconds)} ms`, memory = `${(bytes / 2 ** 20).toFixed(1)} MiB`;
    console.log(`${String(length).padStart(7)}${time.padStart(13)}${memory.padStart(14)}`);
  }
  if (end) {
    const { length, kind, reason } = end;
    console.log(`${String(length).padStart(7)}  ${kind}: ${reason}`);
  }
}

/** Prints every race that FlashTile loses. */
export function printLosses({ races }: Report): void {
  const losses = races.flatMap(lossesOf);
  console.log(`\nWhere FlashTile loses:${losses.length ? "" : " nowhere in this run"}`);
  for (const loss of losses) console.log(loss);
}

function lossesOf(race: Race): string[] {
  return race.rows.flatMap((row) => {
    if ("reason" in row || row.ratio === undefined || row.ratio.median >= 1) return [];
    const factor = short(1 / row.ratio.median);
    return [`${titleOf(race)}: ${row.peer} is ${factor}x as fast`];
  });
}
