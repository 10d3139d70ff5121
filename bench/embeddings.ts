/**
 * `deno task bench:embeddings FOLDER`: what `precision` costs the embeddings of a real model. The folder has
 * all-MiniLM-L6-v2 (`config.json`, `model.safetensors`) and `embeddings.json`: the token ids of texts, and their
 * embeddings by another implementation in float64. Printed are cosines to those, and to ours in f32, of the texts that are
 * long enough to go by integers at all.
 *
 * @module
 */

import "../tools/help.ts";
import process from "node:process";
import { createEngine } from "../mod.ts";
import { MiniLm, readTexts } from "./minilm.ts";
import { precisions } from "./precisions.ts";

/** Heads of at most so many rows are f32 at every level. */
const f32Rows = 16;

/** Cosine of vectors of any length. */
function cosine(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let product = 0, ofA = 0, ofB = 0;
  for (let at = 0; at < a.length; at++) {
    product += a[at] * b[at];
    ofA += a[at] ** 2;
    ofB += b[at] ** 2;
  }
  return product / Math.sqrt(ofA * ofB);
}

/** The least and the median of the cosines of pairs. */
function cosines(
  some: readonly ArrayLike<number>[],
  others: readonly ArrayLike<number>[],
): string[] {
  const sorted = some.map((one, at) => cosine(one, others[at])).sort((a, b) => a - b);
  return [sorted[0], sorted[sorted.length >> 1]].map((x) => x.toFixed(8));
}

const [folder] = process.argv.slice(2);
if (folder === undefined) {
  console.error("Say where the model is: deno task bench:embeddings FOLDER");
  process.exit(2);
}
await using engine = await createEngine({ backend: "wasm" });
const model = await MiniLm.load(folder, engine), all = await readTexts(folder);
const texts = all.filter(({ ids }) => ids.length > f32Rows);
const given = texts.map(({ embedding }) => embedding);
console.log(`${texts.length} texts of ${f32Rows + 1} tokens and more`);
console.log("| precision | to f32: least | median | to the given ones: least | median |");
let exact: readonly Float32Array[] | undefined;
for (const precision of precisions) {
  const embeddings = await model.embed(texts, precision);
  exact ??= embeddings;
  const columns = [...cosines(embeddings, exact), ...cosines(embeddings, given)];
  console.log(`| ${[precision, ...columns].join(" | ")} |`);
}
