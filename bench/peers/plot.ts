/**
 * The growth curves as a picture: time and memory over the length, both axes logarithmic.
 *
 * `plot.ts REPORT.json PICTURE.svg` draws a report again.
 *
 * @module
 */

import { readFile, writeFile } from "node:fs/promises";
import process from "node:process";
import { parse, View } from "vega";
import { compile, type TopLevelSpec } from "vega-lite";
import type { Growth, Point, Report } from "./report.ts";

/** In the order of the peers; each stands out from white and from near-black. */
const colours = ["#e8590c", "#228be6", "#0ca678", "#e64980", "#868e96", "#b08800"];

/** One of the two pictures. */
interface Panel {
  readonly title: string;
  /** What is drawn upwards. */
  value(point: Point): number;
  /** The factor from one line of the grid to the next, and the first one's exponent. */
  readonly base: number;
  readonly first: number;
  /** Words of a line of the grid, as an expression of `datum.value`. */
  readonly words: string;
}

const mebibyte = 2 ** 20;

const panels: readonly Panel[] = [
  {
    title: "Time of a call, the fastest of several",
    value: ({ milliseconds }) => milliseconds,
    base: 10,
    first: -1,
    words: "datum.value < 1000 ? datum.value + ' ms' : datum.value / 1000 + ' s'",
  },
  {
    title: "Memory that the first call takes, its result included",
    // Less is lost among what a runtime takes for itself.
    value: ({ bytes }) => Math.max(1, bytes / mebibyte),
    base: 4,
    first: 0,
    words: "datum.value < 1024 ? datum.value + ' MiB' : datum.value / 1024 + ' GiB'",
  },
];

/** A point of a curve, or where it ends. */
interface Mark {
  readonly peer: string;
  readonly length: number;
  readonly value: number;
}

function marksOf({ peer, points }: Growth, { value }: Panel): Mark[] {
  return points.map((point) => ({ peer, length: point.length, value: value(point) }));
}

/** The way to where a curve fails: the next length, at the square growth of the scores. */
function failureOf(growth: Growth, panel: Panel): Mark[] {
  const { peer, points, end } = growth, last = points.at(-1);
  if (end?.kind !== "failed" || last === undefined) return [];
  const value = panel.value(last), { length } = end;
  return [
    { peer, length: last.length, value },
    { peer, length, value: value * (length / last.length) ** 2 },
  ];
}

/** Where a curve was stopped. */
function stopOf(growth: Growth, panel: Panel): Mark[] {
  const { end } = growth, isStopped = end !== undefined && end.kind !== "failed";
  return isStopped ? marksOf(growth, panel).slice(-1) : [];
}

/** A peer's name, with its version. */
function nameOf(peer: string, { peers }: Report): string {
  // Of a library with several operators one is drawn: its name is enough.
  const version = peers.find(({ name }) => name === peer)?.version;
  return [peer.replace(/ Attention$/, ""), version].filter(Boolean).join(" ");
}

/** Where the lines of the grid are. */
function linesOf({ base, first }: Panel): number[] {
  return Array.from({ length: 9 }, (_, power) => base ** (power + first));
}

/** One panel: curves, the dotted ways to where they fail, crosses there, and rings where they were stopped. */
function panelOf(panel: Panel, report: Report) {
  const { growth: { curves } } = report;
  const layers = [
    { marks: marksOf, mark: { type: "line", point: { size: 18 }, clip: true } },
    { marks: failureOf, mark: { type: "line", strokeDash: [3, 4], opacity: 0.6 } },
    {
      marks: (growth: Growth, panel: Panel) => failureOf(growth, panel).slice(1),
      mark: { type: "point", shape: "cross", angle: 45, size: 90, filled: true },
    },
    { marks: stopOf, mark: { type: "point", size: 90, fill: "white", strokeWidth: 2 } },
  ];
  return {
    title: { text: panel.title, anchor: "start" },
    width: 620,
    height: 260,
    layer: layers.map(({ marks, mark }) => ({
      data: {
        values: curves.flatMap((growth) => marks(growth, panel)).map((mark) => ({
          ...mark,
          peer: nameOf(mark.peer, report),
        })),
      },
      mark,
    })),
    encoding: {
      x: {
        field: "length",
        type: "quantitative",
        title: "tokens",
        scale: { type: "log", base: 2, nice: false },
        axis: { format: ",", grid: false, labelFlush: false },
      },
      y: {
        field: "value",
        type: "quantitative",
        title: null,
        scale: { type: "log", base: panel.base },
        axis: { values: linesOf(panel), labelExpr: panel.words },
      },
      color: {
        field: "peer",
        type: "nominal",
        title: null,
        scale: { domain: curves.map(({ peer }) => nameOf(peer, report)), range: colours },
        legend: { labelLimit: 260 },
      },
    },
  };
}

function specOf(report: Report): TopLevelSpec {
  const { machine: { cpu, cores, system }, growth: { shape, runtime } } = report;
  return {
    background: "white",
    padding: 12,
    title: {
      text: `Attention, one thread, f32, dense, H=${shape.heads}, D=${shape.dim}`,
      subtitle: [
        `${cpu}, ${cores} cores, ${system}; ${runtime}`,
        "A cross: it fails there. A ring: stopped, the next length would take too long or too much memory.",
      ],
      anchor: "start",
      offset: 12,
    },
    vconcat: panels.map((panel) => panelOf(panel, report)),
  } as TopLevelSpec;
}

/** Draws a report's growth curves as SVG. */
export async function drawGrowth(report: Report): Promise<string> {
  const view = new View(parse(compile(specOf(report)).spec), { renderer: "none" });
  const svg = await view.toSVG();
  view.finalize();
  return `${svg}\n`;
}

if (import.meta.main) {
  const [from, to] = process.argv.slice(2);
  await writeFile(to, await drawGrowth(JSON.parse(await readFile(from, "utf8"))));
}
