import { test } from "node:test";
import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import {
  blockMask,
  createEngine,
  type Engine,
  type EngineTensor,
  tensor,
} from "@flashtile/attention";
import { assertSameBits } from "../support/bits.ts";
import { assertRefused, errorOf } from "../support/errors.ts";
import { normals, seeded } from "../support/random.ts";
import { contract, type ContractOptions } from "./backends.ts";

const host: ContractOptions = { needs: "hostTensors" };

/** Random rows `[heads, n, 4]`. */
function rows(n: number, seed: number, heads = 2) {
  return { data: normals(heads * n * 4, seeded(seed)), shape: [heads, n, 4] };
}

/** An engine whose backend is chosen for each call, on one thread. */
async function withOneThread(use: (engine: Engine) => Promise<void>): Promise<void> {
  const engine = await createEngine({ threads: 1 });
  try {
    await use(engine);
  } finally {
    await engine.close();
  }
}

test("attention() keeps its inputs where memory grows right after the call", () =>
  withOneThread(async (engine) => {
    const a = engine.tensor([1, 8, 4]);
    a.data.fill(1);
    const call = engine.attention(a, a, a);
    engine.tensor([1000, 1000]);
    assertEquals((await call).out.data[0], 1);
  }));

test("attention() keeps its result's place where memory grows right after the call", () =>
  withOneThread(async (engine) => {
    const x = rows(8, 1), expected = (await engine.attention(x, x, x)).out.data;
    const out = engine.tensor([2, 8, 4]);
    const call = engine.attention(x, x, x, { out });
    engine.tensor([1000, 1000]);
    assertSameBits((await call).out.data, expected, "its result");
    assertSameBits((await engine.attention(x, x, x)).out.data, expected, "a later call");
  }));

test("attention() keeps its inputs where calls beside it make memory grow", () =>
  withOneThread(async (engine) => {
    const short = engine.tensor([1, 8, 4]);
    short.data.fill(1);
    const long = { data: new Float32Array(40_000 * 64).fill(1), shape: [40_000, 64] };
    const q = { data: new Float32Array(64), shape: [1, 64] };
    const results = await Promise.all([
      engine.attention(short, short, short),
      engine.attention(q, long, long),
      engine.attention(short, short, short),
    ]);
    for (const { out } of results) assertEquals(out.data[0], 1);
  }));

contract(
  "attention() twice with one options object writes into the `out` of each",
  async (engine) => {
    const x = rows(5, 2), y = rows(5, 3);
    const [ofX, ofY] = [new Float32Array(40), new Float32Array(40)].map((data) =>
      tensor(data, x.shape)
    );
    const options: { out?: typeof ofX } = { out: ofX };
    const first = engine.attention(x, x, x, options);
    options.out = ofY;
    const second = engine.attention(y, y, y, options);
    delete options.out;
    assert((await first).out === ofX);
    assert((await second).out === ofY);
    assertSameBits(ofX.data, (await engine.attention(x, x, x)).out.data);
    assertSameBits(ofY.data, (await engine.attention(y, y, y)).out.data);
  },
);

contract(
  "backward() means what the forward call meant, whatever its options say now",
  async (engine) => {
    const x = rows(6, 4), dOut = rows(6, 5);
    const ask = () => ({ causal: true, scale: 0.3, kvLengths: [5], layout: "bhnd" as const });
    const right = await (await engine.attentionWithGradient(x, x, x, ask())).backward(dOut);
    const options = ask() as Record<string, unknown>;
    const { backward } = await engine.attentionWithGradient(x, x, x, options);
    (options.kvLengths as number[])[0] = 1;
    Object.assign(options, { causal: false, scale: 9, layout: "bnhd" });
    const { dq, dk, dv } = await backward(dOut);
    assertSameBits(dq.data, right.dq.data, "dq");
    assertSameBits(dk.data, right.dk.data, "dk");
    assertSameBits(dv.data, right.dv.data, "dv");
  },
  { needs: "backward" },
);

