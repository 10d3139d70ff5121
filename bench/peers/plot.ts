/**
 * The growth curves as a picture: time and memory over the length, both axes logarithmic. Drawn by
 * hand: two scales and some text are less than a plotting library's types.
 *
 * `plot.ts REPORT.json PICTURE.svg` draws a report again.
 *
 * @module
 */

import { readFile, writeFile } from "node:fs/promises";
import process from "node:process";
import type { Growth, Point, Report } from "./report.ts";

const width = 860, panelHeight = 330;
const plot = { left: 70, right: 830, top: 34, bottom: 290 } as const;
const fontSize = 12.5, characterWidth = 7.7, lineHeight = 15;

/** In the order of the peers; each stands out from white and from near-black. */
const colours = ["#e8590c", "#228be6", "#0ca678", "#e64980", "#868e96", "#b08800"];

/** Colours of what carries no data, in both modes; the picture brings its own ground. */
const style = `
  text { font: ${fontSize}px system-ui, "Segoe UI", "DejaVu Sans", sans-serif; fill: #57606a }
  .ground { fill: #ffffff }
  .grid { stroke: #d0d7de; stroke-width: 1 }
  .title { font-weight: 600; font-size: 14px; fill: #1f2328 }
  .label { font-weight: 600; paint-order: stroke; stroke: #ffffff; stroke-width: 4px;
    stroke-linejoin: round }
  .curve, .cross { fill: none; stroke-width: 2 }
  .first { stroke-width: 3.5 }
  .guess { stroke-dasharray: 3 4; opacity: 0.6 }
  .stop { fill: #ffffff; stroke-width: 2 }
  @media (prefers-color-scheme: dark) {
    text { fill: #9198a1 }
    .ground, .stop { fill: #0d1117 }
    .grid { stroke: #30363d }
    .title { fill: #f0f6fc }
    .label { stroke: #0d1117 }
  }
`;

interface Place {
  readonly x: number;
  readonly y: number;
}

interface Tick {
  readonly value: number;
  readonly text: string;
}

/** One of the two pictures. */
interface Panel {
  readonly title: string;
  /** What is drawn upwards. */
  value(point: Point): number;
  readonly ticks: readonly Tick[];
}

const mebibyte = 2 ** 20;

const panels: readonly Panel[] = [
  {
    title: "Time of a call, the fastest of several",
    value: ({ milliseconds }) => milliseconds,
    ticks: ["0.1 ms", "1 ms", "10 ms", "100 ms", "1 s", "10 s", "100 s"]
      .map((text, power) => ({ text, value: 10 ** (power - 1) })),
  },
  {
    title: "Memory that the first call takes, its result included",
    // Less is lost among what a runtime takes for itself.
    value: ({ bytes }) => Math.max(1, bytes / mebibyte),
    ticks: ["1 MiB", "4 MiB", "16 MiB", "64 MiB", "256 MiB", "1 GiB", "4 GiB", "16 GiB"]
      .map((text, power) => ({ text, value: 4 ** power })),
  },
];

/** Maps logarithms of `[from, to]` to `[start, end]`. */
function logarithmic(from: number, to: number, start: number, end: number) {
  const span = Math.log(to / from);
  return (value: number) => start + (end - start) * Math.log(value / from) / span;
}

/** Where a curve goes. */
interface Curve {
  readonly name: string;
  readonly colour: string;
  readonly places: readonly Place[];
  /** Where it fails: the next length, at the square growth of the scores. */
  readonly failure?: Place;
  readonly stopped: boolean;
}

type Scale = (value: number) => number;

function curveOf(growth: Growth, index: number, panel: Panel, x: Scale, y: Scale): Curve {
  const { peer, points, end } = growth;
  const places = points.map((point) => ({ x: x(point.length), y: y(panel.value(point)) }));
  const last = points.at(-1);
  const failure = end?.kind === "failed" && last !== undefined
    ? { x: x(end.length), y: y(panel.value(last) * (end.length / last.length) ** 2) }
    : undefined;
  const stopped = end !== undefined && failure === undefined;
  return { name: peer, colour: colours[index % colours.length], places, failure, stopped };
}

