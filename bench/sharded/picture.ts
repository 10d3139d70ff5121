/**
 * Steps over the number of tokens as a picture: points are measured, lines are the model's.
 *
 * @module
 */

import { parse, View } from "vega";
import { compile, type TopLevelSpec } from "vega-lite";
import { type Model, type Point, stepBy } from "./model.ts";

/** Draws them as SVG. */
export async function drawSteps(points: readonly Point[], model: Model): Promise<string> {
  const view = new View(parse(compile(specOf(points, model)).spec), { renderer: "none" });
  const svg = await view.toSVG();
  view.finalize();
  return `${svg}\n`;
}

function specOf(points: readonly Point[], model: Model): TopLevelSpec {
  const measured = points.map(({ shards, tokens, least }) => ({ shards, tokens, step: least }));
  const said = [1, 2, 3].flatMap((shards) =>
    Array.from({ length: 41 }, (_, at) => {
      const tokens = 1024 * 2 ** (at / 4);
      return { shards, tokens, step: stepBy(model, shards, tokens) };
    })
  );
  const encoding = {
    x: { field: "tokens", type: "quantitative", title: "tokens", scale: { type: "log", base: 4 } },
    y: {
      field: "step",
      type: "quantitative",
      title: "milliseconds a step and layer",
      scale: { type: "log" },
    },
    color: { field: "shards", type: "nominal", title: "shards" },
  } as const;
  return {
    ...{ background: "white", width: 560, height: 360 },
    title: {
      text: "A step of one layer over the tokens that it reads",
      subtitle:
        "points: the least measured, shards of one machine; lines: the model, a machine for each shard",
    },
    layer: [
      { data: { values: said }, mark: { type: "line", clip: true }, encoding },
      { data: { values: measured }, mark: { type: "point", filled: true, size: 60 }, encoding },
    ],
  };
}
