import { blockMask, createEngine, type Engine } from "@flashtile/attention";
import { assertRejects, assertThrows } from "@std/assert";
import { test } from "node:test";
import { readMerge } from "../../src/operations/merge/operation.ts";
import { readRope } from "../../src/operations/rope/options.ts";
import { planRotation } from "../../src/operations/rope/plan.ts";

/** A kind of error, some of its words, and the arguments that are refused with it. */
type Refusal = readonly [kind: ErrorConstructor, words: string, ...given: unknown[]];

type Refusals = readonly Refusal[];

/** What looks like a buffer on a GPU. */
const buffer = { mapAsync() {}, usage: 0x80, size: 4096 };

function floats(...shape: number[]) {
  return { data: new Float32Array(shape.reduce((a, b) => a * b, 1)), shape };
}

function assertAllRefused(call: (...given: never[]) => unknown, refusals: Refusals): void {
  for (const [kind, words, ...given] of refusals) {
    assertThrows(() => call(...given as never[]), kind as never, words);
  }
}

const q = floats(2, 3, 4, 8);
const yarn = { type: "yarn", factor: 2, originalLength: 16 };
const llama = { type: "llama3", factor: 2, originalLength: 16 };

test("engine.rope() refuses what it cannot turn", () => {
  const plan = (...given: Parameters<typeof readRope>) => planRotation(readRope(...given));
  assertAllRefused(plan, [
    [TypeError, "options must be an object", q, null, null],
    [TypeError, "unknown option `angle`", q, null, { angle: 1 }],
    [TypeError, "`layout` must be one of", q, null, { layout: "nhd" }],
    [TypeError, "`style` must be one of", q, null, { style: "pairs" }],
    [TypeError, "`sectionStyle` must be one of", q, null, { sectionStyle: "turns" }],
    [TypeError, "whose sum is `dims / 2` = 4, got 4", q, null, { sections: 4 }],
    [RangeError, "whose sum is `dims / 2` = 4, got [2,1]", q, null, { sections: [2, 1] }],
    [RangeError, "whose sum is `dims / 2` = 4, got [5,-1]", q, null, { sections: [5, -1] }],
    [RangeError, "whose sum is `dims / 2` = 4, got [2.5,1.5]", q, null, { sections: [2.5, 1.5] }],
    [RangeError, "whose sum is `dims / 2` = 4, got [NaN]", q, null, { sections: [NaN, 4] }],
    [
      RangeError,
      "must leave room for the 3 pairs of axis 1 in turn",
      ...[q, null, { sections: [1, 3], sectionStyle: "interleaved" }],
    ],
    [
      RangeError,
      "with `sections` [axes, N] = [2, 4] or [axes, B, N] = [2, 2, 4], got [3,4]",
      ...[q, null, { sections: [2, 2], positions: floats(3, 4) }],
    ],
    [
      RangeError,
      "`positions` must be finite",
      ...[q, null, {
        sections: [2, 2],
        positions: { data: Float32Array.of(0, 1, 2, 3, 4, NaN, 6, 7), shape: [2, 4] },
      }],
    ],
    [RangeError, "`theta` must be above 0", q, null, { theta: 0 }],
    [RangeError, "`theta` must be above 0", q, null, { theta: NaN }],
    [RangeError, "`theta` must be above 0", q, null, { theta: Infinity }],
    [TypeError, "`q` must be { data, shape }", null, null, {}],
    [TypeError, "`k` must be { data, shape }", q, 7, {}],
    [RangeError, "name an element twice", { ...q, strides: [0, 32, 8, 1] }, null, {}],
    [RangeError, "`k` must have B, N and D as `q` has", q, floats(2, 3, 5, 8), {}],
    [RangeError, "`k` must have B, N and D as `q` has", q, floats(1, 3, 4, 8), {}],
    [RangeError, "`k` must have B, N and D as `q` has", q, floats(2, 3, 4, 6), {}],
    [RangeError, "share elements", q, q, {}],
    [RangeError, "`dims` must be even and from 2 to D = 8", q, null, { dims: 3 }],
    [RangeError, "`dims` must be even and from 2 to D = 8", q, null, { dims: 0 }],
    [RangeError, "`dims` must be even and from 2 to D = 8", q, null, { dims: 10 }],
    [RangeError, "`dims` must be even and from 2 to D = 8", q, null, { dims: 2.5 }],
    [RangeError, "`positions` must be a number, or 4 of them", q, null, { positions: [0, 1] }],
    [RangeError, "`positions` must be finite", q, null, { positions: Infinity }],
    [RangeError, "`positions` must be finite", q, null, { positions: [0, 1, , 3] }],
    [TypeError, "`scaling.type` must be one of", q, null, { scaling: { type: "half" } }],
    [TypeError, "`scaling.type` must be one of", q, null, { scaling: 2 }],
    [TypeError, "unknown option `low`", q, null, { scaling: { ...yarn, low: 1 } }],
    [TypeError, "unknown option `betaFast`, known are type, factor", q, null, {
      scaling: { type: "linear", factor: 2, betaFast: 32 },
    }],
    [RangeError, "`scaling.factor` must be above 0", q, null, { scaling: { ...yarn, factor: 0 } }],
    [RangeError, "`scaling.originalLength`", q, null, { scaling: { ...yarn, originalLength: 0 } }],
    [RangeError, "`scaling.betaSlow` must be above 0", q, null, {
      scaling: { ...yarn, betaSlow: 0 },
    }],
    [RangeError, "`scaling.betaFast` must be above 1", q, null, {
      scaling: { ...yarn, betaFast: 1 },
    }],
    [RangeError, "`scaling.attentionFactor`", q, null, {
      scaling: { ...yarn, attentionFactor: 0 },
    }],
    [RangeError, "`scaling.lowFrequencyFactor`", q, null, {
      scaling: { ...llama, lowFrequencyFactor: 0 },
    }],
    [RangeError, "`scaling.highFrequencyFactor` must be above 1", q, null, {
      scaling: { ...llama, highFrequencyFactor: 1 },
    }],
  ]);
});