/** A label's box: its left end and the middle of its line. */
interface Label extends Place {
  readonly text: string;
  readonly colour: string;
}

function overlaps(a: Label, b: Label): boolean {
  const apart = (left: Label, right: Label) => left.x + widthOf(left) + 4 < right.x;
  return !apart(a, b) && !apart(b, a) && Math.abs(a.y - b.y) < lineHeight;
}

function widthOf({ text }: Label): number {
  return text.length * characterWidth;
}

/** How many of a curve's places, and of those between them, lie under a label. */
function crossed(label: Label, curve: Curve): number {
  let count = 0;
  const all = curve.failure ? [...curve.places, curve.failure] : curve.places;
  for (const [index, to] of all.entries()) {
    const from = all[Math.max(0, index - 1)];
    for (let part = 0; part < 1; part += 0.1) {
      const x = from.x + (to.x - from.x) * part, y = from.y + (to.y - from.y) * part;
      const inside = x > label.x - 4 && x < label.x + widthOf(label);
      if (inside && Math.abs(y - label.y) < lineHeight / 2) count++;
    }
  }
  return count;
}

/** Puts each label beside the end of its curve, moved where another label or a curve is. */
function placeLabels(
  curves: readonly Curve[],
  versions: ReadonlyMap<string, string | undefined>,
): Label[] {
  const placed: Label[] = [];
  for (const curve of curves) {
    const end = curve.failure ?? curve.places.at(-1);
    if (end === undefined) continue;
    // Of a library with several operators one is drawn: its name is enough.
    const name = [curve.name.replace(/ Attention$/, ""), versions.get(curve.name)];
    const text = name.filter(Boolean).join(" ") + (curve.failure ? ": fails" : "");
    placed.push(bestPlace({ text, colour: curve.colour, ...end }, placed, curves));
  }
  return placed;
}

/** Pixels that a label may be moved up or down by, the nearest first. */
const shifts = [0, -8, 8, -15, 15, -22, 22, -30, 30, -38, 38, -46, 46];

function bestPlace(label: Label, placed: readonly Label[], curves: readonly Curve[]): Label {
  const right = label.x + 11, left = label.x - widthOf(label) - 11;
  const middle = label.x - widthOf(label) / 2;
  const candidates = [right, left, middle].flatMap((x, side) =>
    shifts.map((shift) => {
      const moved = { ...label, x, y: label.y + shift };
      const over = curves.reduce((sum, curve) => sum + crossed(moved, curve), 0);
      const hidden = placed.filter((other) => overlaps(moved, other)).length;
      const outside = isOutside(moved) ? 1000 : 0;
      return { moved, cost: Math.abs(shift) + 12 * side + outside + 500 * hidden + 20 * over };
    })
  );
  return candidates.reduce((best, next) => next.cost < best.cost ? next : best).moved;
}

function isOutside(label: Label): boolean {
  const { x, y } = label;
  return x < plot.left || x + widthOf(label) > width - 8 || y < plot.top - 4 ||
    y > plot.bottom - 4;
}

function text(content: string, x: number, y: number, attributes = ""): string {
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}"${attributes}>${content}</text>`;
}

function pathOf(places: readonly Place[]): string {
  return places.map(({ x, y }, index) => `${index ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`)
    .join("");
}

function drawCurve({ colour, places, failure, stopped }: Curve, index: number): string {
  const last = places.at(-1);
  if (last === undefined) return "";
  const stroke = `stroke="${colour}"`;
  const parts = [
    `<path class="curve${index === 0 ? " first" : ""}" ${stroke} d="${pathOf(places)}"/>`,
  ];
  if (failure) {
    const { x, y } = failure;
    const cross = `M${x - 5} ${y - 5}l10 10m0 -10l-10 10`;
    parts.push(`<path class="curve guess" ${stroke} d="${pathOf([last, failure])}"/>`);
    parts.push(`<path class="cross" ${stroke} d="${cross}"/>`);
  } else if (stopped) {
    parts.push(`<circle class="stop" ${stroke} cx="${last.x}" cy="${last.y}" r="4"/>`);
  }
  return parts.join("\n");
}

