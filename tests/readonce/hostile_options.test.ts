import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import {
  type AnyTensor,
  attention,
  attentionStream,
  attentionWithGradient,
  blockMask,
  createEngine,
  type Engine,
  type KvCache,
  logSumExp,
  softmax,
  softmaxWithGradient,
  tensor,
} from "@flashtile/attention";
import {
  createPerformerState,
  lightweightConvolution,
  performerAttention,
} from "@flashtile/attention/linear";
import { type Call, calls } from "./honest.ts";
import { type Hostile, hostileCall, runAll } from "./hostile.ts";
import { changing, shifting, type Victims, withProperties } from "./tricks.ts";
import { longTest } from "../support/share.ts";

const anything = new Float32Array(100_000).fill(7);

/** What an option becomes when it is read again. */
const others: Readonly<Record<string, readonly unknown[]>> = {
  causal: [false, "top-left", "nonsense"],
  offset: [[1e6, -1e6], 0, [1], "nonsense"],
  window: [[0, 0], [1e6, 1e6], null],
  kvLengths: [[7, 7e5], [1], Int32Array.of(700, 700), null],
  scale: [7, NaN, "nonsense"],
  softcap: [1e-3, -1],
  precision: ["int8", "nonsense"],
  lse: [false],
  layout: ["bnhd", "nonsense"],
  bias: [{ data: new Float32Array(1), shape: [4, 5, 7] }, { data: anything, shape: [1000, 100] }],
  mask: [{ data: new Uint8Array(1), shape: [2, 1, 5, 7] }, {
    data: new Uint8Array(9),
    shape: [9, 9],
  }],
  alibi: [{ data: new Float32Array(1), shape: [4] }, { data: anything, shape: [1000] }],
  sinks: [{ data: new Float32Array(1), shape: [4] }, { data: anything, shape: [1000] }],
  cuSeqlens: [{ q: [0, 900], k: [0, 900] }, { q: [0, 9], k: [0, 11] }, null],
  packed: [[900], { q: [9], k: [9, 0] }, null],
  blockMask: [blockMask.causal({ queries: 900, keys: 900, block: 2 }), {}, null],
  out: [{ data: new Float32Array(1), shape: [2, 4, 5, 4] }, null],
  dLse: [{ data: new Float32Array(1), shape: [2, 4, 5] }, null],
  axis: [0, 1e6, -1e6, "nonsense"],
  positions: [1e300, [1, 2], [NaN, 0, 0, 0, 0], shifting([1, 2, 3, 4, 5], [9, 9, 9, 9, 9])],
  dims: [4, 1000, 3],
  theta: [-1, NaN],
  style: ["half", "nonsense"],
  scaling: [{ type: "yarn", factor: 3, originalLength: 8 }, { type: "nonsense" }],
  lengths: [[2000, 2000], [1], [-5, 0], null],
  sequences: [[0, 1], [7, 8], [1], null],
  parents: [[-1, -1, -1], [9, 9, 9], [1], null],
  rope: [{ theta: 7 }, { theta: -1 }, { positions: [1e300] }],
};

/** Nested lists of options, and what their elements become. */
const lists: Readonly<Record<string, readonly number[]>> = {
  offset: [1e6, -1e6],
  window: [1e6, 1e6],
  kvLengths: [7e5, 7e5, 7e5],
  packed: [7e5, 7e5, 7e5],
  positions: [1e6, 1e6, 1e6, 1e6, 1e6],
  lengths: [2000, 2000],
  sequences: [1, 0],
  parents: [9, 9, 9],
};

function changingOptions(call: Call): Hostile[] {
  const names = [...Object.keys(call.options?.() ?? {}), ...call.asked ?? []];
  return names.flatMap((name) =>
    (others[name] ?? []).flatMap((then) =>
      [1, 2].map((after) => {
        const words = `\`${name}\` that is another from its reading ${after + 1} on`;
        return hostileCall(call, "arrays", { name: words, expected: "right" }, ({ options }) => {
          withProperties(options, changing(name, options[name], then, after));
        });
      })
    )
  );
}

