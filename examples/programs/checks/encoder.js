/**
 * The encoder's vectors are those of a plain one in double precision, each text by itself.
 *
 * @module
 */

import { alibiSlopes, tensor } from "@flashtile/attention";
import { referenceAttention } from "@flashtile/attention/reference";
import { encode } from "../encoder.js";
import { heads, layers, table, width } from "../encoder_weights.js";
import { unit } from "../numbers.js";
import { assertClose, gelu, layerNorm, plus, rowsOf, times } from "./plain.js";

/** The heads of one part of `[q, k, v]` in each row. */
function headsOf(rows, part) {
  const data = rows.flatMap((row) => row.slice(part * width, (part + 1) * width));
  return tensor(Float32Array.from(data), [rows.length, heads, width / heads]);
}

function plainVector(text) {
  let x = rowsOf(table, new TextEncoder().encode(text));
  for (const { qkv, output, up, down } of layers) {
    const projected = times(x.map(layerNorm), qkv);
    const [q, k, v] = [0, 1, 2].map((part) => headsOf(projected, part));
    const { out } = referenceAttention(q, k, v, { layout: "bnhd", alibi: alibiSlopes(heads) });
    const attended = rowsOf({ data: out.data, shape: [x.length, width] }, x.keys());
    x = plus(x, times(attended, output));
    x = plus(x, times(times(x.map(layerNorm), up).map((row) => row.map(gelu)), down));
  }
  return unit(x.map(layerNorm).reduce((a, b) => a.map((value, at) => value + b[at])));
}

const texts = ["A cat sits outside", "Stocks fell", "x"];
for (const [at, vector] of (await encode(texts)).entries()) {
  assertClose(texts[at], vector, plainVector(texts[at]), 1e-5);
}

// A text's vector is its own, whatever is packed beside it.
const [alone] = await encode([texts[0]]), [, among] = await encode([texts[1], texts[0], ""]);
assertClose("beside others", among, alone, 0);
assertClose("an empty text", (await encode(["", "x"]))[0], new Float32Array(width), 0);
