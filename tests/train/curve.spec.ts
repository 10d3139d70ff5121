import { test } from "node:test";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { drawCurve } from "../../examples/train/curve.ts";
import type { Step } from "../../examples/train/train.ts";

const steps: Step[] = [
  { step: 1, loss: 5.5 },
  { step: 2, loss: 4 },
  { step: 3, loss: 2.25, heldOut: 2.5 },
];

test("drawCurve() draws a line over the steps, a point for each look, and says what they are", async () => {
  const svg = await drawCurve(steps);
  assertMatch(svg, /^<svg [^]*<\/svg>\n$/);
  for (const words of ["step", "loss in nats per byte", "windows of a step", "held-out text"]) {
    assertStringIncludes(svg, `>${words}</text>`);
  }
  assertMatch(svg, /stroke="#74b1ec"/);
  // One in the legend, one of the look.
  assertEquals(svg.match(/fill="#e8590c"/g)?.length, 2);
});

test("drawCurve() gives the same picture for the same steps, and for a single one", async () => {
  assertEquals(await drawCurve(steps), await drawCurve(steps));
  assert((await drawCurve(steps.slice(2))).includes("held-out text"));
});