function shiftingLists(call: Call): Hostile[] {
  const names = Object.keys(call.options?.() ?? {}).filter((name) => name in lists);
  return names.flatMap((name) =>
    [1, 2, 3].map((after) => {
      const words = `\`${name}\` whose elements change at reading ${after + 1}`;
      return hostileCall(call, "arrays", { name: words, expected: "right" }, ({ options }) => {
        const given = Array.from(options[name] as number[]);
        options[name] = shifting(given, lists[name], after);
      });
    })
  );
}

/** Numbers that are objects: read once they would be numbers, twice others. */
function objectsAsNumbers(call: Call): Hostile[] {
  const names = Object.keys(call.options?.() ?? {}).filter((name) => name in lists);
  return names.map((name) => {
    const what = { name: `\`${name}\` of objects`, expected: "right" } as const;
    return hostileCall(call, "arrays", what, ({ options }) => {
      options[name] = Array.from(options[name] as number[], (value, at) => {
        let times = 0;
        return { valueOf: () => times++ < 1 ? value : lists[name][at] };
      });
    });
  });
}

/** Options whose getters do something. */
function actingOptions(call: Call): Hostile[] {
  const names = Object.keys(call.options?.() ?? {});
  const acts: readonly [string, boolean, (victims: Victims) => unknown][] = [
    ["closes the engine", true, ({ engine }) => engine.close()],
    ["frees the inputs", true, ({ own }) => own.forEach((tensor) => tensor.free())],
    ["calls the engine", false, ({ engine }) => {
      const x = { data: new Float32Array(8).fill(1), shape: [2, 4] };
      engine.attentionSync(x, x, x);
    }],
  ];
  return names.flatMap((name) =>
    acts.map(([words, ends, act]) => {
      const what = { name: `\`${name}\` that ${words}`, expected: "right", ends } as const;
      return hostileCall(call, "engine memory", what, ({ options }, victims) => {
        const value = options[name];
        let done = false;
        Object.defineProperty(options, name, {
          enumerable: true,
          get() {
            if (!done) act(victims);
            done = true;
            return value;
          },
        });
      });
    })
  );
}

/** Signals by shape, whose properties do something whenever they are read. */
function actingSignals(call: Call): Hostile[] {
  const acts: readonly [string, boolean, (victims: Victims) => unknown][] = [
    ["closes the engine", true, ({ engine }) => engine.close()],
    ["frees the inputs", true, ({ own }) => own.forEach((tensor) => tensor.free())],
    ["makes memory grow", false, ({ engine }) => void engine.tensor([1 << 19])],
  ];
  return acts.map(([words, ends, act]) => {
    const what = { name: `a signal that ${words}`, expected: "right", ends } as const;
    return hostileCall(call, "engine memory", what, ({ options }, victims) => {
      options.signal = {
        get aborted() {
          act(victims);
          return false;
        },
        addEventListener() {},
        removeEventListener() {},
      };
    });
  });
}

const signalled = ["attention()", "attentionBackward()", "cache.attend()"];

const changed = calls.flatMap((call) => [
  ...changingOptions(call),
  ...shiftingLists(call),
  ...objectsAsNumbers(call),
  ...actingOptions(call),
  ...signalled.includes(call.name) ? actingSignals(call) : [],
]);

for (const { name } of calls) {
  longTest(`${name} reads each option once`, async () => {
    assertEquals(
      await runAll(changed.filter((hostile) => hostile.name.startsWith(`${name},`))),
      [],
    );
  });
}

/** Options that calls can be asked, and something that each would be refused for or change a result. */
const everyones: readonly (readonly [string, unknown])[] = [
  ...Object.entries(others).map(([name, [first]]) => [name, first] as const),
  ...Object.entries({
    ...{ causal: 1, block: 3, pool: 5, seed: 7, features: 5, kernel: "relu", projection: 5 },
    ...{ projectK: 5, projectV: 5, engine: 5, signal: 5, encoder: 5, lse: 5, onProgress: 5 },
  }),
];