contract("backward() refuses what belongs to the forward call", async (engine) => {
  const x = rows(6, 4), { backward, out, lse } = await engine.attentionWithGradient(x, x, x);
  const foreign = {
    ...{
      causal: true,
      offset: 0,
      window: [1, 1],
      kvLengths: [3],
      scale: 1,
      layout: "bhnd",
      out,
      lse,
    },
    ...{
      softcap: 1,
      alibi: x,
      bias: x,
      mask: x,
      sinks: x,
      cuSeqlens: {},
      blockMask: {},
      encoder: {},
    },
  };
  for (const [name, value] of Object.entries(foreign)) {
    await assertRefused(
      () => backward(x, { [name]: value } as never),
      TypeError,
      `Cannot differentiate: unknown option \`${name}\`, known are dLse, signal, onProgress` +
        (name === "lse" ? "; did you mean `dLse`?" : ""),
    );
  }
  let told = 0;
  const signal = new AbortController().signal;
  await backward(x, { dLse: lse, signal, onProgress: () => told++ });
  assert(told > 0);
}, { needs: "backward" });

contract("mergeAttention() gives a shape of its own", async (engine) => {
  const x = rows(5, 6), part = await engine.attention(x, x, x, { lse: true });
  const shape = [...x.shape];
  const parts = [{ out: { data: part.out.data, shape }, lse: part.lse }];
  const merging = engine.mergeAttention(parts);
  shape[0] = 77;
  assertEquals((await merging).out.shape, x.shape);
}, { needs: "mergeAttention" });

contract(
  "EngineTensor.free() during a call gives nothing to others before its end",
  async (engine) => {
    const x = rows(8, 7), expected = (await engine.attention(x, x, x)).out.data;
    const own = engine.tensor([2, 8, 4]), out = engine.tensor([2, 8, 4]);
    own.data.set(x.data);
    const call = engine.attention(own, own, own, { out });
    const copy = engine.attention(own, own, own);
    own.free();
    out.free();
    const tokens = { data: new Float32Array(2 * 64 * 4).fill(5), shape: [1, 2, 64, 4] };
    const cache = engine.kvCache({ kvHeads: 2, headDim: 4, pageSize: 16 });
    cache.append(tokens, tokens);
    const others = [1, 2, 3].map(() => engine.tensor([2, 8, 4]));
    for (const { data } of others) data.fill(9);
    await call;
    assertSameBits((await copy).out.data, expected, "the call");
    for (const { data } of others) assertSameBits(data, new Float32Array(64).fill(9), "a tensor");
    const q = { data: new Float32Array(8), shape: [1, 2, 1, 4] };
    assertSameBits((await cache.attend(q)).out.data, new Float32Array(8).fill(5), "a cache");
  },
  host,
);

contract(
  "EngineTensor.free() gives the bytes back when the last call has settled",
  async (engine) => {
    const run = async () => {
      const own = engine.tensor([2, 3000, 4]);
      const calls = [1, 2].map(() => engine.attention(rows(2, 8), own, own));
      own.free();
      await Promise.all(calls);
    };
    for (let time = 0; time < 3; time++) await run();
    const bytes = engine.memoryBytes;
    for (let time = 0; time < 40; time++) await run();
    assertEquals(engine.memoryBytes, bytes);
  },
  host,
);

contract("an array over a freed tensor is refused", async (engine) => {
  const own = engine.tensor([2, 8, 4]), { data } = own, view = { data, shape: [2, 8, 4] };
  own.free();
  const x = rows(8, 9), bytes = engine.memoryBytes;
  const cache = engine.kvCache({ kvHeads: 2, headDim: 4 });
  const long = { data, shape: [1, 2, 8, 4] };
  for (
    const use of [
      () => engine.attention(view, x, x),
      () => engine.attention(x, x, x, { out: view }),
      () =>
        engine.mergeAttention([{ out: view, lse: { data: new Float32Array(16), shape: [2, 8] } }]),
      () => engine.rope(view),
      () => cache.append(long, long),
    ]
  ) {
    const error = await errorOf(use) as Error;
    assertMatch(error.message, /^Cannot /);
  }
  assertEquals(engine.memoryBytes, bytes);
}, host);

