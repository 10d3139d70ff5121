/**
 * The page of `examples/programs/`, beside the package's scripts, in Chromium: what it draws is the
 * oracle's weights, on the CPU and on WebGPU.
 *
 * @module
 */

import { cpSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { assert, assertEquals } from "@std/assert";
import { referenceAttention } from "@flashtile/attention/reference";
import { serveFolder } from "./server.ts";
import { sitesIn } from "./sites.ts";
import { visit } from "./visit.ts";

const { FLASHTILE_SITES } = process.env;
if (FLASHTILE_SITES === undefined) {
  throw new Error("Run these tests by `deno task test:all flashtile`");
}
const { plain } = sitesIn(FLASHTILE_SITES);
const page = fileURLToPath(new URL("../../examples/programs/page.html", import.meta.url));
cpSync(page, join(plain, "program.html"));

/** What the canvas shows once the text above it says by whom. */
const drawn = `new Promise((resolve) => {
  const words = document.querySelector("#words"), canvas = document.querySelector("canvas");
  const look = () => {
    if (words.textContent === "") return setTimeout(look, 20);
    const { width, height } = canvas;
    const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
    resolve({ words: words.textContent, width, height, alpha: [...data].filter((_, at) => at % 4 === 3) });
  };
  look();
})`;

interface Drawn {
  readonly words: string;
  readonly width: number;
  readonly height: number;
  /** Of each pixel, from 0 to 255. */
  readonly alpha: readonly number[];
}

/** The weights of the text's letters, a row for each. */
function weightsOf(text: string): Float64Array {
  const N = text.length, D = 32;
  const data = Float32Array.from(
    { length: N * D },
    (_, at) => Math.sin(text.charCodeAt(Math.floor(at / D)) * (1 + at % D)),
  );
  const x = { data, shape: [N, D] };
  const each = Float32Array.from({ length: N * N }, (_, at) => Number(at % (N + 1) === 0));
  return referenceAttention(x, x, { data: each, shape: [N, N] }, { causal: true }).out.data;
}

/** Queries of the page's address, and the backend that it then says. */
const asked = { "": "wasm", "?backend=webgpu": "webgpu" };

for (const [query, backend] of Object.entries(asked)) {
  test(`the page program.html${query} in Chromium draws the oracle's weights`, async () => {
    await using server = serveFolder(plain, {});
    await visit("Chromium", `${server.url}program.html${query}`, async (seen) => {
      const { words, width, height, alpha } = await seen.evaluate<Drawn>(drawn);
      const [, text, by] = /^“(.+)”.* by (\w+): /.exec(words) ?? [];
      assertEquals([by, width, height], [backend, text.length, text.length]);
      const weights = weightsOf(text);
      const wrong = alpha.filter((value, at) => !(Math.abs(value - 255 * weights[at]) <= 1));
      assertEquals([alpha.length, wrong], [weights.length, []]);
      assert(alpha.some((value, at) => at > 0 && value > 50 && value < 200), words);
      assertEquals(seen.complaints, []);
    });
    assertEquals(server.missed, []);
  });
}
