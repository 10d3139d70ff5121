import { test } from "node:test";
import { assert, assertEquals, assertInstanceOf, assertMatch } from "@std/assert";
import { blockMask, type Engine, tensor } from "@flashtile/attention";
import { referenceAttention, referenceAttentionBackward } from "@flashtile/attention/reference";
import { errorOf } from "../support/errors.ts";
import { watchBlocks } from "../support/guards.ts";
import { contract } from "./backends.ts";

/** A length that takes gigabytes where it is copied. */
const huge = 268_435_456;

/** Elements that may be read of what is too long to be right. */
const mostReads = 64;

/** A list that says it is huge, and counts how often an element of it is asked for. */
function hugeList(target: object): { list: never; reads: () => number } {
  let reads = 0;
  const look = (key: string | symbol) => {
    if (typeof key === "symbol" || !/^\d+$/.test(key)) return;
    // Who goes on would not end soon.
    if (++reads > 100_000) throw new Error("Elements are read one after the other");
  };
  const list = new Proxy(target, {
    get(object, key) {
      look(key);
      return key === "length" ? huge : Reflect.get(object, key);
    },
    has(object, key) {
      look(key);
      return Reflect.has(object, key);
    },
  });
  return { list: list as never, reads: () => reads };
}

const rows = (n: number) => ({ data: new Float32Array(n * 4).fill(1), shape: [1, 1, n, 4] });
const x = rows(4);

/** Where a list is given, and what takes it. */
const lists: Readonly<Record<string, (engine: Engine, list: never) => unknown>> = {
  kvLengths: (engine, kvLengths) => engine.attention(x, x, x, { kvLengths }),
  "cuSeqlens.q": (engine, q) => engine.attention(x, x, x, { cuSeqlens: { q, k: [0, 4] } }),
  "cuSeqlens.k": (engine, k) => engine.attention(x, x, x, { cuSeqlens: { q: [0, 4], k } }),
  "append's lengths": (engine, lengths) => cacheOf(engine).append(x, x, { lengths }),
  "attend's lengths": (engine, lengths) =>
    cacheOf(engine).attend(x, { causal: true, lengths } as never),
  positions: (engine, positions) => engine.rope(rows(4), null, { positions }),
};

/** Where an array is given. */
const arrays: Readonly<Record<string, (engine: Engine, list: never) => unknown>> = {
  offset: (engine, offset) => engine.attention(x, x, x, { offset }),
  window: (engine, window) => engine.attention(x, x, x, { window }),
  shape: (engine, shape) => engine.attention({ data: x.data, shape }, x, x),
  strides: (engine, strides) => engine.attention({ ...x, strides }, x, x),
  "mask's shape": (engine, shape) =>
    engine.attention(x, x, x, { mask: { data: new Uint8Array(16), shape } }),
  "engine.tensor()": (engine, shape) => engine.tensor(shape),
  "tensor()": (_, shape) => tensor(new Float32Array(4), shape),
};

function cacheOf(engine: Engine) {
  return engine.kvCache({ kvHeads: 1, headDim: 4 });
}

contract("a list that is too long is refused before it is read", async (engine) => {
  for (const [name, use] of Object.entries(lists)) {
    for (const target of [{}, []]) {
      const { list, reads } = hugeList(target);
      const error = await errorOf(() => use(engine, list)) as Error;
      assertInstanceOf(error, RangeError, name);
      assertMatch(error.message, /^Cannot /, name);
      assert(reads() <= mostReads, `${name}: ${reads()} elements were read`);
    }
  }
});

contract("an array that is too long is refused before it is read", async (engine) => {
  for (const [name, use] of Object.entries(arrays)) {
    const { list, reads } = hugeList([]);
    const error = await errorOf(() => use(engine, list)) as Error;
    assert(error instanceof TypeError || error instanceof RangeError, `${name}: ${error.message}`);
    assertMatch(error.message, /^Cannot /, name);
    assert(error.message.length < 1000, `${name}: a message of ${error.message.length}`);
    assert(reads() <= mostReads, `${name}: ${reads()} elements were read`);
  }
});

contract(
  "engine.kvCache() refuses more than 65,536 sequences before it takes anything",
  async (engine) => {
    const bytes = engine.memoryBytes, watch = watchBlocks();
    try {
      for (
        const batch of [65_537, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 40, Number.MAX_SAFE_INTEGER]
      ) {
        const error = await errorOf(() =>
          engine.kvCache({ batch, kvHeads: 1, headDim: 4 })
        ) as Error;
        assertInstanceOf(error, RangeError);
        const { message } = error;
        assertMatch(message, /^Cannot make a KV cache: `batch` must be .*\b65,?536\b.*, got \d+$/);
      }
      assertEquals(watch.blocks, 0);
      assertEquals(engine.memoryBytes, bytes);
    } finally {
      watch.end();
    }
    const most = engine.kvCache({ batch: 65_536, kvHeads: 1, headDim: 4 });
    assertEquals(most.lengths.length, 65_536);
    most.free();
  },
  { needs: "kvCache" },
);