contract("an array that spans beyond a tensor of the engine is refused", async (engine) => {
  const own = engine.tensor([2, 8, 4]);
  const wide = new Float32Array(own.data.buffer, own.data.byteOffset, 20_000);
  const before = wide.slice(64), x = rows(8, 9), shape = [2, 8, 4];
  const whole = new Float32Array(own.data.buffer);
  for (const data of [wide, whole]) {
    assertMatch(
      (await errorOf(() => engine.attention({ data, shape }, x, x)) as Error).message,
      /^Cannot /,
    );
    const out = { data, shape, offset: data.length - 64 };
    assertMatch(
      (await errorOf(() => engine.attention(x, x, x, { out })) as Error).message,
      /^Cannot /,
    );
  }
  assertSameBits(wide.slice(64), before);
}, host);

contract(
  "an array over a part of a tensor of the engine is read and written in place",
  async (engine) => {
    const own = engine.tensor([2, 8, 4]), x = rows(8, 9);
    own.data.set(x.data);
    const part = { data: own.data.subarray(32), shape: [1, 8, 4] };
    const alone = { data: x.data.slice(32), shape: [1, 8, 4] };
    const expected = (await engine.attention(alone, alone, alone)).out.data;
    assertSameBits((await engine.attention(part, part, part)).out.data, expected);
    await engine.attention(alone, alone, alone, { out: part });
    assertSameBits(own.data.slice(32), expected);
  },
  host,
);

const shared = { data: normals(2 * 30 * 4, seeded(20)), shape: [1, 2, 30, 4] };
const each = { data: normals(2 * 2 * 9 * 4, seeded(21)), shape: [2, 2, 9, 4] };
const queries = { data: normals(2 * 4 * 2 * 4, seeded(22)), shape: [2, 4, 2, 4] };

contract("cascadeAttention() locks all its caches until it settles", async (engine) => {
  const make = () => {
    const prefix = engine.kvCache({ kvHeads: 2, headDim: 4, pageSize: 16 });
    const own = engine.kvCache({ batch: 2, kvHeads: 2, headDim: 4, pageSize: 16 });
    prefix.append(shared, shared);
    own.append(each, each);
    return [prefix, own] as const;
  };
  const [prefix, own] = make();
  const expected = await engine.cascadeAttention(queries, prefix, own, { causal: true });
  const saved = await Promise.all([prefix.save(), own.save()]);
  const call = engine.cascadeAttention(queries, prefix, own, { causal: true });
  for (
    const [cache, tokens, bytes] of [[prefix, shared, saved[0]], [own, each, saved[1]]] as const
  ) {
    const changes: readonly [string, () => unknown][] = [
      ["append", () => cache.append(tokens, tokens)],
      ["truncate", () => cache.truncate(0, 1)],
      ["fork", () => cache.fork(0, 0)],
      ["evict", () => cache.evict({ keepFirst: 1, keepLast: 1 })],
      ["load", () => cache.load(bytes)],
      ["free", () => cache.free(0)],
      ["free", () => cache.free()],
    ];
    // At once: it settles soon.
    for (const [doing, change] of changes) {
      assertThrows(change, Error, `Cannot ${doing}: a call reads the cache, wait for it first`);
    }
  }
  assertSameBits((await call).out.data, expected.out.data);
  own.append(each, each); // It is free again.
  prefix.free();
}, { needs: ["kvCache", "mergeAttention"] });

