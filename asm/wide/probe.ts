// The product of keys and queries in both shapes, over and over, to see which takes this engine less time. A small module
// of its own: twelve keys, two panels of queries, 64 dimensions; a record, keys, queries and scores, one behind the other at
// an address that no compiler knows.

import { dot_f32_4x8_splat4 } from "../dot.gen";
import { dot_f32_6x16_splat4 } from "./dot.gen";
import { Pair } from "./pair";

const DIM: usize = 64;
const GROUP: usize = DIM * 16; // bytes of four keys
const PANEL: usize = DIM * 32; // of eight queries
const SCORES: usize = 12 * 32; // of a panel

export function narrow(at: usize, count: i32): void {
  const k = at + 32, q = k + 3 * GROUP, s = q + 2 * PANEL;
  for (; count > 0; count--) {
    for (let group: usize = 0; group < 3; group++) {
      dot_f32_4x8_splat4(k + group * GROUP, q, s + (group << 7), DIM, 1);
      dot_f32_4x8_splat4(k + group * GROUP, q + PANEL, s + SCORES + (group << 7), DIM, 1);
    }
  }
}

export function wide(at: usize, count: i32): void {
  const pair = changetype<Pair>(at), k = at + 32, q = k + 3 * GROUP, s = q + 2 * PANEL;
  pair.left = q;
  pair.right = q + PANEL;
  pair.apart = SCORES;
  for (; count > 0; count--) {
    dot_f32_6x16_splat4(k, k + GROUP, s, s + 128, DIM, pair);
    dot_f32_6x16_splat4(k + 2 * GROUP, k + GROUP + 8, s + 256, s + 192, DIM, pair);
  }
}
