/**
 * What the bench prints.
 *
 * @module
 */

import type { Tile } from "../../src/webgpu/attention/variants.ts";
import { describe } from "../peers/report.ts";
import type { Candidate, Ceiling, Device, Event, Race, Report, Run, Timed } from "./report.ts";

/** What was aimed at on a GPU: share of the ceiling in f32, and times as fast as onnxruntime-web. */
const aims = { share: 0.4, ratio: 2, length: 4096 };

/** Three digits, or whole numbers from 100 on. */
function short(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

/** Cells in columns: the first to the left, the others to the right. */
function line([first, ...rest]: readonly string[], widths: readonly number[]): string {
  const [width, ...others] = widths;
  return first.padEnd(width) + rest.map((cell, index) => cell.padStart(others[index])).join("");
}

/** Prints a title and the head of a table once, before its first row. */
class Printer {
  #title = "";

  row(title: string, head: readonly string[], cells: readonly string[], widths: number[]): void {
    if (title !== this.#title) {
      console.log(`\n${title}`);
      console.log(line(head, widths));
      this.#title = title;
    }
    console.log(line(cells, widths));
  }

  text(text: string): void {
    this.#title = "";
    console.log(text);
  }
}

/** A tile as it stands in the table of `src/webgpu/attention/variants.ts`. */
export function writeTile({ TX, TY, ROWS, RK, SLICE, VALUES, queries }: Tile): string {
  const numbers =
    `TX: ${TX}, TY: ${TY}, ROWS: ${ROWS}, RK: ${RK}, SLICE: ${SLICE}, VALUES: ${VALUES}`;
  return `{ ${numbers}, queries: "${queries}" }`;
}

function deviceText({ adapter, software, quick, features, limits }: Device): string {
  const told = [...features, ...Object.entries(limits).map(([name, n]) => `${name} ${n}`)];
  const notes = [
    ...(software ? ["It computes on the CPU: figures say nothing about a GPU."] : []),
    ...(quick ? ["Small sizes, to see that everything runs."] : []),
  ];
  return [adapter, ...notes, told.join(", ")].join("\n");
}

function ceilingCells({ name, size, milliseconds, gflops }: Ceiling): string[] {
  return [name, String(size), short(milliseconds), short(gflops)];
}

function timedCells({ shape, dtype, times, gflops, share, error }: Timed): string[] {
  const { median, best, worst } = times;
  return [
    `${dtype} ${describe(shape)}`,
    `${short(median)} (${short(best)}-${short(worst)})`,
    short(gflops),
    `${(100 * share).toFixed(0)} %`,
    error.toExponential(1),
  ];
}

function raceCells({ shape, dtype, ours, theirs, ratio, difference }: Race): string[] {
  return [
    `${dtype} ${describe(shape)}`,
    short(ours.median),
    short(theirs.median),
    `${short(ratio.median)}x (${short(ratio.lowest)}-${short(ratio.highest)})`,
    difference.toExponential(1),
  ];
}

function candidateCells({ tile, gflops, factor, chosen }: Candidate): string[] {
  const { f32, f16 } = gflops;
  const now = chosen ? "  in the table" : "";
  return [writeTile(tile), short(f32), short(f16), `${factor.toFixed(2)}x`, now];
}

/** Prints events as they come. */
export class Table {
  readonly #printer = new Printer();

  print(event: Event): void {
    if (event.kind === "runtime") this.#printer.text(`\n${event.runtime}`);
    if (event.kind === "device") this.#printer.text(deviceText(event.device));
    if (event.kind === "ceilings") { for (const ceiling of event.ceilings) this.#ceiling(ceiling); }
    if (event.kind === "timed") this.#timed(event.timed);
    if (event.kind === "race") this.#race(event.race);
    if (event.kind === "search") this.#search(event.search);
    if (event.kind === "missing") {
      this.#printer.text(`no figure: ${event.missing.what}: ${event.missing.reason}`);
    }
  }

  #ceiling(ceiling: Ceiling): void {
    const head = ["blocking", "N", "ms", "GFLOPS"];
    const title =
      "The ceiling: a register-blocked f32 product of N x N matrices, the fastest first";
    this.#printer.row(title, head, ceilingCells(ceiling), [44, 8, 10, 10]);
  }

  #timed(timed: Timed): void {
    const head = ["FlashTile", "ms (best-worst)", "GFLOPS", "of ceiling", "error"];
    const title = "Attention, from buffers to a buffer";
    this.#printer.row(title, head, timedCells(timed), [36, 24, 10, 12, 10]);
  }

  #race(race: Race): void {
    const head = ["both", "FlashTile ms", "theirs ms", "their time / ours", "difference"];
    const title =
      `Against ${race.peer}, MultiHeadAttention, in turns on one device, the same buffers`;
    this.#printer.row(title, head, raceCells(race), [36, 14, 12, 24, 12]);
  }

  #search({ name, problem, candidates, missing }: Run["searches"][number]): void {
    const head = ["tile", "f32 GFLOPS", "f16 GFLOPS", "faster", ""];
    const widths = [62, 12, 12, 9, 14];
    const title = `Search for \`${name}\`: ${problem}; the best last`;
    for (const candidate of candidates) {
      this.#printer.row(title, head, candidateCells(candidate), widths);
    }
    for (const { tile, reason } of missing) {
      this.#printer.text(`no figure: ${writeTile(tile)}: ${reason}`);
    }
  }
}