function drawLabel({ text: content, x, y, colour }: Label): string {
  // As a style, since the sheet's rule for all text would win over an attribute.
  return text(content, x, y + 4, ` class="label" style="fill: ${colour}"`);
}

function drawGrid(ticks: readonly Tick[], y: Scale, lengths: readonly number[], x: Scale): string {
  const rows = ticks.map((tick) => {
    const at = y(tick.value);
    return `<path class="grid" d="M${plot.left} ${at.toFixed(1)}H${plot.right}"/>` +
      text(tick.text, plot.left - 8, at + 4, ` text-anchor="end"`);
  });
  const columns = lengths.map((length) =>
    text(length.toLocaleString("en"), x(length), plot.bottom + 18, ` text-anchor="middle"`)
  );
  return [...rows, ...columns].join("\n");
}

function drawPanel(panel: Panel, report: Report, top: number): string {
  const { curves } = report.growth;
  const lengths = [...new Set(curves.flatMap(({ points }) => points.map(({ length }) => length)))]
    .sort((a, b) => a - b);
  const values = curves.flatMap(({ points }) => points.map(panel.value));
  const ticks = within(panel.ticks, Math.min(...values), Math.max(...values) * 1.5);
  const x = logarithmic(lengths[0], lengths.at(-1)!, plot.left + 12, plot.right - 105);
  const y = logarithmic(ticks[0].value, ticks.at(-1)!.value, plot.bottom, plot.top);
  const drawn = curves.map((growth, index) => curveOf(growth, index, panel, x, y));
  const versions = new Map(report.peers.map(({ name, version }) => [name, version]));
  return [
    `<g transform="translate(0 ${top})">`,
    text(panel.title, plot.left, 18, ` class="title"`),
    drawGrid(ticks, y, lengths, x),
    text("tokens", plot.right, plot.bottom + 18, ` text-anchor="end"`),
    // The first on top.
    ...drawn.map(drawCurve).reverse(),
    ...placeLabels(drawn, versions).map(drawLabel),
    "</g>",
  ].join("\n");
}

/** The ticks from the last below all values to the first above them. */
function within(ticks: readonly Tick[], least: number, most: number): Tick[] {
  const first = ticks.findLastIndex(({ value }) => value <= least);
  const last = ticks.findIndex(({ value }) => value >= most);
  return ticks.slice(Math.max(0, first), last < 0 ? ticks.length : last + 1);
}

/** Draws a report's growth curves. */
export function drawGrowth(report: Report): string {
  const { machine: { cpu, cores, system }, growth: { shape, runtime } } = report;
  const height = 2 * panelHeight + 50;
  const where = `${cpu}, ${cores} cores, ${system}; ${runtime}`;
  const what = `One thread, f32, dense, H=${shape.heads}, D=${shape.dim}.`;
  const legend = "A ring: stopped, the next length would take too long or too much memory.";
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" ` +
    `width="${width}" height="${height}">`,
    "<title>Time and memory of attention over the number of tokens</title>",
    `<style>${style}</style>`,
    `<rect class="ground" width="${width}" height="${height}" rx="6"/>`,
    ...panels.map((panel, index) => drawPanel(panel, report, 8 + index * panelHeight)),
    text(`${what} ${legend}`, plot.left, height - 28),
    text(where, plot.left, height - 10),
    "</svg>\n",
  ].join("\n");
}

if (import.meta.main) {
  const [from, to] = process.argv.slice(2);
  await writeFile(to, drawGrowth(JSON.parse(await readFile(from, "utf8"))));
}