/** Methods of arrays that look at all elements. */
const methods = [
  "slice",
  "map",
  "reduce",
  "filter",
  "indexOf",
  "findIndex",
  "some",
  "every",
] as const;

/** Elements of arrays that pass by the methods of arrays while `use` runs. */
function elementsSeen(use: () => void): number {
  let seen = 0;
  const { prototype } = Array as unknown as { prototype: Record<string, unknown> };
  const old = methods.map((name) => [name, prototype[name]] as const);
  for (const [name, method] of old) {
    prototype[name] = function (this: unknown[], ...given: unknown[]) {
      seen += this.length;
      return (method as (...all: unknown[]) => unknown).apply(this, given);
    };
  }
  try {
    use();
  } finally {
    for (const [name, method] of old) prototype[name] = method;
  }
  return seen;
}

contract(
  "cache.load() looks at each sequence a few times, however many there are",
  async (engine) => {
    const seen: number[] = [];
    for (const batch of [256, 1024]) {
      const cache = engine.kvCache({ batch, kvHeads: 1, headDim: 1, pageSize: 16 });
      const tokens = { data: new Float32Array(batch).fill(3), shape: [batch, 1, 1, 1] };
      cache.append(tokens, tokens);
      const bytes = await cache.save();
      seen.push(elementsSeen(() => cache.load(bytes)));
      assertEquals(cache.lengths, new Array(batch).fill(1));
      cache.free();
    }
    // Four times as many: sixteen times as much work where each sequence looks at all others.
    assert(seen[1] <= 6 * seen[0], `${seen[0]} elements, then ${seen[1]}`);
  },
  { needs: "kvCache" },
);

contract("cache.load() takes as many empty sequences as a cache can have", async (engine) => {
  const cache = engine.kvCache({ batch: 65_536, kvHeads: 1, headDim: 1, pageSize: 16 });
  cache.load(await cache.save());
  assertEquals(cache.pages, 0);
  cache.free();
}, { needs: "kvCache" });

test("the oracle refuses options that it does not know", async () => {
  for (const name of ["casual", "kvLength", "mystery"]) {
    const options = { [name]: 1 };
    const forward = await errorOf(() => referenceAttention(x, x, x, options as never)) as Error;
    assertInstanceOf(forward, TypeError);
    assertMatch(forward.message, new RegExp(`unknown option \`${name}\``));
    const backward = await errorOf(() =>
      referenceAttentionBackward(x, x, x, x, options as never)
    ) as Error;
    assertInstanceOf(backward, TypeError);
    assertMatch(backward.message, new RegExp(`unknown option \`${name}\``));
  }
});

contract(
  "more heads than can be kept are refused, also where they need no elements",
  async (engine, { lacks }) => {
    const many = 2 ** 23, none = (...shape: number[]) => ({ data: new Float32Array(0), shape });
    const one = { data: new Float32Array(4), shape: [many, 1, 1, 4], strides: [0, 0, 0, 1] };
    const empty = none(many, 1, 0, 4), tall = none(0, 1, 2 ** 40, 2 ** 40);
    const calls: [string, () => unknown][] = [
      ["no rows", () => engine.attention(empty, empty, empty)],
      ["strides of 0", () => engine.attention(one, one, one)],
      [
        "heads",
        () => engine.attention(none(2, many / 2, 0, 4), none(2, 1, 0, 4), none(2, 1, 0, 4)),
      ],
      ["a mask", () => blockMask.causal({ queries: 0, batch: many })],
    ];
    if (!lacks?.mergeAttention) {
      calls.push(["parts", () => engine.mergeAttention([{ out: empty, lse: none(many, 1, 0) }])]);
    }
    if (!lacks?.rope) calls.push(["rotation", () => engine.rope(empty)]);
    for (const [what, call] of calls) {
      const error = await errorOf(call);
      assertInstanceOf(error, RangeError, what);
      assertMatch(
        (error as Error).message,
        /must (have B times H of|be) at most 4194304, got /,
        what,
      );
    }
    if (!lacks?.rope) await engine.rope(tall);
    assertEquals((await engine.attention(tall, tall, tall)).out.shape, tall.shape);
  },
);

contract("an append that is refused for want of memory leaves it to others", async (engine) => {
  const cache = engine.kvCache({ kvHeads: 1, headDim: 4, pageSize: 2048 });
  const tokens = { data: new Float32Array(4), shape: [1, 1, 2 ** 40, 4], strides: [0, 0, 0, 1] };
  assertInstanceOf(await errorOf(() => cache.append(tokens, tokens)), RangeError);
  assertEquals(cache.pages, 0);
  engine.tensor([1024, 1024]).free();
  cache.append(x, x);
  assertEquals(cache.lengths, [4]);
}, { needs: ["linearMemory", "maxMemoryBytes"], maxMemoryBytes: 8 * 1024 * 1024 });