/** The best tiles of a run, as they can be pasted into the table. */
function bestLines({ runtime, device, searches }: Run): string[] {
  return searches.map(({ name, problem, candidates }) => {
    const { tile, gflops: { f32, f16 }, factor } = candidates.at(-1)!;
    const figures = `${short(f32)} GFLOPS f32, ${short(f16)} f16, ${factor.toFixed(2)}x`;
    return `  // ${device!.adapter}, ${runtime}: ${problem}: ${figures}\n` +
      `  ${name}: ${writeTile(tile)},`;
  });
}

function verdict(what: string, values: readonly number[], least: number, unit: string): string[] {
  if (values.length === 0) return [];
  const lowest = Math.min(...values);
  const text = unit === "%" ? `${(100 * lowest).toFixed(0)} %` : `${short(lowest)}${unit}`;
  const aim = unit === "%" ? `${100 * least} %` : `${least}${unit}`;
  return [`${what}: ${text} at least, the aim is ${aim}: ${lowest >= least ? "met" : "missed"}`];
}

/** What a run says about the aims, which are for a GPU. */
function aimLines({ runtime, device, timed, races }: Run): string[] {
  if (device === undefined || device.software || device.quick) return [];
  const aimed = ({ shape }: { shape: Timed["shape"] }) =>
    shape.keys === aims.length && !shape.causal;
  const shares = timed.filter((one) => aimed(one) && one.dtype === "f32").map((one) => one.share);
  const peers = Map.groupBy(races.filter(aimed), ({ peer }) => peer);
  const where = `${runtime}, N=${aims.length} dense`;
  return [
    ...verdict(`${where}, of the ceiling in f32`, shares, aims.share, "%"),
    ...[...peers].flatMap(([peer, raced]) =>
      verdict(
        `${where}, ${peer}'s time / ours`,
        raced.map(({ ratio }) => ratio.median),
        aims.ratio,
        "x",
      )
    ),
  ];
}

/** Prints what is to be done with a report. */
export function printEnd({ runs }: Report): void {
  const verdicts = runs.flatMap(aimLines), best = runs.flatMap(bestLines);
  if (verdicts.length > 0) console.log(`\n${verdicts.join("\n")}`);
  if (best.length === 0) return;
  console.log("\nFor the table in src/webgpu/attention/variants.ts:");
  console.log(best.join("\n"));
}
