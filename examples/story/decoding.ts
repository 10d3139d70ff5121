/**
 * One query against many keys, cut into parts that do not wait for each other (flash-decoding).
 *
 * @module
 */

import { blocksOf, spans } from "./blocks.ts";
import { Matrix, type Memory, type Span } from "./memory.ts";
import { type Inputs, scaleFor } from "./problem.ts";
import { follow } from "./softmax.ts";
import { addProduct, addRow, scaleRow, scoresOf } from "./tiles.ts";

/** Parts that keys are cut into, where there are as many keys. */
export const usualParts = 8;

/** Where the parts lie. */
export function partsOf(keys: number, parts = usualParts): Span[] {
  return spans(keys, Math.ceil(keys / parts));
}

/** Attention of the one row of `q`. */
export function splitDecoding(inputs: Inputs, memory: Memory, parts = usualParts): Matrix {
  const { q, k } = inputs, cut = partsOf(k.rows, parts);
  const o = new Matrix("parts", cut.length, q.columns), lse = new Matrix("L", cut.length, 1);
  cut.forEach((keys, part) =>
    attendPart(inputs, keys, { start: part, count: 1 }, { o, lse }, memory)
  );
  return mergeParts(o, lse, memory);
}

/** What a worker does: its part of the keys, as in FlashAttention-2. */
function attendPart(
  { q, k, v }: Inputs,
  keys: Span,
  part: Span,
  { o, lse }: { readonly o: Matrix; readonly lse: Matrix },
  memory: Memory,
): void {
  const d = q.columns, query = memory.load(q, q.all[0]), sum = memory.make(o, part);
  const m = Float64Array.of(-Infinity), l = Float64Array.of(0);
  const { inner } = blocksOf(memory.size, d);
  for (const { start, count } of spans(keys.count, inner)) {
    const j = { start: keys.start + start, count };
    const kj = memory.load(k, j), vj = memory.load(v, j), before = m[0];
    const [row] = scoresOf(query, kj, scaleFor(d));
    follow(m, l, 0, row);
    scaleRow(sum.rows[0], Math.exp(before - m[0]));
    addProduct(sum, [row.map((x) => Math.exp(x - m[0]))], vj);
    memory.free(kj, vj);
  }
  scaleRow(sum.rows[0], 1 / l[0]);
  memory.store(sum);
  memory.write(Float64Array.of(m[0] + Math.log(l[0])), lse, part);
  memory.free(query, sum);
}

/** Each part counts as much as its log-sum-exp says: a softmax over the parts. */
function mergeParts(parts: Matrix, lse: Matrix, memory: Memory): Matrix {
  const o = new Matrix("O", 1, parts.columns), out = memory.make(o, o.all[0]);
  const m = Float64Array.of(-Infinity), l = Float64Array.of(0);
  for (const part of spans(parts.rows, 1)) {
    const row = memory.load(parts, part), before = m[0], [s] = memory.read(lse, part);
    follow(m, l, 0, Float64Array.of(s));
    scaleRow(out.rows[0], Math.exp(before - m[0]));
    addRow(out.rows[0], Math.exp(s - m[0]), row.rows[0]);
    memory.free(row);
  }
  scaleRow(out.rows[0], 1 / l[0]);
  memory.store(out);
  memory.free(out);
  return o;
}
