/**
 * The loss over the steps as a picture.
 *
 * @module
 */

import { parse, View } from "vega";
import { compile, type TopLevelSpec } from "vega-lite";
import type { Step } from "./train.ts";

const WINDOWS = "windows of a step";
const HELD_OUT = "held-out text";

/**
 * Draws a training.
 *
 * @param steps Its steps.
 * @returns The picture as SVG.
 */
export async function drawCurve(steps: readonly Step[]): Promise<string> {
  const view = new View(parse(compile(specOf(steps)).spec), { renderer: "none" });
  const svg = await view.toSVG();
  view.finalize();
  return `${svg}\n`;
}

function specOf(steps: readonly Step[]): TopLevelSpec {
  const values = steps.flatMap(({ step, loss, heldOut }) => [
    { step, loss, of: WINDOWS },
    ...(heldOut === undefined ? [] : [{ step, loss: heldOut, of: HELD_OUT }]),
  ]);
  return {
    background: "white", // Pages may be dark.
    title: "Loss while it trains",
    width: 640,
    height: 320,
    data: { values },
    encoding: {
      x: { field: "step", type: "quantitative", title: "step" },
      y: {
        field: "loss",
        type: "quantitative",
        title: "loss in nats per byte",
        scale: { zero: false },
      },
      color: {
        field: "of",
        type: "nominal",
        title: null,
        scale: { domain: [WINDOWS, HELD_OUT], range: ["#74b1ec", "#e8590c"] },
        legend: { orient: "top-right" },
      },
    },
    layer: [
      { transform: [{ filter: { field: "of", equal: WINDOWS } }], mark: "line" },
      {
        transform: [{ filter: { field: "of", equal: HELD_OUT } }],
        mark: { type: "line", point: true },
      },
    ],
  };
}
