import {
  attention,
  attentionBackward,
  attentionStream,
  attentionWithGradient,
  cascadeAttention,
  createEngine,
  type Engine,
  type KvCache,
  mergeAttention,
  rope,
  type Tensor,
  tensor,
} from "@flashtile/attention";
import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import { test } from "node:test";
import { assertSameBits } from "../support/bits.ts";
import { assertRefused, errorOf } from "../support/errors.ts";
import { normals, seeded } from "../support/random.ts";
import { contract } from "./backends.ts";

function random(shape: readonly number[], seed: number): Tensor {
  return tensor(normals(shape.reduce((a, b) => a * b, 1), seeded(seed)), shape);
}

const x = random([2, 4, 6, 8], 1), y = random([2, 4, 9, 8], 2), prompt = random([1, 4, 5, 8], 3);

/** The functions, as they are called with an engine, and a method that gives the same. */
const pairs: Record<string, (engine: Engine, option: object) => Promise<Tensor[][]>> = {
  async attention(engine, option) {
    const [a, b] = [
      await attention(x, y, y, { causal: true, ...option }),
      await engine.attention(x, y, y, { causal: true }),
    ];
    return [[a.out], [b.out]];
  },
  async attentionBackward(engine, option) {
    const { out, lse } = await engine.attention(x, y, y, { lse: true });
    const [a, b] = [
      await attentionBackward(out, x, y, y, { out, lse, ...option }),
      await engine.attentionBackward(out, x, y, y, { out, lse }),
    ];
    return [a, b].map(({ dq, dk, dv }) => [dq, dk, dv]);
  },
  async attentionWithGradient(engine, option) {
    const [a, b] = [
      await attentionWithGradient(x, y, y, option),
      await engine.attentionWithGradient(x, y, y),
    ];
    return await Promise.all([a, b].map(async ({ out, backward }) => {
      const { dq } = await backward(out);
      return [out, dq];
    }));
  },
  async attentionStream(engine, option) {
    const stream = attentionStream(x, option);
    stream.push(y, y);
    const [a, b] = [await stream.finish(), await engine.attention(x, y, y)];
    return [[a.out], [b.out]];
  },
  async mergeAttention(engine, option) {
    const parts = [await engine.attention(x, x, x, { lse: true })];
    parts.push(await engine.attention(x, y, y, { lse: true }));
    const [a, b] = [await mergeAttention(parts, option), await engine.mergeAttention(parts)];
    return [[a.out, a.lse], [b.out, b.lse]];
  },
  async cascadeAttention(engine, option) {
    const shared = { k: prompt, v: prompt }, own = { k: y, v: y };
    const [a, b] = [
      await cascadeAttention(x, shared, own, { causal: true, ...option }),
      await engine.cascadeAttention(x, shared, own, { causal: true }),
    ];
    return [[a.out], [b.out]];
  },
  async rope(engine, option) {
    const [a, b] = [random(x.shape, 4), random(x.shape, 4)];
    await rope(a, null, { positions: 7, ...option });
    await engine.rope(b, null, { positions: 7 });
    return [[a], [b]];
  },
};

for (const [name, both] of Object.entries(pairs)) {
  contract(`${name}() runs on the engine among its options`, async (engine) => {
    const [there, here] = await both(engine, { engine });
    for (const [at, { data }] of there.entries()) assertSameBits(data, here[at].data);
  });

  contract(`${name}() refuses what is no engine, and a closed one`, async (engine) => {
    for (const wrong of [{}, "engine", Object.create(engine), new Proxy(engine, {})]) {
      const error = await errorOf(() => both(engine, { engine: wrong })) as Error;
      assertInstanceOf(error, TypeError);
      const words =
        ": `engine` must be what `createEngine()` of this copy of the library gave, got ";
      assert(error.message.includes(words), error.message);
    }
    const closed = await createEngine({ backend: "wasm" });
    await closed.close();
    await assertRefused(
      () => both(engine, { engine: closed }),
      Error,
      "Cannot use an engine after `close()`",
    );
  });
}

test("the functions run on an engine of their own without `engine`", async () => {
  const engine = await createEngine();
  for (const [name, both] of Object.entries(pairs)) {
    const [there, here] = await both(engine, { engine: undefined });
    for (const [at, { data }] of there.entries()) assertSameBits(data, here[at].data, name);
  }
  await engine.close();
});

contract("caches are attended to on their own engine alone", async (engine) => {
  const other = await createEngine({ backend: "wasm" });
  const cache = engine.kvCache({ batch: 2, kvHeads: 4, headDim: 8 });
  const prefix = engine.kvCache({ kvHeads: 4, headDim: 8 });
  cache.append(y, y);
  prefix.append(prompt, prompt);
  const { out } = await attention(x, cache, { causal: true, engine });
  assertSameBits(out.data, (await cache.attend(x, { causal: true })).out.data);
  const cascaded = await cascadeAttention(x, prefix, cache, { causal: true });
  const same = await engine.cascadeAttention(x, prefix, cache, { causal: true });
  assertSameBits(cascaded.out.data, same.out.data);
  const message = "Cannot attend: the cache is of another engine than `engine`";
  await assertRefused(() => attention(x, cache, { engine: other }), RangeError, message);
  await assertRefused(
    () => cascadeAttention(x, prefix, cache, { engine: other }),
    RangeError,
    message,
  );
  for (const one of [cache, prefix]) one.free();
  await other.close();
}, { needs: ["kvCache"] });

test("a cache of another copy of the library is of no engine of this one", async () => {
  const engine = await createEngine({ backend: "wasm", threads: 1 });
  const result = { out: x },
    others = {
      [Symbol.for("flashtile.KvCache/1")]: true,
      attend: () => Promise.resolve(result),
    } as unknown as KvCache;
  const message = "Cannot attend: the cache is of another engine than `engine`";
  await assertRefused(() => attention(x, others, { engine }), RangeError, message);
  assert(await attention(x, others) as unknown === result);
  await engine.close();
});

test("a closed engine is told of before bad input", async () => {
  const engine = await createEngine({ backend: "wasm", threads: 1 }), bad = random([1, 2], 5);
  await engine.close();
  const message = "Cannot use an engine after `close()`";
  await assertRefused(() => attention(x, bad, bad, { engine }), Error, message);
  await assertRefused(() => rope(bad, y, { engine }), Error, message);
});

contract("methods of engines have no option `engine`", async (engine) => {
  const given = { engine } as object;
  const calls = [
    () => engine.attention(x, y, y, given),
    () => engine.attentionWithGradient(x, y, y, given),
    () => engine.cascadeAttention(x, { k: prompt, v: prompt }, { k: y, v: y }, given),
    () => engine.rope(x, null, given),
  ];
  for (const call of calls) {
    const error = await errorOf(call);
    assert(error instanceof TypeError && error.message.includes("unknown option `engine`"));
  }
  assertEquals(calls.length, 4);
});