test("mergeAttention() refuses what are no parts", () => {
  const part = { out: floats(3, 4, 8), lse: floats(3, 4) };
  const onGpu = { data: buffer, dtype: "f32" };
  assertAllRefused(readMerge, [
    [TypeError, "`parts` must be an array of at least one", part],
    [TypeError, "`parts` must be an array of at least one", []],
    [TypeError, "options must be an object", [part], null],
    [TypeError, "unknown option `lse`", [part], { lse: true }],
    [TypeError, "`layout` must be one of", [part], { layout: "hnd" }],
    [TypeError, "`parts[0].out` must be { data, shape }", [null]],
    [TypeError, "`parts[1].out` must be { data, shape }", [part, {}]],
    [TypeError, "`parts[1].out` must be { data, shape }", [part, , part]],
    [RangeError, "`parts[1].out` must have shape [3,4,8], got [3,4,6]", [
      part,
      { out: floats(3, 4, 6), lse: floats(3, 4) },
    ]],
    [RangeError, "`parts[1].out` must have shape [3,4,8], got [1,3,4,8]", [
      part,
      { out: floats(1, 3, 4, 8), lse: floats(3, 4) },
    ]],
    [TypeError, "`parts[0].lse` must be { data, shape }, got undefined; ask for it", [
      { out: part.out },
    ]],
    [RangeError, "`parts[0].lse` must have shape [3,4], got [4,3]", [
      { out: part.out, lse: floats(4, 3) },
    ]],
    [RangeError, "`parts[0].lse` must have shape [3,4], got [3,4,1]", [
      { out: part.out, lse: floats(3, 4, 1) },
    ]],
    [TypeError, "`parts[0].lse` must be f32, got f16", [
      { out: part.out, lse: { data: new Uint16Array(12), shape: [3, 4], dtype: "f16" } },
    ]],
    [TypeError, "`parts[0].lse.data` must be a Float32Array", [
      { out: part.out, lse: { data: new Float64Array(12), shape: [3, 4] } },
    ]],
    [TypeError, "`parts[1]` must be in arrays as the first part is", [
      part,
      { out: { ...onGpu, shape: [3, 4, 8] }, lse: part.lse },
    ]],
    [TypeError, "`parts[0]` must be in GPUBuffers as the first part is", [
      { out: { ...onGpu, shape: [3, 4, 8] }, lse: part.lse },
    ]],
  ]);
});

async function withEngine(use: (engine: Engine) => void | Promise<void>): Promise<void> {
  const engine = await createEngine({ backend: "wasm", threads: 1 });
  try {
    await use(engine);
  } finally {
    await engine.close();
  }
}

