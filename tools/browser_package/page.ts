/**
 * In the page: what is asked of the package there. Bundled without the package, which the page has
 * from npm.
 *
 * @module
 */

import { capabilities, createEngine, type Engine, type EngineOptions } from "@flashtile/attention";
import { assertEquals, assertGreater } from "@std/assert";
import { cells } from "../../src/wasm/team/threads/control.ts";
import { assertSameBits } from "../../tests/support/bits.ts";
import { expectation, resultsOf } from "../../tests/support/exact.ts";
import { gradientCall, gradientExpectation, gradientsOf } from "../../tests/support/gradients.ts";
import { randomProblem, shapesOf, sizesOf, slice } from "../../tests/support/problem.ts";

const meaning = { causal: true } as const;

/** Errors that nobody caught. */
const complaints: string[] = [];
addEventListener("error", ({ message }) => complaints.push(message));
addEventListener("unhandledrejection", ({ reason }) => complaints.push(String(reason)));

/** Grouped heads of sizes that no tile divides. */
const problem = randomProblem(
  sizesOf({ B: 2, Hq: 4, Hkv: 2, Nq: 65, Nk: 97, D: 40, Dv: 24 }),
  1,
);

/** Enough work for several threads. */
const large = randomProblem(sizesOf({ Hq: 8, Hkv: 2, Nq: 300, D: 64 }), 2);

/** Attention within the error budget of the oracle's. */
async function checkAttention(engine: Engine): Promise<void> {
  expectation(problem, meaning)(await resultsOf(engine, problem, meaning));
}

/** The same of gradients. */
async function checkGradients(engine: Engine): Promise<void> {
  const call = gradientCall(problem, meaning);
  gradientExpectation(call)(await gradientsOf(engine, call));
}

/** A prompt, a token more, and attention to both: as to all keys at once. */
async function checkCache(engine: Engine): Promise<void> {
  const { B, Hkv, Nk, D, Dv } = problem.sizes, shapes = shapesOf(problem.sizes);
  const part = (data: Float32Array, shape: readonly number[], from: number, to: number) => ({
    data: slice(data, shape, 2, from, to),
    shape: [...shape.slice(0, 2), to - from, shape[3]],
  });
  const cache = engine.kvCache({ batch: B, kvHeads: Hkv, headDim: D, valueDim: Dv });
  for (const [from, to] of [[0, Nk - 1], [Nk - 1, Nk]]) {
    cache.append(part(problem.k, shapes.k, from, to), part(problem.v, shapes.v, from, to));
  }
  assertEquals(cache.lengths, [Nk, Nk]);
  const q = { data: problem.q, shape: shapes.q };
  const { out, lse } = await cache.attend(q, { ...meaning, lse: true });
  expectation(problem, meaning)({ out: out.data, lse: lse.data });
  cache.free();
}

/** Lends an engine. */
async function withEngine<T>(
  options: EngineOptions,
  use: (engine: Engine) => Promise<T>,
): Promise<T> {
  const engine = await createEngine(options);
  try {
    return await use(engine);
  } finally {
    await engine.close();
  }
}

async function sameBitsAsAlone(engine: Engine): Promise<void> {
  const alone = await withEngine(
    { backend: "wasm", threads: 1 },
    (engine) => resultsOf(engine, large, meaning),
  );
  const { out, lse } = await resultsOf(engine, large, meaning);
  assertSameBits(out, alone.out, "out");
  assertSameBits(lse, alone.lse, "lse");
}

async function until(what: string, reached: () => boolean): Promise<void> {
  for (let time = 0; time < 2000; time++) {
    if (reached()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`Waited in vain for ${what}`);
}

/** Collects the control blocks of teams whose workers are started meanwhile. */
async function watchTeams(use: (controls: readonly Int32Array[]) => Promise<void>): Promise<void> {
  const { postMessage } = Worker.prototype, controls: Int32Array[] = [];
  Worker.prototype.postMessage = function (this: Worker, data: { control: Int32Array }) {
    controls.push(data.control);
    postMessage.call(this, data);
  };
  try {
    await use(controls);
  } finally {
    Worker.prototype.postMessage = postMessage;
  }
}

/** Meanwhile this thread loses every race for a job. */
async function leavingJobs(use: () => Promise<void>): Promise<void> {
  const { compareExchange } = Atomics;
  Object.assign(Atomics, {
    compareExchange: (_cells: unknown, _index: number, expected: number) => expected + 1,
  });
  try {
    await use();
  } finally {
    Atomics.compareExchange = compareExchange;
  }
}

/** An address that a policy of trusted types lets workers come from. */
function trusted(url: string): string {
  const { trustedTypes } = globalThis as unknown as {
    trustedTypes: {
      createPolicy(
        name: string,
        rules: { createScriptURL(url: string): string },
      ): { createScriptURL(url: string): string };
    };
  };
  return trustedTypes.createPolicy("tests", { createScriptURL: (url) => url }).createScriptURL(url);
}

/** What is made of an address before the engine has it. */
const addresses = { string: String, url: (url: string) => new URL(url), trusted };

/** What the tests ask, by name. */
const checks = {
  capabilities,

  complaints: () => complaints,

  /** All of the backend that is asked for; gives why that was taken. */
  answers: (options: EngineOptions, gradients = true) =>
    withEngine(options, async (engine) => {
      await checkAttention(engine);
      if (gradients) await checkGradients(engine);
      await checkCache(engine);
      return { backend: engine.backend, reason: engine.reason };
    }),

  /** Two threads, of which the worker does all the work; gives why they were taken. */
  worker: (url?: string, as: keyof typeof addresses = "string") => {
    const workerUrl = url === undefined ? undefined : addresses[as](url);
    return withEngine({ backend: "wasm", threads: 2, workerUrl }, async (engine) => {
      await watchTeams(async (controls) => {
        await resultsOf(engine, large, meaning);
        assertEquals(controls.length, 1);
        await until("a worker", () => Atomics.load(controls[0], cells.started) === 1);
        const done = () => Atomics.load(controls[0], cells.done), before = done();
        await leavingJobs(() => sameBitsAsAlone(engine));
        assertGreater(done(), before);
      });
      return engine.reason;
    });
  },

  /** Some calls on several threads, whether there are workers or not; gives how many were started. */
  calls: (options: EngineOptions) =>
    withEngine({ backend: "wasm", ...options }, async (engine) => {
      const { Worker } = globalThis;
      let started = 0;
      globalThis.Worker = class extends Worker {
        constructor(...given: ConstructorParameters<typeof Worker>) {
          started++;
          super(...given);
        }
      };
      for (let time = 0; time < 3; time++) {
        await sameBitsAsAlone(engine);
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      globalThis.Worker = Worker;
      return { started, reason: engine.reason };
    }),

  /** What `createEngine()` rejects with. */
  refusal: async (options: EngineOptions) => {
    try {
      await (await createEngine(options)).close();
    } catch (error) {
      return { name: (error as Error).name, message: (error as Error).message };
    }
  },
};

/** As the tests see them. */
export type Checks = typeof checks;

Object.assign(globalThis, { checks });