/** Runs something while all objects have a property that some script has given to them. */
async function whileAllHave<T>(name: string, value: unknown, run: () => Promise<T>): Promise<T> {
  const all = Object.prototype as unknown as Record<string, unknown>;
  // As `Object.prototype.name = value` has it, in every loop over names.
  Object.defineProperty(all, name, {
    value,
    ...{ configurable: true, enumerable: true, writable: true },
  });
  try {
    return await run();
  } finally {
    delete all[name];
  }
}

/** Options that nobody asked for, but all objects have. */
function optionsOfAll(call: Call): Hostile[] {
  return everyones.map(([name, value]) => {
    const what = { name: `\`${name}\` of all objects`, expected: "right" } as const;
    const { run, ...rest } = hostileCall(call, "arrays", what, () => {});
    const refused = (error: Error) => {
      // Elsewhere a refusal is as good as the right result; its words say which they are.
      throw new Error(`was refused: ${error.message}`);
    };
    return {
      ...rest,
      run: (victims) => whileAllHave(name, value, () => run(victims).catch(refused)),
    };
  });
}

for (const call of calls) {
  longTest(
    `${call.name} has no options of all objects`,
    async () => {
      assertEquals(await runAll(optionsOfAll(call)), []);
    },
  );
}

const rows = () => ({ data: Float32Array.from({ length: 32 }, (_, at) => at / 9), shape: [8, 4] });

/** Calls that are asked nothing. */
const plainCalls: Readonly<Record<string, () => Promise<{ readonly out: AnyTensor }>>> = {
  "attention()": () => attention(rows(), rows(), rows()),
  "attentionWithGradient()": () => attentionWithGradient(rows(), rows(), rows()),
  "softmax()": () => softmax(rows()),
  "logSumExp()": () => logSumExp(rows()),
  "softmaxWithGradient()": () => softmaxWithGradient(rows()),
  "attentionStream()": async () => {
    const stream = attentionStream(rows());
    stream.push(rows(), rows());
    return await stream.finish();
  },
  "performerAttention()": () => performerAttention(rows(), rows(), rows()),
  "step() of createPerformerState()": async () => {
    using state = createPerformerState();
    return await state.step(rows(), rows(), rows());
  },
  "lightweightConvolution()": () => lightweightConvolution(rows(), { ...rows(), shape: [1, 31] }),
  "createEngine()": async () => {
    await using engine = await createEngine();
    return await engine.attention(rows(), rows(), rows());
  },
};

/** What engines can be asked. */
const engineOptions = ["backend", "threads", "module", "maxMemoryBytes", "workerUrl", "gpu"];

for (const [name, call] of Object.entries(plainCalls)) {
  test(`${name} that is asked nothing has nothing of all objects`, async () => {
    const right = (await call()).out;
    for (const [option, value] of [...everyones, ...engineOptions.map((name) => [name, 5])]) {
      const { out } = await whileAllHave(option as string, value, call);
      assertEquals([out.shape, out.data], [right.shape, right.data], `${option}`);
    }
  });
}

const size = { queries: 5, keys: 7, block: 2 };
const x = () => ({
  data: Float32Array.from({ length: 28 }, (_, at) => Math.sin(at)),
  shape: [7, 4],
});
const q = () => ({ data: x().data.subarray(8), shape: [5, 4] });

function masked(engine: Engine, mask: unknown): Promise<object> {
  return engine.attention(q(), x(), x(), { blockMask: mask as never });
}

type Arrays = Record<"starts" | "columns" | "mixed" | "bits", Uint32Array>;

