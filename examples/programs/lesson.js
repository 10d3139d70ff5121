/**
 * Softmax, online softmax and attention, step by step: each by hand first, then by the library.
 *
 * @module
 */

import { attention, logSumExp, mergeAttention, softmax, tensor } from "@flashtile/attention";

/** All that is shown, by its title. */
export const shown = {};
function show(title, numbers) {
  shown[title] = Array.from(numbers);
  console.log(`  ${title.padEnd(34)}`, shown[title].map((x) => x.toFixed(5)).join("  "));
}
const add = (a, b) => a + b;

console.log("1. Softmax makes weights of scores: they are positive, and their sum is 1.");
const scores = [1, 3, 2, 5], greatest = Math.max(...scores);
const powers = scores.map((score) => Math.exp(score - greatest)); // none too large for a float
show("powers over their sum", powers.map((power) => power / powers.reduce(add)));
show("softmax()", (await softmax(tensor([scores]))).out.data);

console.log("2. Online softmax needs no second look at the scores, which come one by one.");
let m = -Infinity, l = 0; // the greatest so far, and the sum of powers relative to it
for (const score of scores) {
  const next = Math.max(m, score);
  [m, l] = [next, l * Math.exp(m - next) + Math.exp(score - next)];
  show(`greatest and sum, ${score} being seen`, [m, l]);
}
show("logarithm of the sum of all powers", [m + Math.log(l)]);
show("logSumExp()", (await logSumExp(tensor([scores]))).out.data);

console.log("3. Attention adds up values by such weights; a score is a query times a key.");
const q = [1, 2], keys = [[1, 0], [0, 1], [1, 1], [-1, 2]];
const values = [[1, 0], [0, 1], [4, 4], [2, 0]];
const dots = keys.map((k) => (q[0] * k[0] + q[1] * k[1]) / Math.sqrt(2));
const weights = (await softmax(tensor([dots]))).out.data;
const mix = (column) => values.map((v, at) => weights[at] * v[column]).reduce(add);
show("values by their weights", [mix(0), mix(1)]);
show("attention()", (await attention(tensor([q]), tensor(keys), tensor(values))).out.data);

console.log("4. FlashAttention is both: keys come in blocks, and sums so far are scaled anew.");
let largest = -Infinity, total = 0, out = [0, 0];
const parts = [];
for (const [from, to] of [[0, 2], [2, 4]]) {
  const block = dots.slice(from, to), scale = Math.max(largest, ...block);
  const shrunk = Math.exp(largest - scale), powers = block.map((dot) => Math.exp(dot - scale));
  [largest, total] = [scale, powers.reduce(add, total * shrunk)];
  const by = (column) => powers.map((power, at) => power * values[from + at][column]);
  out = out.map((x, column) => by(column).reduce(add, x * shrunk));
  show(`keys ${from} to before ${to} being seen`, out.map((x) => x / total));
  const [k, v] = [keys, values].map((rows) => tensor(rows.slice(from, to)));
  parts.push(await attention(tensor([q]), k, v, { lse: true }));
}
show("mergeAttention() of both blocks", (await mergeAttention(parts)).out.data);
