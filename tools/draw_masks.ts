/**
 * Draws the pictures of `docs/SEMANTICS.md`: which keys each query sees, found out by `attention()`
 * itself. With queries of zeros all keys that are seen weigh alike; with the identity as values the
 * result says which they are.
 *
 * Each picture stands between two comments and is made from the options that its caption shows.
 *
 * @module
 */

import { readFile } from "node:fs/promises";
import { attention, type AttentionOptions, blockMask, tensor } from "../mod.ts";
import type { Files } from "./build_wasm.ts";

const path = "docs/SEMANTICS.md";

/** Pictures side by side: the options of each, as their text is read, and how many rows and keys. */
interface Panel {
  readonly queries: number;
  readonly keys: number;
  readonly options: readonly string[];
}

const panels: Readonly<Record<string, readonly Panel[]>> = {
  causal: [
    {
      queries: 2,
      keys: 5,
      options: ["causal: true", 'causal: "top-left"', "causal: true, offset: 1"],
    },
    {
      queries: 5,
      keys: 2,
      options: ["causal: true", 'causal: "top-left"', "causal: true, offset: -1"],
    },
  ],
  window: [
    {
      queries: 5,
      keys: 8,
      options: ["window: [1, 1]", "window: [1, 1], offset: 0", "window: [2, 0]"],
    },
    {
      queries: 5,
      keys: 8,
      options: ["window: [null, 0]", "window: [0, null]", "causal: true, window: [2, 4]"],
    },
  ],
  lengths: [
    {
      queries: 4,
      keys: 6,
      options: [
        "kvLengths: [4]",
        "causal: true, kvLengths: [4]",
        "causal: true, kvLengths: [4], offset: 0",
      ],
    },
  ],
  mask: [
    {
      queries: 4,
      keys: 6,
      options: [
        "mask: { data: Uint8Array.of(1, 1, 0, 1, 0, 1), shape: [6] }",
        "mask: { data: Uint32Array.of(0b0111), shape: [4, 1] }",
      ],
    },
    {
      queries: 4,
      keys: 6,
      options: ["bias: { data: Float32Array.of(0, 0, 0, -Infinity, 9, 9), shape: [6] }"],
    },
  ],
  packed: [
    {
      queries: 6,
      keys: 9,
      options: [
        "cuSeqlens: { q: [0, 1, 4, 6], k: [0, 4, 7, 9] }",
        "causal: true, cuSeqlens: { q: [0, 1, 4, 6], k: [0, 4, 7, 9] }",
      ],
    },
  ],
  blocks: [
    square("causal(size)", "prefix(4, size)", "window([2, 1], size)"),
    square("dilated({ window: [6, 6], dilation: 2 }, size)", "butterfly(size)"),
    square("longformer({ window: 3, global: [0] }, size)"),
    square("longformer({ window: 3, dilation: 2, global: [5] }, size)"),
    square("bigbird({ block: 2, windowBlocks: 1, global: 1, random: 1, seed: 3 }, size)"),
    square("document([0, 0, 0, 1, 1, 2, 2, 2, 2, 1, 3, 3], size)"),
    square("causal(size).and(blockMask.butterfly(size))", "causal(size).not()"),
  ],
};

/** Block masks of twelve queries and keys, in blocks of two. */
function square(...masks: string[]): Panel {
  return { queries: 12, keys: 12, options: masks.map((mask) => `blockMask: blockMask.${mask}`) };
}

/** The options that a caption says. */
function optionsOf(text: string, { queries, keys }: Panel): AttentionOptions {
  const size = text.includes(".document(") ? { block: 2 } : { queries, keys, block: 2 };
  return new Function("blockMask", "size", `return { ${text} };`)(blockMask, size);
}

/** Rows of 0 and 1. */
async function draw(text: string, panel: Panel): Promise<string[]> {
  const { queries, keys } = panel;
  const identity = Float32Array.from(
    { length: keys * keys },
    (_, at) => Number(at % (keys + 1) === 0),
  );
  const zeros = (rows: number) => tensor(new Float32Array(rows), [rows, 1]);
  const values = tensor(identity, [keys, keys]);
  const { out } = await attention(zeros(queries), zeros(keys), values, optionsOf(text, panel));
  return Array.from(
    { length: queries },
    (_, i) => Array.from({ length: keys }, (_, j) => Number(out.data[i * keys + j] > 0)).join(" "),
  );
}

/** Captions above their pictures, side by side. */
async function drawPanel(panel: Panel): Promise<string> {
  const columns = await Promise.all(panel.options.map(async (text) => {
    const lines = [text, ...await draw(text, panel)];
    const width = Math.max(...lines.map((line) => line.length));
    return lines.map((line) => line.padEnd(width));
  }));
  return columns[0].map((_, row) => columns.map((lines) => lines[row]).join("     ").trimEnd())
    .join("\n");
}

/** The document with its pictures drawn anew. */
export async function generatePictures(): Promise<Files> {
  let text = await readFile(new URL(`../${path}`, import.meta.url), "utf8");
  for (const [name, group] of Object.entries(panels)) {
    const [begin, end] = [`<!-- drawn: ${name} -->`, `<!-- end: ${name} -->`];
    const from = text.indexOf(begin), to = text.indexOf(end);
    if (from < 0 || to < from) throw new Error(`Cannot find "${begin}" and "${end}" in ${path}`);
    const pictures = await Promise.all(group.map(drawPanel));
    text = text.slice(0, from + begin.length) + "\n\n```text\n" + pictures.join("\n\n") +
      "\n```\n\n" + text.slice(to);
  }
  return { [path]: text };
}