/** Block masks that are none. */
const noMasks: readonly [string, (mask: ReturnType<typeof blockMask.causal>) => unknown][] = [
  ["that inherits from a mask", (mask) => Object.create(mask)],
  [
    "that inherits from a mask, with columns of its own",
    (mask) => Object.create(mask, { columns: { value: mask.columns.map(() => 5000) } }),
  ],
  [
    "that looks like a mask",
    (mask) => Object.setPrototypeOf({ ...mask }, Object.getPrototypeOf(mask)),
  ],
  ["that is a Proxy of a mask", (mask) => new Proxy(mask, {})],
  ["of the class, with starts that nobody checked", (mask) => {
    const Mask = mask.constructor as new (grid: object, blocks: object) => unknown;
    return new Mask(mask, { ...mask, starts: mask.starts.map((_, at) => at * 1000) });
  }],
  ["of the class, with columns that nobody checked", (mask) => {
    const Mask = mask.constructor as new (grid: object, blocks: object) => unknown;
    return new Mask(mask, { ...mask, columns: mask.columns.map(() => 5000) });
  }],
  ["of the class, without bits", (mask) => {
    const Mask = mask.constructor as new (grid: object, blocks: object) => unknown;
    return new Mask(mask, {
      ...mask,
      mixed: mask.mixed.map(() => 5000),
      bits: new Uint8Array(1),
    });
  }],
  ["of the class, with other extents than it says", (mask) => {
    const Mask = mask.constructor as new (grid: object, blocks: object) => unknown;
    return new Mask({ ...mask, block: [64, 64] }, mask);
  }],
  ["of a class that extends it", (mask) => {
    const Mask = mask.constructor as new (grid: object, blocks: object) => object;
    class Other extends Mask {
      keeps() {
        return true;
      }
      rowRuns() {
        return [[0, 5000]];
      }
    }
    return new Other(mask, mask);
  }],
];

test("attention() takes no block mask but those of the library", async () => {
  const all = noMasks.map(([name, make]): Hostile => ({
    name: `a block mask ${name}`,
    // A class may make masks that are as they say.
    expected: name.includes("extends") ? "right" : "refused",
    run: async ({ engine }) => await masked(engine, make(blockMask.window([3, 1], size))),
    right: (engine) => masked(engine, blockMask.window([3, 1], size)),
  }));
  assertEquals(await runAll(all), []);
});

test("BlockMask.and() takes no block mask but those of the library", async () => {
  // With such starts it would never end where it is not refused.
  const tried = noMasks.filter(([name]) => !/extends|starts/.test(name));
  const all = tried.map(([name, make]): Hostile => ({
    name: `a block mask ${name}`,
    expected: "refused",
    run: () => {
      const mask = blockMask.window([3, 1], size);
      return Promise.resolve({ mask: mask.and(make(mask) as never) });
    },
  }));
  assertEquals(await runAll(all), []);
});

const arrays = ["starts", "columns", "mixed", "bits"] as const;
const fillings = [0, 1, 2, 255, 1 << 20, 2 ** 31 - 1, 2 ** 32 - 1, 2 ** 31];

test("attention() stays in its own memory when a block mask was written to", async () => {
  const all = arrays.flatMap((name) =>
    fillings.map((value): Hostile => ({
      name: `\`${name}\` filled with ${value} before`,
      expected: "harmless",
      run: async ({ engine }) => {
        const mask = blockMask.window([3, 1], size);
        (mask as unknown as Arrays)[name].fill(value);
        return await masked(engine, mask);
      },
    }))
  );
  assertEquals(await runAll(all), []);
});

test("attention() stays in its own memory when a block mask is written to meanwhile", async () => {
  const moments = [0, 1, 2, 3, 5];
  const all = arrays.flatMap((name) =>
    fillings.flatMap((value) =>
      moments.map((moment): Hostile => ({
        name: `\`${name}\` filled with ${value} after ${moment} microtasks`,
        expected: "harmless",
        run: async ({ engine }) => {
          const mask = blockMask.window([3, 1], size), call = masked(engine, mask);
          call.catch(() => {}); // It is waited for below.
          for (let at = 0; at < moment; at++) await undefined;
          (mask as unknown as Arrays)[name].fill(value);
          return await call;
        },
      }))
    )
  );
  assertEquals(await runAll(all), []);
});

/** What a cache is made of and asked, with one thing that changes when it is read again. */
const sizes = { batch: 1, kvHeads: 2, headDim: 4, valueDim: 4, pageSize: 16, dtype: "f32" };

async function usedCache(engine: Engine, options: object): Promise<object> {
  const cache = engine.kvCache(options as never);
  try {
    const tokens = {
      data: Float32Array.from({ length: 160 }, (_, at) => at),
      shape: [1, 2, 20, 4],
    };
    cache.append(tokens, tokens);
    return await cache.attend({ data: new Float32Array(16).fill(0.1), shape: [1, 4, 1, 4] });
  } finally {
    cache.free();
  }
}