contract("cascadeAttention() lets its caches go when it fails", async (engine) => {
  const prefix = engine.kvCache({ kvHeads: 2, headDim: 4 });
  const own = engine.kvCache({ batch: 2, kvHeads: 2, headDim: 4 });
  prefix.append(shared, shared);
  own.append(each, each);
  const narrow = { data: new Float32Array(32), shape: [2, 4, 2, 2] };
  await errorOf(() => engine.cascadeAttention(narrow, prefix, own));
  const signal = AbortSignal.abort(new Error("stop"));
  await errorOf(() => engine.cascadeAttention(queries, prefix, own, { signal }));
  own.append(each, each);
  prefix.append(shared, shared);
}, { needs: ["kvCache", "mergeAttention"] });

/** Floats over a buffer that can shrink. */
function resizable(data: Float32Array): { buffer: ArrayBuffer; data: Float32Array } {
  const Resizable = ArrayBuffer as unknown as new (bytes: number, more: object) => ArrayBuffer;
  const buffer = new Resizable(data.byteLength, { maxByteLength: data.byteLength * 2 });
  const over = new Float32Array(buffer);
  over.set(data);
  return { buffer, data: over };
}

const hasResizable = "resize" in ArrayBuffer.prototype;

contract("a call whose input shrinks or is detached rejects, or had read it", async (engine) => {
  const long = (seed: number) => rows(3000, seed);
  const x = long(30), expected = (await engine.attention(rows(4, 31), x, x)).out.data;
  const gone: readonly ((buffer: ArrayBuffer) => void)[] = [
    (buffer) => (buffer as unknown as { resize(bytes: number): void }).resize(40),
    (buffer) => void structuredClone(buffer, { transfer: [buffer] }),
  ];
  for (const lose of gone) {
    for (const which of ["q", "k", "v", "out"] as const) {
      for (let moment = 0; moment < 6; moment++) {
        const inputs = { q: rows(4, 31), k: long(30), v: long(30), out: rows(4, 1) };
        const { buffer, data } = resizable(inputs[which].data);
        const given = { ...inputs, [which]: { ...inputs[which], data } };
        const call = engine.attention(given.q, given.k, given.v, { out: given.out });
        call.catch(() => {}); // It is waited for below.
        for (let at = 0; at < moment; at++) await undefined;
        lose(buffer);
        try {
          const { out } = await call;
          if (which !== "out") assertSameBits(out.data, expected, `${which}, moment ${moment}`);
        } catch (error) {
          if (!(error as Error).message.startsWith("Cannot ")) throw error;
        }
      }
    }
  }
}, {
  daily: 1 / 3,
  needs: "hostTensors",
  ...(!hasResizable && { skip: "no resizable buffers here" }),
});

contract("a shape with holes is refused", async (engine) => {
  const data = new Float32Array(64);
  const holes = new Array<number>(4);
  [holes[1], holes[2], holes[3]] = [2, 4, 8];
  const x = { data, shape: [1, 2, 4, 8] }, wrong = { data, shape: holes };
  for (const [q, k, v] of [[wrong, x, x], [x, wrong, x], [x, x, wrong]]) {
    assert(await errorOf(() => engine.attention(q, k, v)) instanceof RangeError);
  }
  assert(await errorOf(() => engine.attention(x, x, x, { out: wrong })) instanceof RangeError);
  const strides = new Array<number>(4);
  [strides[1], strides[2], strides[3]] = [32, 8, 1];
  assert(await errorOf(() => engine.attention({ ...x, strides }, x, x)) instanceof TypeError);
  assert(await errorOf(() => engine.tensor(holes)) instanceof TypeError);
  assert(await errorOf(() => tensor(new Float32Array(0), holes)) instanceof TypeError);
  const mask = { data: new Uint8Array(16), shape: [, 4, 4] as number[] };
  assert(await errorOf(() => engine.attention(x, x, x, { mask })) instanceof RangeError);
});

