import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { assert, assertEquals, assertLess, assertNotEquals, assertThrows } from "@std/assert";
import { createEngine, type Engine } from "@flashtile/attention";
import { parseConfig } from "../../examples/train/config.ts";
import { InputError } from "../../examples/llama/error.ts";
import { createRandom } from "../../examples/llama/random.ts";
import { initialize } from "../../examples/train/initial.ts";
import { createParameters } from "../../examples/train/parameters.ts";
import { type Step, Training, type TrainOptions } from "../../examples/train/train.ts";
import { drawWindows } from "../../examples/train/windows.ts";
import { tiny } from "./fixtures.ts";
import { longTest } from "../support/share.ts";

const config = {
  ...tiny,
  ...{ hiddenSize: 16, intermediateSize: 24, layers: 1, vocabSize: 256, context: 16 },
};

/** A text that is learned soon. */
const text = new TextEncoder().encode("and it came to pass, that ".repeat(40));

interface Trained {
  readonly steps: readonly Step[];
  readonly weights: Float32Array;
}

async function trained(options: Partial<TrainOptions>, threads = 1): Promise<Trained> {
  const engine = await createEngine({ backend: "wasm", threads });
  try {
    const training = new Training(config, text, engine, {
      ...{ steps: 3, batch: 4, rate: 0.02, seed: 1 },
      ...options,
    });
    const steps: Step[] = [];
    for await (const step of training.steps()) steps.push(step);
    return { steps, weights: training.parameters.all };
  } finally {
    await engine.close();
  }
}

longTest(
  "Training brings the loss from that of chance to less than half within 40 steps",
  async () => {
    const { steps } = await trained({ steps: 40 });
    assertEquals(steps.map(({ step }) => step), Array.from({ length: 40 }, (_, at) => at + 1));
    const first = steps[0].loss, { loss, heldOut } = steps[39];
    assertLess(Math.abs(first - Math.log(256)), 0.2);
    assertLess(loss, 0.5 * first);
    assertLess(heldOut!, 0.5 * first);
  },
);

test("Training looks at the held-out text every 50 steps and at the end", async () => {
  const { steps } = await trained({ steps: 51, batch: 1 });
  const looks = steps.filter(({ heldOut }) => heldOut !== undefined);
  assertEquals(looks.map(({ step }) => step), [50, 51]);
});

test("Training gives the same bits for the same seed and any number of threads", async () => {
  const { weights } = await trained({});
  assertEquals((await trained({})).weights, weights);
  assertEquals((await trained({}, 2)).weights, weights);
  assertNotEquals((await trained({ seed: 2 })).weights, weights);
});

test("Training goes on from where it stood with the bits of one that was not stopped", async () => {
  const { steps, weights } = await trained({});
  const engine = await createEngine({ backend: "wasm", threads: 1 });
  try {
    const options = { steps: 3, batch: 4, rate: 0.02, seed: 1 };
    const stopped = new Training(config, text, engine, options);
    assertThrows(() => stopped.standing, Error, "No step has been taken");
    const first = stopped.steps();
    await first.next();
    await first.next();
    const { moments } = stopped.standing;
    assertEquals(moments.steps, 2);
    const resumed = new Training(config, text, engine, options), rest: Step[] = [];
    for await (const step of resumed.steps(structuredClone(stopped.standing))) rest.push(step);
    assertEquals(rest, steps.slice(2));
    assertEquals(resumed.parameters.all, weights);
  } finally {
    await engine.close();
  }
});

test("Training refuses a text without room for windows and for what is held out", () => {
  const engine = {} as Engine, options = { steps: 1, batch: 1, rate: 1, seed: 1 };
  const least = 32 * 16 + 1 + 16 + 1;
  new Training(config, text.subarray(0, least), engine, options);
  assertThrows(
    () => new Training(config, text.subarray(0, least - 1), engine, options),
    InputError,
    `The text has ${least - 1} bytes, but ${least} are needed, 513 of them to test on`,
  );
});

test("Training takes the example's own text and sizes: a quarter of a million weights", async () => {
  const path = "examples/train/config.json";
  const sizes = parseConfig(await readFile(path, "utf8"), path);
  const own = new Uint8Array(await readFile("examples/train/text.txt"));
  const options = { steps: 1, batch: 1, rate: 1, seed: 1 };
  const { parameters } = new Training(sizes, own, {} as Engine, options);
  assertEquals(parameters.all.length, 251_040);
});

test("drawWindows() takes windows from everywhere, each with the tokens that follow", () => {
  const numbered = Uint8Array.from({ length: 7 }, (_, at) => at);
  const { tokens, targets } = drawWindows(numbered, 200, 4, createRandom(1));
  const begins = new Set<number>();
  for (let at = 0; at < tokens.length; at += 4) {
    const [begin] = tokens.subarray(at);
    begins.add(begin);
    assertEquals([...tokens.subarray(at, at + 4)], [0, 1, 2, 3].map((i) => begin + i));
    assertEquals([...targets.subarray(at, at + 4)], [1, 2, 3, 4].map((i) => begin + i));
  }
  assertEquals([...begins].sort(), [0, 1, 2]);
});

test("initialize() gives each matrix its spread, gains 1, and the seed its weights", () => {
  const { tensors, all } = createParameters(config);
  initialize({ tensors, all } as ReturnType<typeof createParameters>, config, createRandom(3));
  for (const { name, data, shape } of tensors) {
    if (shape.length === 1) {
      assert(data.every((gain) => gain === 1), name);
      continue;
    }
    const spread = Math.sqrt(data.reduce((sum, x) => sum + x * x, 0) / data.length);
    const shares = /o_proj|down_proj/.test(name) ? 2 : 1;
    const expected = name.includes("embed") ? 0.02 : 1 / Math.sqrt(shape[1] * shares);
    assertLess(Math.abs(spread / expected - 1), 0.15, name);
  }
});