test("engine.kvCache() reads each option once", async () => {
  const then = { batch: 9, kvHeads: 9, headDim: 64, valueDim: 64, pageSize: 2048, dtype: "int4" };
  const all = Object.entries(then).flatMap(([name, value]) =>
    [1, 2].map((after): Hostile => ({
      name: `\`${name}\` that is ${value} from its reading ${after + 1} on`,
      expected: "right",
      run: ({ engine }) => {
        const first = sizes[name as keyof typeof sizes];
        return usedCache(engine, withProperties({ ...sizes }, changing(name, first, value, after)));
      },
      right: (engine) => usedCache(engine, sizes),
    }))
  );
  assertEquals(await runAll(all), []);
});

/** A cache of 40 tokens, changed, and its bytes. */
async function changedCache(
  engine: Engine,
  change: (cache: KvCache) => void,
): Promise<object> {
  const cache = engine.kvCache({ kvHeads: 2, headDim: 4, pageSize: 16 });
  try {
    const tokens = {
      data: Float32Array.from({ length: 320 }, (_, at) => at),
      shape: [1, 2, 40, 4],
    };
    cache.append(tokens, tokens);
    change(cache);
    return { bytes: { data: await cache.save() } };
  } finally {
    cache.free();
  }
}

/** A number that is another when it is read again. */
function unsteady(first: number, then: number): never {
  let times = 0;
  return { valueOf: () => times++ < 1 ? first : then } as never;
}

test("a cache reads what changes it once", async () => {
  const kept = { keepFirst: 4, keepLast: 9 };
  const all: Hostile[] = [
    ...["keepFirst", "keepLast"].flatMap((name) =>
      [1000, -3, 2 ** 32].map((then): Hostile => ({
        name: `evict() with \`${name}\` that becomes ${then}`,
        expected: "right",
        run: ({ engine }) =>
          changedCache(engine, (cache) => {
            const first = kept[name as keyof typeof kept];
            cache.evict(withProperties({ ...kept }, changing(name, first, then)));
          }),
        right: (engine) => changedCache(engine, (cache) => cache.evict(kept)),
      }))
    ),
    ...[1000, -3].flatMap((then): Hostile[] => [
      {
        name: `truncate() to an object that becomes ${then}`,
        expected: "refused",
        run: ({ engine }) => changedCache(engine, (cache) => cache.truncate(0, unsteady(5, then))),
      },
      {
        name: `truncate() of a sequence that becomes ${then}`,
        expected: "refused",
        run: ({ engine }) => changedCache(engine, (cache) => cache.truncate(unsteady(0, then), 5)),
      },
      {
        name: `fork() to a sequence that becomes ${then}`,
        expected: "refused",
        run: ({ engine }) => changedCache(engine, (cache) => void cache.fork(0, unsteady(0, then))),
      },
    ]),
  ];
  assertEquals(await runAll(all), []);
});

test("cache.load() reads its bytes once", async () => {
  const loaded = async (engine: Engine, change: (bytes: Uint8Array) => unknown) => {
    const bytes =
      (await changedCache(engine, () => {}) as { bytes: { data: Uint8Array } }).bytes.data;
    return await changedCache(engine, (cache) => cache.load(change(bytes) as never));
  };
  const put = (key: string, value: unknown) => (bytes: Uint8Array) =>
    Object.defineProperty(bytes, key, { value });
  const all = [
    ["a length of its own", put("length", 48)],
    ["a greater length of its own", put("length", 1 << 20)],
    ["a byteOffset of its own", put("byteOffset", 8)],
    ["a buffer of its own", put("buffer", new ArrayBuffer(8))],
    ["a `subarray()` of its own", put("subarray", () => new Uint8Array(1 << 16).fill(3))],
    ["a `slice()` of its own", put("slice", () => new Uint8Array(1 << 16).fill(3))],
    ["no bytes, but their prototype", (bytes: Uint8Array) => Object.create(bytes)],
    [
      "words that seem to be bytes",
      (bytes: Uint8Array) =>
        Object.setPrototypeOf(new Uint32Array(bytes.buffer), Uint8Array.prototype),
    ],
  ].map(([name, change]): Hostile => ({
    name: `bytes with ${name}`,
    expected: "right",
    run: ({ engine }) => loaded(engine, change as () => unknown),
    right: (engine) => loaded(engine, (bytes) => bytes),
  }));
  assertEquals(await runAll(all), []);
});

