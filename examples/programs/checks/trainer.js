/**
 * The trainer's gradients are the slopes of a plain model's loss in double precision, and what is
 * learned is what there is to learn.
 *
 * @module
 */

import { differentiate, train } from "../trainer.js";
import { draw, heads, model, N, tokens, width } from "../trainer_task.js";
import { assertClose, gelu, plus, rmsNorm, rowsOf, times } from "./plain.js";

/** Causal attention of one head of one sequence, whose rows are `D` numbers from `begin` on. */
function attend({ q, k, v }, row, head) {
  const D = width / heads, begin = head * D, first = row - row % N;
  const keys = Array.from({ length: row % N + 1 }, (_, at) => first + at);
  const weights = keys.map((key) => {
    let score = 0;
    for (let d = begin; d < begin + D; d++) score += q[row][d] * k[key][d];
    return Math.exp(score / Math.sqrt(D) + model.bias.data[head * N + row - key]);
  });
  const sum = weights.reduce((a, b) => a + b);
  return Array.from(
    { length: D },
    (_, d) => keys.reduce((total, key, at) => total + weights[at] / sum * v[key][begin + d], 0),
  );
}

function plainLoss({ ids, targets }) {
  const x = rowsOf(model.table, ids), normed = x.map(rmsNorm);
  const parts = {
    q: times(normed, model.q),
    k: times(normed, model.k),
    v: times(normed, model.v),
  };
  const attended = x.map((_, row) => [0, 1].flatMap((head) => attend(parts, row, head)));
  const y = plus(x, times(attended, model.output));
  const wide = times(y.map(rmsNorm), model.up).map((row) => row.map(gelu));
  const logits = times(plus(y, times(wide, model.down)).map(rmsNorm), model.head);
  const losses = logits.map((row, at) =>
    Math.log(row.reduce((sum, value) => sum + Math.exp(value), 0)) - row[targets[at]]
  );
  return losses.reduce((a, b) => a + b) / losses.length;
}

const drawn = draw(), { loss, gradients } = await differentiate(drawn);
assertClose("the loss", [loss], [plainLoss(drawn)], 1e-5);
for (const [name, { data }] of Object.entries(model)) {
  for (const at of [3, data.length >> 1]) {
    const value = data[at], step = 2 ** -10;
    // Weights are f32: how far apart they come is what they say.
    const [more, less] = [value + step, value - step].map((moved) => {
      data[at] = moved;
      return [data[at], plainLoss(drawn)];
    });
    data[at] = value;
    const slope = (more[1] - less[1]) / (more[0] - less[0]);
    assertClose(`the gradient by ${name}`, [gradients[name].data[at]], [slope], 1e-5);
  }
}

await train(60);
const { loss: learned } = await differentiate(draw());
// Of each sequence the first three tokens have nothing behind them to go by.
const least = 3 / N * Math.log(tokens);
if (!(learned > least * 0.7 && learned < loss / 2)) throw new Error(`The loss is ${learned}`);
for (let head = 0; head < heads; head++) {
  const bias = [...model.bias.data.subarray(head * N, (head + 1) * N)];
  const isSought = (distance) => distance % 4 === 3;
  const sought = Math.min(...bias.filter((_, at) => isSought(at)));
  const others = Math.max(...bias.filter((_, at) => !isSought(at)));
  if (!(sought > others)) throw new Error(`Head ${head} has learned ${bias}`);
}
