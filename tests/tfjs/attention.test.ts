import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { createEngine, type Engine } from "@flashtile/attention";
import * as tf from "@tensorflow/tfjs";
import { flashAttention } from "../../examples/tfjs/attention.ts";
import { checkedCalls, compare, isRounding } from "../../examples/tfjs/check.ts";
import { composedAttention } from "../../examples/tfjs/composed.ts";
import { type Attention, CopyModel, training } from "../../examples/tfjs/model.ts";
import { assertRefused } from "../support/errors.ts";
import { longTest } from "../support/share.ts";

tf.enableProdMode(); // Without its advice to install another backend.
await tf.setBackend("cpu");

/** Lends an engine that is ready for gradients. */
async function withEngine(use: (engine: Engine) => void | Promise<void>): Promise<void> {
  await using engine = await createEngine({ backend: "wasm", threads: 1 });
  await engine.warmup({ gradients: true });
  await use(engine);
}

/** A random tensor. */
function random(shape: number[], seed: number): tf.Tensor {
  return tf.randomNormal(shape, 0, 1, "float32", seed);
}

for (const call of checkedCalls) {
  const { heads, queries, keys, causal } = call;
  const what = `${heads} heads, ${queries} queries, ${keys} keys${causal ? ", causal" : ""}`;
  longTest(
    `flashAttention() has the gradients of TensorFlow.js's own operations: ${what}`,
    () =>
      withEngine((engine) => {
        for (const difference of compare(tf, engine, call)) {
          assert(difference.largest > 0.1);
          assert(isRounding(difference), JSON.stringify(difference));
        }
      }),
  );
}

test("flashAttention() sums the gradients of a tensor that is given several times", () =>
  withEngine((engine) => {
    const x = random([1, 2, 9, 4], 1), weights = random([1, 2, 9, 4], 2);
    const gradient = (attend: (x: tf.Tensor) => tf.Tensor) =>
      tf.grad((x) => tf.sum(tf.mul(attend(x), weights)))(x).dataSync();
    const ours = gradient((x) => flashAttention(tf, engine, x, x, x));
    const theirs = gradient((x) => composedAttention(tf, x, x, x));
    ours.forEach((x, at) => assert(Math.abs(x - theirs[at]) < 1e-5, `${x}, ${theirs[at]}`));
  }));

test("flashAttention() sums the gradients of heads that share keys, and takes options", () =>
  withEngine((engine) => {
    const q = random([2, 4, 10, 8], 1), k = random([2, 2, 12, 8], 2), v = random([2, 2, 12, 6], 3);
    const options = { causal: true, window: [3, 0], scale: 0.5 } as const;
    const attend = (q: tf.Tensor, k: tf.Tensor, v: tf.Tensor) =>
      flashAttention(tf, engine, q, k, v, options);
    const [, dk, dv] = tf.grads((q, k, v) => tf.sum(tf.square(attend(q, k, v))))([q, k, v]);
    assertEquals([dk.shape, dv.shape], [k.shape, v.shape]);
    // Query i is key i + 2, and sees from there to three keys before.
    const of = (tensor: tf.Tensor, key: number) =>
      tf.max(tf.abs(tf.slice(tensor, [0, 0, key, 0], [-1, -1, 1, -1]))).dataSync()[0];
    for (const gradient of [dk, dv]) {
      for (let key = 0; key < 12; key++) assert(of(gradient, key) > 0, `key ${key}`);
    }
    const last = tf.grads((q, k, v) => {
      const out = attend(q, k, v);
      return tf.sum(tf.square(tf.slice(out, [0, 0, 9, 0], [-1, -1, 1, -1])));
    })([q, k, v])[2];
    for (let key = 0; key < 12; key++) assertEquals(of(last, key) > 0, key >= 8, `key ${key}`);
  }));

test("flashAttention() leaves no tensor behind", () =>
  withEngine((engine) => {
    const x = random([2, 9, 4], 1), { numTensors } = tf.memory();
    flashAttention(tf, engine, x, x, x).dispose();
    assertEquals(tf.memory().numTensors, numTensors);
    tf.grad((x) => tf.sum(flashAttention(tf, engine, x, x, x)))(x).dispose();
    assertEquals(tf.memory().numTensors, numTensors);
  }));

test("flashAttention() refuses whole numbers", () =>
  withEngine(async (engine) => {
    const x = random([9, 4], 1), whole = tf.cast(x, "int32");
    await assertRefused(
      () => flashAttention(tf, engine, x, whole, x),
      TypeError,
      'Cannot attend: `k` must be float32, got int32; use tf.cast(k, "float32")',
    );
  }));

longTest(
  "flashAttention() trains a model as TensorFlow.js's own operations do",
  () =>
    withEngine((engine) => {
      const ours: Attention = (q, k, v) => flashAttention(tf, engine, q, k, v, { causal: true });
      const theirs: Attention = (q, k, v) => composedAttention(tf, q, k, v, { causal: true });
      const [losses, others] = [ours, theirs].map((
        attention,
      ) => [...training(tf, new CopyModel(tf, attention, 1), { steps: 12, seed: 1 })]);
      losses.forEach((loss, at) => assert(Math.abs(loss - others[at]) < 1e-4));
      assert(losses.at(-1)! < losses[0] - 0.5, `${losses}`);
    }),
);