test("engine.cascadeAttention() refuses what is no cascade", async () => {
  await withEngine(async (engine) => {
    const part = { k: floats(1, 2, 5, 8), v: floats(1, 2, 5, 8) }, queries = floats(1, 2, 3, 8);
    const refusals: Refusals = [
      [TypeError, "options must be an object", queries, part, part, null],
      [TypeError, "unknown option `window`", queries, part, part, { window: [1, 1] }],
      [TypeError, "`layout` must be one of", queries, part, part, { layout: "hnd" }],
      [TypeError, "`lse` must be one of", queries, part, part, { lse: "yes" }],
      [TypeError, "`q` must be { data, shape }", null, part, part],
      [TypeError, "`prefix.k` must be { data, shape }", queries, {}, part],
      [TypeError, "`prefix.k` must be { data, shape }", queries, null, part],
      [TypeError, "`suffix.v` must be { data, shape }", queries, part, { k: part.k }],
      [RangeError, "`prefix.k` must have rank 4", queries, { ...part, k: floats(2, 5, 8) }, part],
      [RangeError, "`suffix.v` must have rank 4", queries, part, { ...part, v: floats(2, 5, 8) }],
      [RangeError, "`q` must have rank 4", floats(2, 3, 8), part, part],
      [TypeError, "`causal` must be one of", queries, part, part, { causal: "left" }],
    ];
    for (const [kind, words, ...given] of refusals) {
      const call = () => engine.cascadeAttention(...given as [never, never, never, never]);
      await assertRejects(call, kind as never, words);
    }
  });
});

const sizes = { kvHeads: 2, headDim: 8 };

test("engine.kvCache() refuses what is no size", async () => {
  await withEngine((engine) => {
    const make = (options: unknown) => void engine.kvCache(options as typeof sizes);
    assertAllRefused(make, [
      [TypeError, "options must be an object", null],
      [TypeError, "unknown option `heads`", { ...sizes, heads: 2 }],
      ...["batch", "kvHeads", "headDim", "valueDim", "capacity", "pages"].flatMap((name) =>
        [0, -1, 1.5, NaN, "2", null].map((value): Refusal => [
          RangeError,
          `\`${name}\` must be a whole number >= 1`,
          { ...sizes, [name]: value },
        ])
      ),
      [RangeError, "`batch` must be at most 65536", { ...sizes, batch: 65_537 }],
      [TypeError, "`dtype` must be one of", { ...sizes, dtype: "f64" }],
      [TypeError, "`smoothKeys` must be one of", { ...sizes, dtype: "int8", smoothKeys: 1 }],
      [RangeError, "`smoothKeys` is for int8 and int4", { ...sizes, smoothKeys: true }],
      ...[8, 24, 4096, 16.5, "16", null].map((pageSize): Refusal => [
        RangeError,
        "`pageSize` must be a power of two from 16 to 2048",
        { ...sizes, pageSize },
      ]),
    ]);
    for (const name of ["headDim", "valueDim"]) {
      assertAllRefused(make as never, [
        [RangeError, `\`${name}\` must be at most 1048576, got 2097152`, {
          ...sizes,
          [name]: 2 ** 21,
        }],
      ]);
    }
    for (const pageSize of [16, 2048]) engine.kvCache({ ...sizes, pageSize }).free();
  });
});

