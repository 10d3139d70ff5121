/**
 * Numbers moved over the size of fast memory, as SVG.
 *
 * @module
 */

import { algorithmOf } from "../chapters.ts";
import { flashOrder, standardOrder } from "../closed.ts";
import { crossoverOf, totalOf } from "../crossover.ts";
import { brief, whole } from "../format.ts";
import type { Sizes } from "../problem.ts";

/** A line of the chart. */
interface Line {
  readonly name: string;
  readonly className: string;
  readonly of: (sizes: Sizes) => number;
  /** Up to which M it is drawn. */
  readonly end: (sizes: Sizes) => number;
}

const lines: readonly Line[] = [
  { name: "N d + N²", className: "order", of: standardOrder, end: () => Infinity },
  // The theorem is for d <= M <= N d.
  { name: "N² d² / M", className: "order", of: flashOrder, end: ({ n, d }) => n * d },
  ...(["naive", "flash1", "flash2"] as const).map((name) => ({
    name: algorithmOf(name).title,
    className: name,
    of: (sizes: Sizes) => totalOf(algorithmOf(name).traffic(sizes)),
    end: () => Infinity,
  })),
];

const height = 310, edge = { left: 46, right: 10, top: 12, bottom: 36 };

type Range = readonly [least: number, most: number];
type Map = (value: number) => number;

/** Both axes: what they range over, and where on the picture that is. */
interface Axes {
  readonly width: number;
  readonly moved: Range;
  readonly fast: Range;
  readonly x: Map;
  readonly y: Map;
}

/** Maps numbers to pixels, by their logarithms. */
function logarithmic([least, most]: Range, [from, to]: Range): Map {
  const range = Math.log(most / least);
  return (value) => from + (to - from) * Math.log(value / least) / range;
}

/** Points of a line: M, and what is moved then. */
function pointsOf({ of, end }: Line, sizes: Sizes): [m: number, moved: number][] {
  return samples(sizes).filter((m) => m <= end(sizes)).map((m) => [m, of({ ...sizes, m })]);
}

/** Sizes of fast memory, from the least that works to where everything fits. */
function samples({ n, d }: Sizes): number[] {
  const least = 4 * d, count = 200;
  return Array.from(
    { length: count + 1 },
    (_, at) => Math.round(least * (1.5 * n) ** (at / count)),
  );
}

/** Draws the chart for some sizes. */
export function chartOf(sizes: Sizes, width: number): string {
  const points = lines.map((line) => pointsOf(line, sizes));
  const axes = axesFor(points.flat(), width);
  const paths = lines.map((line, index) => pathOf(line, points[index], axes));
  const label = `Numbers moved over M at N = ${sizes.n} and d = ${sizes.d}; ` +
    "the words below say where the lines cross";
  return `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${label}">${
    [...grid(axes), ...paths, here(sizes, axes), crossing(sizes, axes)].join("")
  }</svg>${legend()}`;
}

function axesFor(points: readonly (readonly [number, number])[], width: number): Axes {
  const rangeOf = (values: readonly number[], margin: number): Range => [
    Math.min(...values) / margin,
    Math.max(...values) * margin,
  ];
  const fast = rangeOf(points.map(([m]) => m), 1);
  const moved = rangeOf(points.map(([, value]) => value), 1.3);
  return {
    ...{ width, fast, moved },
    x: logarithmic(fast, [edge.left, width - edge.right]),
    y: logarithmic(moved, [height - edge.bottom, edge.top]),
  };
}

/** A line; those of the papers have their names beside them. */
function pathOf(
  { name, className }: Line,
  points: readonly (readonly [number, number])[],
  { x, y }: Axes,
): string {
  const pairs = points.map(([m, moved]) => `${x(m).toFixed(1)},${y(moved).toFixed(1)}`);
  const line = `<polyline class="line ${className}" points="${pairs.join(" ")}"/>`;
  if (className !== "order") return line;
  const [m, moved] = points[Math.floor(0.08 * points.length)];
  return `${line}<text x="${x(m) + 4}" y="${y(moved) - 6}">${name}</text>`;
}

function powersWithin([least, most]: Range): number[] {
  const all = Array.from({ length: 13 }, (_, power) => 10 ** power);
  return all.filter((value) => value >= least && value <= most);
}

function grid({ width, fast, moved, x, y }: Axes): string[] {
  const bottom = height - edge.bottom, right = width - edge.right;
  const tick = (value: number) => brief(value).replace(/\.0+/, "");
  return [
    ...powersWithin(fast).map((value) =>
      `<path class="grid" d="M${x(value)} ${edge.top}V${bottom}"/>` +
      `<text x="${x(value)}" y="${bottom + 16}" text-anchor="middle">${tick(value)}</text>`
    ),
    ...powersWithin(moved).map((value) =>
      `<path class="grid" d="M${edge.left} ${y(value)}H${right}"/>` +
      `<text x="${edge.left - 6}" y="${y(value) + 4}" text-anchor="end">${tick(value)}</text>`
    ),
    `<text x="${right}" y="${height - 4}" text-anchor="end">M, numbers in fast memory</text>`,
  ];
}

/** Where the slider stands. */
function here({ m }: Sizes, { width, fast: [least, most], x }: Axes): string {
  if (m < least || m > most) return "";
  const at = x(m), [anchor, beside] = at > width / 2 ? ["end", -5] : ["start", 5];
  return `<path class="here" d="M${at} ${edge.top}V${height - edge.bottom}"/>` +
    `<text class="here" x="${at + Number(beside)}" y="${edge.top + 10}" ` +
    `text-anchor="${anchor}">M = ${whole(m)}</text>`;
}

function crossing(sizes: Sizes, { x, y }: Axes): string {
  const m = crossoverOf(sizes);
  if (m === undefined) return "";
  const moved = totalOf(algorithmOf("flash1").traffic({ ...sizes, m }));
  return `<circle class="crossing" cx="${x(m)}" cy="${y(moved)}" r="5.5"/>`;
}

function legend(): string {
  const items = lines.filter(({ className }) => className !== "order");
  return `<ul class="legend">${
    items.map(({ name, className }) => `<li class="${className}">${name}</li>`).join("")
  }<li class="order">as the papers state it</li><li class="crossing">where they cross</li></ul>`;
}
