/**
 * Pictures of block masks.
 *
 * @module
 */

import { type Blocks, blocksOf, rowOf, runsOf, whole } from "./blocks.ts";

/** Blocks that a character stands for, so that a picture has at most 64 x 64. */
function groupOf(mask: Blocks): [number, number] {
  const [queryBlocks, keyBlocks] = blocksOf(mask);
  return [Math.max(1, Math.ceil(queryBlocks / 64)), Math.max(1, Math.ceil(keyBlocks / 64))];
}

function drawElements(mask: Blocks, b: number, h: number): string[] {
  return Array.from({ length: mask.queries }, (_, query) => {
    const line = new Array<string>(mask.keys).fill("0");
    const row = rowOf(mask, b, h, Math.floor(query / mask.block[0]));
    for (const [from, to] of runsOf(mask, row, query)) line.fill("1", from, to);
    return line.join("");
  });
}

function drawBlocks(mask: Blocks, b: number, h: number, group: [number, number]): string[] {
  const { starts, columns, mixed } = mask, [queryBlocks, keyBlocks] = blocksOf(mask);
  const lines: string[] = [];
  for (let first = 0; first < queryBlocks; first += group[0]) {
    const rows = Math.min(group[0], queryBlocks - first), row = rowOf(mask, b, h, first);
    const listed = new Array<number>(Math.ceil(keyBlocks / group[1])).fill(0);
    const wholes = listed.slice();
    for (let e = starts[row]; e < starts[row + rows]; e++) {
      const at = Math.floor(columns[e] / group[1]);
      listed[at]++;
      if (mixed[e] === whole) wholes[at]++;
    }
    lines.push(
      listed.map((count, at) => {
        const all = rows * Math.min(group[1], keyBlocks - at * group[1]);
        return count === 0 ? "." : wholes[at] === all ? "#" : "+";
      }).join(""),
    );
  }
  return lines;
}

/** What a mask is, of which a part is kept. */
export function headOf({ batch, heads, queries, keys, block }: Blocks, density: number): string {
  return `BlockMask [${batch}, ${heads}, ${queries}, ${keys}], blocks of ${block[0]} x ${
    block[1]
  }, density ${Number(density.toPrecision(3))}`;
}

/** A picture of a mask of which a part is kept. */
export function draw(mask: Blocks, density: number): string {
  const { batch, heads, queries, keys } = mask;
  const group = groupOf(mask), pictures = batch * heads;
  const lines = [
    headOf(mask, density) +
    (group[0] * group[1] > 1 ? `, a character is ${group[0]} x ${group[1]} blocks` : ""),
  ];
  for (let p = 0; p < Math.min(pictures, 8); p++) {
    const b = Math.floor(p / heads), h = p % heads;
    if (pictures > 1) lines.push(`batch ${b}, head ${h}:`);
    const isSmall = queries <= 32 && keys <= 32;
    lines.push(...isSmall ? drawElements(mask, b, h) : drawBlocks(mask, b, h, group));
  }
  if (pictures > 8) lines.push(`and ${pictures - 8} more`);
  return lines.join("\n");
}
