/**
 * What a token costs over the length, as a picture.
 *
 * @module
 */

import { parse, View } from "vega";
import { compile, type TopLevelSpec } from "vega-lite";
import type { Growth } from "./family.ts";

/** Draws growths as SVG. */
export async function drawGrowth(growths: readonly Growth[]): Promise<string> {
  const view = new View(parse(compile(specOf(growths)).spec), { renderer: "none" });
  const svg = await view.toSVG();
  view.finalize();
  return `${svg}\n`;
}

function specOf(growths: readonly Growth[]): TopLevelSpec {
  const values = growths.flatMap(({ name, points }) =>
    points.map(({ length, milliseconds }) => ({
      name,
      length,
      price: 1000 * milliseconds / length,
    }))
  );
  return {
    background: "white",
    width: 560,
    height: 360,
    data: { values },
    mark: { type: "line", point: true },
    encoding: {
      x: {
        field: "length",
        type: "quantitative",
        title: "tokens",
        scale: { type: "log", base: 4, domain: [1024, 65_536] },
        axis: { values: growths[0].points.map(({ length }) => length), format: "," },
      },
      y: {
        field: "price",
        type: "quantitative",
        title: "microseconds a token",
        scale: { type: "log" },
      },
      color: {
        field: "name",
        type: "nominal",
        title: null,
        sort: growths.map(({ name }) => name),
        legend: { labelLimit: 260 },
      },
    },
  };
}