test("a KV cache refuses what it cannot take, and is as it was", async () => {
  await withEngine(async (engine) => {
    const cache = engine.kvCache({ ...sizes, batch: 2, valueDim: 4, capacity: 20 });
    const k = floats(2, 2, 3, 8), v = floats(2, 2, 3, 4);
    cache.append(k, v);
    const bytes = await cache.save();
    const changed = (word: number, value: number) => {
      const other = bytes.slice();
      new Uint32Array(other.buffer)[word] = value;
      return other;
    };
    // As somebody would who means to harm: the checksum is right.
    const forged = (word: number, value: number) => {
      const other = changed(word, value), words = new Uint32Array(other.buffer);
      let sum = 0x811c9dc5;
      for (const own of words.subarray(0, -1)) sum = Math.imul(sum ^ own, 0x01000193);
      words[words.length - 1] = sum;
      return other;
    };
    const call = (name: string, ...given: unknown[]) =>
      (cache as unknown as Record<string, (...given: unknown[]) => unknown>)[name](...given);
    assertAllRefused(call as never, [
      [TypeError, "options must be an object", "append", k, v, null],
      [TypeError, "unknown option `length`", "append", k, v, { length: [1, 1] }],
      [TypeError, "`layout` must be one of", "append", k, v, { layout: "hnd" }],
      [TypeError, "`k` must be { data, shape }", "append", null, v],
      [TypeError, "`v` must be { data, shape }", "append", k, undefined],
      [RangeError, "`k` must have shape", "append", floats(1, 2, 3, 8), v],
      [RangeError, "`k` must have shape", "append", floats(2, 1, 3, 8), v],
      [RangeError, "`k` must have shape", "append", floats(2, 2, 3, 4), v],
      [RangeError, "`v` must have shape", "append", k, floats(2, 2, 2, 4)],
      [RangeError, "`v` must have shape", "append", k, floats(2, 2, 3, 8)],
      [TypeError, "`lengths` must be an array of one number", "append", k, v, { lengths: 3 }],
      [RangeError, "one number per sequence, B = 2, got 1", "append", k, v, { lengths: [3] }],
      [RangeError, "whole numbers from 0 to 3, got 4", "append", k, v, { lengths: [3, 4] }],
      [RangeError, "whole numbers from 0 to 3, got -1", "append", k, v, { lengths: [-1, 3] }],
      [RangeError, "whole numbers from 0 to 3, got 0.5", "append", k, v, { lengths: [0.5, 3] }],
      [RangeError, "`capacity` is 20", "append", floats(2, 2, 18, 8), floats(2, 2, 18, 4)],
      [RangeError, "from 0 to 1, got 2", "truncate", 2, 0],
      [RangeError, "from 0 to 1, got -1", "truncate", -1, 0],
      [RangeError, "`length` must be a whole number from 0 to 3", "truncate", 0, 4],
      [RangeError, "`length` must be a whole number from 0 to 3", "truncate", 0, 1.5],
      [RangeError, "from 0 to 1, got 2", "free", 2],
      [RangeError, "from 0 to 1, got 2", "fork", 2, 0],
      [RangeError, "from 0 to 1, got 9", "fork", 0, 9],
      [RangeError, "no sequence is empty", "fork", 0],
      [RangeError, "`keepFirst` must be a whole number >= 0", "evict", {
        keepFirst: -1,
        keepLast: 1,
      }],
      [RangeError, "`keepLast` must be a whole number >= 0", "evict", { keepFirst: 1 }],
      [RangeError, "`keepFirst` must be a whole number >= 0", "evict", null],
      [RangeError, "from 0 to 1, got 5", "evict", { keepFirst: 1, keepLast: 1 }, 5],
      [TypeError, "`bytes` must be a Uint8Array", "load", [...bytes]],
      [TypeError, "`bytes` must be a Uint8Array", "load", new Uint32Array(bytes.buffer)],
      [RangeError, "bytes are no saved cache", "load", bytes.subarray(0, 8)],
      [RangeError, "bytes are no saved cache", "load", bytes.subarray(0, bytes.length - 1)],
      [RangeError, "the bytes are no saved cache", "load", changed(0, 7)],
      [RangeError, "its version is 9", "load", changed(1, 9)],
      [RangeError, "their checksum is another", "load", changed(12, 77)],
      [RangeError, "pages do not fill", "load", forged(12, 4096)],
      [RangeError, "pages do not fill", "load", forged(12, 2 ** 32 - 1)],
      [RangeError, "2 pages do not fill", "load", forged(13, 2 ** 31)],
      [RangeError, "2 pages do not fill", "load", forged(14, 2 ** 31)],
    ]);
    assertThrows(
      () => engine.kvCache({ ...sizes, batch: 2, valueDim: 8 }).load(bytes),
      RangeError,
      "it was saved with valueDim = 4, this one has 8",
    );
    assertThrows(
      () => engine.kvCache({ ...sizes, batch: 1, valueDim: 4 }).load(bytes),
      RangeError,
      "it was saved with batch = 2, 1 is replaced",
    );
    assertThrows(
      () => engine.kvCache({ ...sizes, batch: 2, valueDim: 4, capacity: 2 }).load(bytes),
      RangeError,
      "`capacity` is 2",
    );
    const again = await cache.save();
    if (String(again) !== String(bytes)) throw new Error("The cache has changed");
  });
});

test("cache.attend() refuses heads that its keys cannot be shared among", async () => {
  await withEngine(async (engine) => {
    using cache = engine.kvCache({ ...sizes, batch: 2, valueDim: 4, capacity: 20 });
    for (
      const [queries, words] of [
        [floats(2, 0, 1, 8), "got Hq = 0"],
        [floats(2, 3, 1, 8), "got Hq = 3"],
        [
          { data: new Float32Array(8), shape: [2, 2 ** 22, 1, 8], strides: [0, 0, 0, 1] },
          "`q` must have B times H of at most",
        ],
      ] as const
    ) {
      await assertRejects(() => cache.attend(queries), RangeError, words);
    }
  });
});

test("blockMask.fromDense() refuses words that stand for one element each", () => {
  const mask = { data: new Uint32Array(16).fill(1), shape: [4, 4] };
  assertThrows(() => blockMask.fromDense(mask), TypeError, "mask");
});

test("blockMask.window() refuses sides below 0", () => {
  for (const window of [[-1, 0], [0, -2], [1], [0.5, 1]]) {
    const make = () => blockMask.window(window as [number, number], { queries: 4 });
    assertThrows(make, Error, "window");
  }
});