contract("a mask with a word per element is refused unless its dtype says bits", async (engine) => {
  const x = rows(4, 40), words = Uint32Array.from({ length: 16 }, (_, at) => Number(at % 3 > 0));
  const call = (mask: object) => engine.attention(x, x, x, { mask: mask as never });
  for (const given of [{}, { offset: undefined }]) {
    const error = await errorOf(() => call({ data: words, shape: [4, 4], ...given })) as Error;
    assert(error instanceof RangeError || error instanceof TypeError);
    assertMatch(error.message, /^Cannot attend: `mask/);
  }
  const bits = Uint32Array.of(0xb6db);
  const right = (await call({ data: bits, shape: [4, 4] })).out.data;
  const padded = new Uint32Array(16);
  padded[0] = bits[0];
  // Whoever says that these are bits, or how they lie, means it.
  for (const given of [{ dtype: "bit" }, { strides: [4, 1] }, { offset: 0 }]) {
    assertSameBits((await call({ data: padded, shape: [4, 4], ...given })).out.data, right);
  }
  const one = { data: new Float32Array(4), shape: [1, 4] };
  await engine.attention(one, one, one, { mask: { data: Uint32Array.of(1), shape: [1, 1] } });
});

const closed = "Cannot use an engine after `close()`";

contract(
  "a cache cannot be used after its engine is closed, and is freed in silence",
  async (engine) => {
    const tokens = { data: new Float32Array(2 * 20 * 4).fill(1), shape: [1, 2, 20, 4] };
    const make = () => {
      const cache = engine.kvCache({ kvHeads: 2, headDim: 4, pageSize: 16 });
      cache.append(tokens, tokens);
      return cache;
    };
    const cache = make(), other = make(), bytes = await cache.save();
    const q = { data: new Float32Array(8), shape: [1, 2, 1, 4] };
    await engine.close();
    for (
      const use of [
        () => cache.append(tokens, tokens),
        () => cache.truncate(0, 3),
        () => cache.fork(0, 0),
        () => cache.evict({ keepFirst: 1, keepLast: 1 }),
        () => cache.save(),
        () => cache.load(bytes),
        () => cache.attend(q),
        () => engine.cascadeAttention(q, cache, other),
        () => engine.kvCache({ kvHeads: 2, headDim: 4 }),
      ]
    ) await assertRefused(use, Error, closed);
    cache.free();
    other[Symbol.dispose]();
    other[Symbol.dispose]();
  },
  { needs: "kvCache" },
);

contract("a tensor is freed in silence after its engine is closed", async (engine) => {
  const [a, b] = [engine.tensor([4]), engine.tensor([4])];
  await engine.close();
  a.free();
  a.free();
  b[Symbol.dispose]();
});

test("append() refuses a tensor that is freed while it reads the other", () =>
  withOneThread(async (engine) => {
    const cache = engine.kvCache({ kvHeads: 1, headDim: 4 }), shape = [1, 1, 1, 4];
    const k = engine.tensor(shape), ones = { data: new Float32Array(4).fill(1), shape };
    const { data } = k;
    const v = {
      ...ones,
      get offset() {
        k.free();
        engine.tensor(shape).data.fill(99);
        return 0;
      },
    };
    assertMatch(String(await errorOf(() => cache.append({ data, shape }, v))), /free/);
    assertEquals(cache.lengths, [0]);
  }));

test("blockMask.fromDense() and load() refuse memory of an engine that is in no tensor", () =>
  withOneThread(async (engine) => {
    const cache = engine.kvCache({ kvHeads: 1, headDim: 4, pageSize: 16 }), shape = [1, 1, 1, 4];
    const ones = { data: new Float32Array(4).fill(1), shape };
    cache.append(ones, ones);
    const saved = await cache.save(), tensor = engine.tensor([saved.length / 4]);
    const bytes = new Uint8Array(tensor.data.buffer, tensor.data.byteOffset, saved.length);
    bytes.set(saved);
    cache.load(bytes);
    const mask = { data: bytes.subarray(0, 64), shape: [8, 8] };
    blockMask.fromDense(mask);
    tensor.free();
    assertThrows(() => cache.load(bytes), TypeError, "`bytes` lies in an engine's memory");
    assertThrows(() => blockMask.fromDense(mask), TypeError, "lies in an engine's memory");
    assertEquals(cache.lengths, [1]);
  }));

test("load() refuses bytes in a tensor that was freed and that a call still reads", () =>
  withOneThread(async (engine) => {
    const cache = engine.kvCache({ kvHeads: 1, headDim: 4 }), own = engine.tensor([1, 64, 4]);
    const running = engine.attention(own, own, own);
    const bytes = new Uint8Array(own.data.buffer, own.data.byteOffset, 64);
    own.free();
    assertThrows(() => cache.load(bytes), TypeError, "Cannot use a tensor after `free()`");
    await running;
  }));

test("blockMask.fromDense() and sinks refuse a tensor that is freed while they are read", () =>
  withOneThread(async (engine) => {
    const freeing = (tensor: EngineTensor, extents: number[]) =>
      new Proxy(extents, {
        get(target, name, receiver) {
          tensor.free();
          return Reflect.get(target, name, receiver);
        },
      });
    const ofMask = engine.tensor([16]), ofSinks = engine.tensor([2]);
    const data = new Uint8Array(ofMask.data.buffer, ofMask.data.byteOffset, 64);
    assertThrows(
      () => blockMask.fromDense({ data, shape: freeing(ofMask, [8, 8]) }),
      TypeError,
      "free",
    );
    const sinks = { data: ofSinks.data, shape: freeing(ofSinks, [2]) }, x = rows(3, 5);
    assertMatch(String(await errorOf(() => engine.attention(x, x, x, { sinks }))), /free/);
  }));

test("cascadeAttention() leaves the prefix free where the suffix was freed", () =>
  withOneThread(async (engine) => {
    const make = () => engine.kvCache({ kvHeads: 2, headDim: 4 }), prefix = make(), suffix = make();
    suffix.free();
    const x = { data: new Float32Array(8), shape: [1, 2, 1, 4] };
    const error = await errorOf(() => engine.cascadeAttention(x, prefix, suffix));
    assertMatch(String(error), /the cache was freed/);
    prefix.append(x, x);
    assertEquals(prefix.lengths, [1]);
  }));

test("attention() reads options that are not enumerable", () =>
  withOneThread(async (engine) => {
    const x = rows(5, 6), hidden = Object.defineProperty({}, "causal", { value: true });
    const [{ out }, expected] = [
      await engine.attention(x, x, x, hidden),
      await engine.attention(x, x, x, { causal: true }),
    ];
    assertSameBits(out.data, expected.out.data, "the result");
  }));

contract(
  "a cache is freed in silence after its engine is closed, while calls that read it end",
  async (engine) => {
    const cache = engine.kvCache({ kvHeads: 2, headDim: 4 }), x = rows(700, 7);
    const tokens = { data: x.data, shape: [1, ...x.shape] };
    cache.append(tokens, tokens);
    const calls = [cache.attend(tokens, { causal: true }), cache.save()].map(errorOrNothing);
    const closing = engine.close();
    cache.free();
    cache[Symbol.dispose]();
    await closing;
    for (const error of await Promise.all(calls)) {
      if (error !== undefined) assertMatch(String(error), /after `close\(\)`/);
    }
  },
  { needs: "kvCache" },
);

/** What a promise rejects with; `undefined` where it does not. */
function errorOrNothing(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(() => undefined, (error) => error);
}

test("blockMask.window() reads its window once", () => {
  let reads = 0;
  const window = new Proxy([1, 0], {
    get(target, name, receiver) {
      return name === "0" && reads++ > 0 ? 3 : Reflect.get(target, name, receiver);
    },
  });
  const size = { queries: 6, block: 2 };
  const mask = blockMask.window(window as unknown as [number, number], size);
  assertEquals(String(mask), String(blockMask.window([1, 0], size)));
});