test("engine.tensor() and tensor() read their shape once", async () => {
  const written = async (engine: Engine, shape: unknown) => {
    const made = engine.tensor(shape as never);
    made.data.fill(9);
    await Promise.resolve();
    return { data: { data: new Float32Array(made.data), shape: made.shape } };
  };
  const shapes: readonly [string, () => unknown, Hostile["expected"]][] = [
    ["grows", () => shifting([2, 3], [2000, 3]), "right"],
    ["grows at its third reading", () => shifting([2, 3], [2000, 3], 2), "right"],
    ["grows at its fourth reading", () => shifting([2, 3], [2000, 3], 3), "right"],
    [
      "has a negative extent that `every()` lets through",
      () => Object.assign([-2, 3], { every: () => true }),
      "refused",
    ],
    [
      "has a fraction that `every()` lets through",
      () => Object.assign([0.5, 8], { every: () => true }),
      "refused",
    ],
    ["has a size of its own", () => Object.assign([2, 3], { reduce: () => 1 }), "right"],
    ["has a hole", () => [, 3], "refused"],
    ["holds objects", () => [unsteady(2, 2000), 3], "refused"],
  ];
  const all = shapes.flatMap(([name, make, expected]): Hostile[] => [
    {
      name: `engine.tensor() of a shape that ${name}`,
      expected,
      run: ({ engine }) => written(engine, make()),
      right: (engine) => written(engine, [2, 3]),
    },
    {
      name: `tensor() of a shape that ${name}`,
      expected,
      run: () => {
        const { shape } = tensor(new Float32Array(6), make() as never);
        return Promise.resolve({ made: { data: [1], shape } });
      },
      right: () => Promise.resolve({ made: { data: [1], shape: [2, 3] } }),
    },
  ]);
  assertEquals(await runAll(all), []);
});

test("mergeAttention() reads its list of parts once", async () => {
  const part = (value: number, n = 6) => ({
    out: { data: new Float32Array(n * 4).fill(value), shape: [n, 4] },
    lse: { data: new Float32Array(n), shape: [n] },
  });
  const honest = () => [part(1), part(3)];
  const lists: readonly [string, () => unknown][] = [
    ["grows", () => {
      let times = 0;
      return new Proxy(honest(), {
        get: (target, key) => key === "length" && times++ > 0 ? 900 : Reflect.get(target, key),
      });
    }],
    ["has other parts when it is read again", () => {
      const seen = new Set<string | symbol>();
      return new Proxy(honest(), {
        get(target, key) {
          const again = seen.has(key) && typeof key === "string" && /^\d+$/.test(key);
          seen.add(key);
          return again ? part(9, 900) : Reflect.get(target, key);
        },
      });
    }],
    ["maps to others", () => Object.assign(honest(), { map: () => [] })],
    ["iterates over others", () => Object.assign(honest(), { *[Symbol.iterator]() {} })],
    ["has a part whose `out` changes", () => [
      withProperties({ ...part(1) }, changing("out", part(1).out, part(9, 900).out)),
      part(3),
    ]],
    ["has a part whose `lse` changes", () => [
      part(1),
      withProperties({ ...part(3) }, changing("lse", part(3).lse, part(9, 900).lse)),
    ]],
  ];
  const all = lists.map(([name, make]): Hostile => ({
    name: `a list that ${name}`,
    expected: "right",
    run: ({ engine }) => engine.mergeAttention(make() as never),
    right: (engine) => engine.mergeAttention(honest()),
  }));
  assertEquals(await runAll(all), []);
});

test("hostile options, masks and caches are at least 200", () => {
  assert(changed.length >= 200, `${changed.length}`);
});
