/**
 * The lesson shows the same number twice where it says so, and the oracle's.
 *
 * @module
 */

import { tensor } from "@flashtile/attention";
import { referenceAttention } from "@flashtile/attention/reference";
import { shown } from "../lesson.js";
import { assertClose } from "./plain.js";

const q = tensor([[1, 2]]), k = tensor([[1, 0], [0, 1], [1, 1], [-1, 2]]);
const v = tensor([[1, 0], [0, 1], [4, 4], [2, 0]]);
const expected = referenceAttention(q, k, v).out.data;
const softmax = [1, 3, 2, 5].map((score) => {
  return Math.exp(score) / (Math.exp(1) + Math.exp(3) + Math.exp(2) + Math.exp(5));
});
const logarithm = [Math.log(Math.exp(1) + Math.exp(3) + Math.exp(2) + Math.exp(5))];
const firstBlock = referenceAttention(q, tensor([[1, 0], [0, 1]]), tensor([[1, 0], [0, 1]]));

const known = {
  "powers over their sum": softmax,
  "softmax()": softmax,
  "logarithm of the sum of all powers": logarithm,
  "logSumExp()": logarithm,
  "values by their weights": expected,
  "attention()": expected,
  "keys 0 to before 2 being seen": firstBlock.out.data,
  "keys 2 to before 4 being seen": expected,
  "mergeAttention() of both blocks": expected,
};
for (const [title, numbers] of Object.entries(known)) {
  assertClose(title, shown[title], numbers, 1e-6);
}
