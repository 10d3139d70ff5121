/**
 * A text encoder of layers: texts of different lengths are read in one call, one after the other and
 * without padding. A trained one's files are read by `loadEncoder()` of the subpath `models`.
 *
 * @module
 */

import { alibiSlopes, attention, tensor } from "@flashtile/attention";
import { embedding, layerNorm, linear, meanRows, packLinear } from "@flashtile/attention/nn";
import { heads, layers, table, width } from "./encoder_weights.js";
import { unit } from "./numbers.js";

const pack = (layer) => Promise.all(Object.values(layer).map((weight) => packLinear(weight)));
const packedLayers = await Promise.all(layers.map(pack));

/** Each text as a vector of length 1. */
export async function encode(texts) {
  const bytes = texts.map((text) => new TextEncoder().encode(text));
  const ends = [0]; // where texts begin, and the last one's end
  for (const { length } of bytes) ends.push(ends.at(-1) + length);
  const N = ends.at(-1), shape = [N, heads, width / heads], strides = [3 * width, width / heads, 1];
  const options = { cuSeqlens: ends, layout: "bnhd", alibi: alibiSlopes(heads) };

  let { out: x } = await embedding(bytes.flatMap((text) => [...text]), table);
  for (const [qkv, output, up, down] of packedLayers) {
    const { out: { data } } = await linear((await layerNorm(x)).out, qkv); // [N, 3, heads, D]
    const [q, k, v] = [0, 1, 2].map((at) => ({ data, shape, strides, offset: at * width }));
    const { out: attended } = await attention(q, k, v, options);
    x = (await linear(tensor(attended.data, [N, width]), output, { residual: x })).out;

    const { out: wide } = await linear((await layerNorm(x)).out, up, { activation: "gelu" });
    x = (await linear(wide, down, { residual: x })).out;
  }
  const { out: means } = await meanRows((await layerNorm(x)).out, ends);
  return texts.map((_, at) => unit(means.data.subarray(at * width, (at + 1) * width)));
}

for (const [first, ...rest] of await encode(["A cat sits outside", "Stocks fell", ""])) {
  console.log(first, `and ${rest.length} more`);
}
