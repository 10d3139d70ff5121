import type { BackwardOptions, Engine, Progress, Tensor } from "@flashtile/attention";
import { assert, assertEquals } from "@std/assert";
import { contract } from "../contract/backends.ts";
import { assertSameBits } from "../support/bits.ts";
import { assertRefused, errorOf } from "../support/errors.ts";
import {
  assertSameGradients,
  cotangentTensors,
  eachGradient,
  gradientCall,
  gradientsOf,
} from "../support/gradients.ts";
import { inputsOf, type Meaning, randomProblem, sizesOf } from "../support/problem.ts";
import { normals, seeded } from "../support/random.ts";
import { stored } from "../support/storage.ts";

const needs = ["attentionSync", "backward"] as const;

type Call = ReturnType<typeof gradientCall>;

/** The arguments of a call, from the engine's own forward pass. */
function argumentsOf(engine: Engine, { problem, meaning, cotangents }: Call) {
  const { q, k, v } = inputsOf(problem), { dOut, dLse } = cotangentTensors(problem, cotangents);
  const { out, lse } = engine.attentionSync(q, k, v, { ...meaning, lse: true });
  const options = { ...meaning, out, lse, dLse };
  return (more: Partial<BackwardOptions> = {}) =>
    [dOut, q, k, v, { ...options, ...more }] satisfies [Tensor, Tensor, Tensor, Tensor, unknown];
}

/** A call of no time. */
const short = gradientCall(randomProblem(sizesOf({ Hq: 2, Nq: 5, Nk: 7, D: 8 }), 2));

/** A call in several pieces, however many threads there are. */
const long = gradientCall(randomProblem(sizesOf({ Hq: 6, Hkv: 3, Nq: 1500, Nk: 24, D: 512 }), 1));

/** A random tensor. */
function random(shape: readonly number[], seed: number): Tensor {
  return { data: normals(shape.reduce((a, b) => a * b, 1), seeded(seed)), shape };
}

const meanings: Record<string, Meaning> = {
  "no options": {},
  "a causal mask and a softcap": { causal: true, softcap: 3 },
  "a bias and sinks": { bias: random([40, 150], 1), sinks: random([4], 2), window: [9, 90] },
};

for (const [name, meaning] of Object.entries(meanings)) {
  contract(
    `attentionBackwardSync() gives the bits of attentionBackward() with ${name}`,
    async (engine) => {
      const sizes = sizesOf({ B: 2, Hq: 4, Hkv: 2, Nq: 40, Nk: 150, D: 24, Dv: 16 });
      const call = gradientCall(randomProblem(sizes, 1), meaning);
      const expected = await gradientsOf(engine, call);
      const gradients = engine.attentionBackwardSync(...argumentsOf(engine, call)());
      assertSameGradients(eachGradient(gradients, ({ data }) => data), expected);
      assertEquals(gradients.dk.shape, [2, 2, 150, 24]);
    },
    { needs },
  );
}

contract(
  "attentionBackwardSync() gives the bits of attentionBackward() in 16 bits",
  async (engine) => {
    const { q, k, v } = inputsOf(short.problem), dtype = "bf16";
    const { dOut } = cotangentTensors(short.problem, short.cotangents);
    const [a, b, c, d] = [q, k, v, dOut].map((tensor) => stored(tensor, dtype));
    const options = engine.attentionSync(a, b, c, { lse: true });
    const expected = await engine.attentionBackward(d, a, b, c, options);
    const actual = engine.attentionBackwardSync(d, a, b, c, options);
    for (const name of ["dq", "dk", "dv"] as const) {
      assertEquals(actual[name].dtype, dtype);
      assertSameBits(actual[name].data, expected[name].data, name);
    }
  },
  { needs },
);

contract("attentionBackwardSync() runs after warmup() with gradients", async (engine) => {
  const call = argumentsOf(engine, short)();
  await engine.warmup({ gradients: true, dim: 8, dtype: "bf16" });
  const gradients = engine.attentionBackwardSync(...call);
  assertSameGradients(
    eachGradient(gradients, ({ data }) => data),
    await gradientsOf(engine, short),
  );
}, { needs });

contract("attentionBackwardSync() throws what attentionBackward() rejects with", async (engine) => {
  const call = argumentsOf(engine, short);
  const wrong: Partial<BackwardOptions>[] = [
    { lse: undefined },
    { out: { data: new Float32Array(4), shape: [2, 2] } },
    { scale: NaN },
    { signal: AbortSignal.abort("early") },
  ];
  for (const more of wrong) {
    const expected = String(await errorOf(() => engine.attentionBackward(...call(more))));
    assertEquals(
      String(await errorOf(() => engine.attentionBackwardSync(...call(more)))),
      expected,
    );
  }
}, { needs });

contract(
  "attentionBackwardSync() tells its progress, and throws the signal's reason",
  async (engine) => {
    await engine.warmup({ gradients: true });
    const call = argumentsOf(engine, long), seen: Progress[] = [];
    const rows = 6 * 1500;
    engine.attentionBackwardSync(...call({ onProgress: (progress) => seen.push(progress) }));
    assertEquals(seen.at(-1), { done: rows, total: rows });
    assert(seen.length > 1);
    const controller = new AbortController(), { signal } = controller;
    const stop = () => controller.abort("stop"), bytes = engine.memoryBytes;
    const stopped = () => engine.attentionBackwardSync(...call({ signal, onProgress: stop }));
    assertEquals(await errorOf(stopped), "stop");
    assertEquals(engine.memoryBytes, bytes);
  },
  { needs },
);

contract("attentionBackwardSync() runs between the pieces of another call", async (engine) => {
  const expected = await gradientsOf(engine, long), call = argumentsOf(engine, short)();
  const alone = await gradientsOf(engine, short);
  let times = 0;
  const onProgress = () => {
    times++;
    const gradients = engine.attentionBackwardSync(...call);
    assertSameGradients(eachGradient(gradients, ({ data }) => data), alone);
  };
  const gradients = await engine.attentionBackward(...argumentsOf(engine, long)({ onProgress }));
  assertSameGradients(eachGradient(gradients, ({ data }) => data), expected);
  assert(times > 1);
}, { daily: 1 / 3, needs });

contract("close() makes attentionBackwardSync() fail", async (engine) => {
  await engine.warmup({ gradients: true });
  const call = argumentsOf(engine, short)();
  await engine.close();
  const closed = "Cannot use an engine after `close()`";
  await assertRefused(() => engine.attentionBackwardSync(...call), Error, closed);
}, { needs });
