/**
 * `deno task tfjs`: FlashTile's attention in TensorFlow.js. Compares its gradients with those of
 * TensorFlow.js's own operations, and trains a model with both.
 *
 * @module
 */

import "../../tools/help.ts";
import process from "node:process";
import { createEngine, type Engine } from "@flashtile/attention";
import * as tf from "@tensorflow/tfjs";
import { flashAttention } from "./attention.ts";
import { type CheckedCall, checkedCalls, compare, isRounding, tolerance } from "./check.ts";
import { composedAttention } from "./composed.ts";
import { accuracy, type Attention, CopyModel, sizes, training } from "./model.ts";

const steps = 100, seed = 1;

/** Sequences that are not among those of the training. */
const otherSeed = seed + steps;

/** Prints a row of a table. */
function printRow(...[name, first, second]: [string, string, string]): void {
  console.log(`${name.padStart(4)}  ${first.padStart(9)}  ${second.padStart(14)}`);
}

/** Prints how much gradients differ; tells whether by rounding alone. */
function checkCall(engine: Engine, call: CheckedCall): boolean {
  const { heads, queries, keys, dim, causal } = call;
  console.log(`\n[2, ${heads}, ${queries}, ${dim}] on ${keys} keys${causal ? ", causal" : ""}`);
  printRow("", "largest", "difference");
  const differences = compare(tf, engine, call);
  for (const { name, largest, difference } of differences) {
    printRow(name, largest.toFixed(5), difference.toExponential(2));
  }
  return differences.every(isRounding);
}

/** Trains a model with FlashTile's attention and one with the other; tells whether they learn alike. */
function train(engine: Engine): boolean {
  const ours: Attention = (q, k, v) => flashAttention(tf, engine, q, k, v, { causal: true });
  const theirs: Attention = (q, k, v) => composedAttention(tf, q, k, v, { causal: true });
  const models = [ours, theirs].map((attention) => new CopyModel(tf, attention, seed));
  const [losses, others] = models.map((model) => training(tf, model, { steps, seed }));
  const { letters, length } = sizes;
  console.log(`\nCopying ${length} of ${letters} letters, loss in nats`);
  printRow("step", "FlashTile", "own operations");
  let first = 0, last = 0, other = 0;
  for (let step = 1; step <= steps; step++) {
    last = losses.next().value!;
    other = others.next().value!;
    first ||= last;
    if (step === 1 || step % 10 === 0) printRow(`${step}`, last.toFixed(5), other.toFixed(5));
  }
  const right = accuracy(tf, models[0], otherSeed);
  console.log(`${(100 * right).toFixed(1)} % of the letters of other sequences are right`);
  return last < first / 10 && Math.abs(last - other) < 1e-3;
}

// Its advice to install another backend is not about this.
tf.enableProdMode();
await tf.setBackend("cpu");
await using engine = await createEngine({ backend: "wasm" });
await engine.warmup({ gradients: true });

console.log(`TensorFlow.js ${tf.version_core}, ${tf.getBackend()}; FlashTile, ${engine.reason}`);
const same = checkedCalls.map((call) => checkCall(engine, call)).every(Boolean);
if (!same) console.error(`error: a gradient differs by more than ${tolerance} of the largest`);
const learned = train(engine);
if (!learned) console.error("error: the two models should have learned, and alike");
if (!same || !learned) process.exitCode = 1;
