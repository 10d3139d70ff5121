/**
 * Trains a small transformer. Where a token stands it knows by one thing alone: a learned bias for
 * each distance between a query and a key.
 *
 * @module
 */

import { attentionWithGradient, captured, logSoftmaxWithGradient } from "@flashtile/attention";
import { add, embeddingWithGradient, linearWithGradient } from "@flashtile/attention/nn";
import { rmsNormWithGradient } from "@flashtile/attention/nn";
import { batch, draw, heads, model, N, tokens, width } from "./trainer_task.js";

const rows = batch * N, shape = [batch, N, heads, width / heads];

/** The mean loss of a batch, and its gradient by each part of the model. */
export async function differentiate({ ids, targets }) {
  const bias = captured(model.bias.data, model.bias.shape, { grad: true });
  const scoreMod = (score, { h, q, k }) => score.add(bias.at(h, q.sub(k)));
  const asHeads = ({ data }) => ({ data, shape });
  const asRows = ({ data }) => ({ data, shape: [rows, width] });

  const x = await embeddingWithGradient(ids, model.table);
  const first = await rmsNormWithGradient(x.out);
  const projections = await Promise.all(
    [model.q, model.k, model.v].map((weight) => linearWithGradient(first.out, weight)),
  );
  const [q, k, v] = projections.map(({ out }) => asHeads(out));
  const attended = await attentionWithGradient(q, k, v, { causal: true, layout: "bnhd", scoreMod });
  const y = await linearWithGradient(asRows(attended.out), model.output);
  const second = await rmsNormWithGradient(y.out, null, { residual: x.out });
  const wide = await linearWithGradient(second.out, model.up, { activation: "gelu" });
  const z = await linearWithGradient(wide.out, model.down);
  const last = await rmsNormWithGradient(z.out, null, { residual: second.sum });
  const logits = await linearWithGradient(last.out, model.head);
  const logs = await logSoftmaxWithGradient(logits.out);

  const dLogs = { data: new Float32Array(rows * tokens), shape: [rows, tokens] };
  for (const [row, target] of targets.entries()) dLogs.data[row * tokens + target] = -1 / rows;
  const loss = dLogs.data.reduce((sum, weight, at) => sum + weight * logs.out.data[at], 0);

  // The way back is the way there, read from its end.
  const { dx: dLogits } = await logs.backward(dLogs);
  const { dx: dLast, dWeight: head } = await logits.backward(dLogits);
  const { dx: dz } = await last.backward(dLast);
  const { dx: dWide, dWeight: down } = await z.backward(dz);
  const { dx: dSecond, dWeight: up } = await wide.backward(dWide);
  const { dx: dy } = await second.backward(dSecond, { dSum: dz });
  const { dx: dAttended, dWeight: output } = await y.backward(dy);
  const { dq, dk, dv, dCaptured } = await attended.backward(asHeads(dAttended));
  const parts = await Promise.all(
    [dq, dk, dv].map((gradient, at) => projections[at].backward(asRows(gradient))),
  );
  const dFirst = new Float32Array(rows * width);
  for (const { dx } of parts) dx.data.forEach((value, at) => dFirst[at] += value);
  const { dx } = await first.backward(asRows({ data: dFirst }));
  const { dTable: table } = await x.backward((await add(dx, dy)).out);
  const [{ dWeight: dQ }, { dWeight: dK }, { dWeight: dV }] = parts;
  const others = { bias: dCaptured.get(bias), table, output, up, down, head };
  return { loss, gradients: { ...others, q: dQ, k: dK, v: dV } };
}

/** Means of gradients and of their squares, for Adam (arXiv 1412.6980). */
const means = Object.entries(model).map(([name, { data }]) => ({
  ...{ name, data, mean: new Float32Array(data.length), square: new Float32Array(data.length) },
}));

/** Takes so many steps. */
export async function train(steps, rate = 0.02) {
  for (let step = 1; step <= steps; step++) {
    const { loss, gradients } = await differentiate(draw());
    if (step % 20 === 0) console.log(`step ${step}: ${loss.toFixed(3)} nats a token`);
    for (const { name, data, mean, square } of means) {
      for (const [at, slope] of gradients[name].data.entries()) {
        mean[at] += (slope - mean[at]) * 0.1;
        square[at] += (slope * slope - square[at]) * 0.01;
        const size = Math.sqrt(square[at] / (1 - 0.99 ** step)) + 1e-8;
        data[at] -= rate * (mean[at] / (1 - 0.9 ** step)) / size;
      }
    }
  }
}
