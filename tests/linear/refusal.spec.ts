import {
  attentionStream,
  type Engine,
  logSoftmax,
  logSoftmaxWithGradient,
  logSumExp,
  logSumExpWithGradient,
  softmax,
  softmaxWithGradient,
  tensor,
} from "@flashtile/attention";
import {
  createDynamicConvolutionState,
  createLightweightConvolutionState,
  createLocalGlobalState,
  createPerformerState,
  dynamicConvolution,
  dynamicConvolutionWithGradient,
  lightweightConvolution,
  lightweightConvolutionWithGradient,
  linformerAttention,
  linformerAttentionWithGradient,
  localGlobalAttention,
  localGlobalAttentionWithGradient,
  performerAttention,
  performerAttentionWithGradient,
} from "@flashtile/attention/linear";
import { assert, assertEquals } from "@std/assert";
import { type BackendUnderTest, contract } from "../contract/backends.ts";
import { type ErrorClass, errorOf } from "../support/errors.ts";
import { count } from "../support/problem.ts";

/** A tensor as callers write it, right or wrong. */
type Written = Readonly<{ data: Float32Array; shape: number[] }>;

/** Tensors of a call by name, or what is in their place. */
type Inputs = Readonly<Record<string, unknown>>;

/** One function of the family, with the tensors of a right call. */
interface Member {
  readonly name: string;
  readonly inputs: Readonly<Record<string, Written>>;
  /** Names of tensors that may be left out. */
  readonly optional?: readonly string[];
  /** Whether it takes options, and an engine among them. */
  readonly takes: "an engine" | "options" | "none";
  call(inputs: Inputs, options: unknown): unknown;
}

type Any = (...given: unknown[]) => unknown;

const ones = (...shape: number[]) => ({ data: new Float32Array(count(shape)).fill(1), shape });

const [rows, taps] = [{ q: ones(4, 6, 8), k: ones(2, 6, 8), v: ones(2, 6, 8) }, ones(2, 6, 3)];

/** Options with some more where they are options at all. */
function withMore(options: unknown, more: object): unknown {
  return typeof options === "object" && options !== null ? { ...more, ...options } : options;
}

/** Functions by name: bundlers give them others. */
function members(
  functions: Readonly<Record<string, unknown>>,
  rest: Pick<Member, "inputs" | "optional"> & {
    call(act: Any, inputs: Inputs, options: unknown): unknown;
  },
): Member[] {
  return Object.entries(functions).map(([name, act]) => ({
    ...{ name, inputs: rest.inputs, optional: rest.optional, takes: "an engine" },
    call: (inputs, options) => rest.call(act as Any, inputs, options),
  }));
}

const functions: readonly Member[] = [
  ...members({
    ...{ softmax, logSoftmax, logSumExp },
    ...{ softmaxWithGradient, logSoftmaxWithGradient, logSumExpWithGradient },
  }, { inputs: { x: ones(3, 4) }, call: (act, { x }, options) => act(x, options) }),
  ...members({ localGlobalAttention, localGlobalAttentionWithGradient }, {
    inputs: { ...rows, pool: ones(2) },
    optional: ["pool"],
    call: (act, { q, k, v, pool }, options) => act(q, k, v, withMore(options, { block: 2, pool })),
  }),
  ...members({ linformerAttention, linformerAttentionWithGradient }, {
    inputs: { ...rows, projectK: ones(3, 6), projectV: ones(3, 6) },
    optional: ["projectV"],
    call: (act, { q, k, v, ...projections }, options) =>
      act(q, k, v, withMore(options, projections)),
  }),
  ...members({ performerAttention, performerAttentionWithGradient }, {
    inputs: { ...rows, projection: ones(16, 8) },
    optional: ["projection"],
    call: (act, { q, k, v, projection }, options) =>
      act(q, k, v, withMore(options, { projection })),
  }),
  ...members({ lightweightConvolution, lightweightConvolutionWithGradient }, {
    inputs: { v: rows.v, weights: ones(2, 3) },
    call: (act, { v, weights }, options) => act(v, weights, options),
  }),
  ...members({ dynamicConvolution, dynamicConvolutionWithGradient }, {
    inputs: { v: rows.v, weights: taps },
    call: (act, { v, weights }, options) => act(v, weights, options),
  }),
  ...members({ attentionStream }, {
    inputs: { q: rows.q },
    call: (act, { q }, options) => act(q, options),
  }),
];

/** A step of a state of its own, which takes its tensors in their order. */
function stepOf(
  what: string,
  inputs: Member["inputs"],
  open: () => { step(...given: never[]): unknown; close(): void },
): Member {
  return {
    ...{ name: `step() of ${what}`, takes: "options", inputs },
    async call(own, options) {
      const state = open(), given = [...Object.keys(inputs).map((name) => own[name]), options];
      try {
        await state.step(...given as never[]);
      } finally {
        state.close();
      }
    },
  };
}

/** Steps and pushes, each of a state or stream of its own. */
function steps(engine: Engine): readonly Member[] {
  const { q, k, v } = rows;
  return [
    {
      ...{ name: "push()", takes: "none", inputs: { k, v } },
      call: (own) => attentionStream(q, { engine }).push(own.k as never, own.v as never),
    },
    stepOf("local + global", rows, () => createLocalGlobalState({ block: 2, engine })),
    stepOf("a performer", rows, () => createPerformerState({ features: 8, engine })),
    stepOf(
      "a dynamic convolution",
      { v, weights: taps },
      () => createDynamicConvolutionState({ engine }),
    ),
    stepOf(
      "a lightweight convolution",
      { v },
      () => createLightweightConvolutionState(ones(2, 3), { engine }),
    ),
  ];
}

/** An array whose buffer went elsewhere. */
function detached(data: Float32Array): Float32Array {
  const moved = data.slice();
  structuredClone(moved.buffer, { transfer: [moved.buffer] });
  return moved;
}

/** A list whose first place is a hole. */
function holed(list: readonly number[]): number[] {
  const own = list.slice();
  delete own[0];
  return own;
}

/** What may be wrong with a tensor, and what is said of it behind its name. */
const faults: readonly (readonly [
  what: string,
  make: (right: Written) => unknown,
  error: ErrorClass,
  message: string,
])[] = [
  ["null", () => null, TypeError, "` must be { data, shape }, got null"],
  ["a number", () => 7, TypeError, "` must be { data, shape }, got 7"],
  ["words", () => "rows", TypeError, '` must be { data, shape }, got "rows"'],
  ["a bare array", ({ data }) => data, TypeError, "` is a bare Float32Array, write { data: "],
  ["no data", ({ shape }) => ({ shape }), TypeError, ".data` must be a Float32Array, "],
  [
    "numbers in f64",
    ({ data, shape }) => ({ data: Float64Array.from(data), shape }),
    TypeError,
    ".data` must be a Float32Array, Float16Array, Uint16Array or GPUBuffer, got Float64Array",
  ],
  [
    "a list of numbers",
    ({ data, shape }) => ({ data: [...data], shape }),
    TypeError,
    ".data` must be a Float32Array, Float16Array, Uint16Array or GPUBuffer, got Array",
  ],
  [
    "too few numbers",
    ({ data, shape }) => ({ data: data.subarray(1), shape }),
    RangeError,
    " elements, `data` has ",
  ],
  [
    "a detached array",
    ({ data, shape }) => ({ data: detached(data), shape }),
    RangeError,
    "`data` has 0: its buffer is detached",
  ],
  ["no shape", ({ data }) => ({ data }), TypeError, ".shape` must be an array, got undefined"],
  [
    "a shape in words",
    ({ data, shape }) => ({ data, shape: String(shape) }),
    TypeError,
    ".shape` must be an array, got ",
  ],
  ...([
    ["a hole in its shape", undefined],
    ["a negative size", -1],
    ["half a row", 1.5],
    ["a size of NaN", NaN],
  ] as const).map(([what, first]) =>
    [
      what,
      ({ data, shape }: Written) => ({
        data,
        shape: first === undefined ? holed(shape) : [first, ...shape.slice(1)],
      }),
      RangeError as ErrorClass,
      ".shape` must hold whole numbers >= 0, got [",
    ] as const
  ),
  [
    "more elements than there can be",
    ({ data, shape }) => ({ data, shape: shape.map(() => 2 ** 31) }),
    RangeError,
    " elements, `data` has ",
  ],
  ["no axes", (right) => ({ ...right, shape: [] }), RangeError, "got "],
  [
    "bits without a type",
    ({ data, shape }) => ({ data: Uint16Array.from(data), shape }),
    TypeError,
    '.dtype` must be "f16" or "bf16"',
  ],
  [
    "a type that there is not",
    (right) => ({ ...right, dtype: "f64" }),
    TypeError,
    '.dtype` must be one of f32, f16, bf16, got "f64"',
  ],
  [
    "another type than its data's",
    (right) => ({ ...right, dtype: "f16" }),
    TypeError,
    "` has dtype f16, its data is a Float32Array",
  ],
  [
    "a stride too many",
    (right) => ({ ...right, strides: [1, ...right.shape] }),
    RangeError,
    ".strides` must have one number per axis of [",
  ],
  [
    "strides of half an element",
    (right) => ({ ...right, strides: right.shape.map(() => 0.5) }),
    TypeError,
    ".strides` must be an array of whole numbers >= 0, got [0.5",
  ],
  [
    "strides beyond its data",
    (right) => ({ ...right, strides: right.shape.map(() => 1000) }),
    RangeError,
    " elements, `data` has ",
  ],
  [
    "a negative offset",
    (right) => ({ ...right, offset: -1 }),
    RangeError,
    ".offset` must be a whole number >= 0, got -1",
  ],
  [
    "half an offset",
    (right) => ({ ...right, offset: 0.5 }),
    RangeError,
    ".offset` must be a whole number >= 0, got 0.5",
  ],
  [
    "an offset beyond its data",
    (right) => ({ ...right, offset: 1 }),
    RangeError,
    " elements, `data` has ",
  ],
];

/** What may be wrong with options, and what is said of it. */
const wrongOptions: readonly [what: string, options: unknown, message: RegExp][] = [
  ["null for options", null, /options must be an object, got null$/],
  ["a number for options", 3, /options must be an object, got 3$/],
  ["words for options", "causal", /options must be an object, got "causal"$/],
  ["an option that there is not", { dropout: 0.1 }, /unknown option `dropout`, known are /],
  ["a signal that is none", { signal: {} }, /`signal` must be an AbortSignal, got Object$/],
  ["a number as signal", { signal: 5 }, /`signal` must be an AbortSignal, got 5$/],
  [
    "null as `out`",
    { out: null },
    /`out` must be \{ data, shape \}, got null$|unknown option `out`, known are /,
  ],
  [
    "a number as `out`",
    { out: 5 },
    /`out` must be \{ data, shape \}, got 5$|unknown option `out`, known are /,
  ],
];

const engines: typeof wrongOptions = [
  [
    "null for an engine",
    { engine: null },
    /`engine` must be what `createEngine\(\)` .*, got null$/,
  ],
  ["no engine", { engine: {} }, /`engine` must be what `createEngine\(\)` .*, got Object$/],
];

/** Says what a message begins with: what cannot be done. */
const cannot = /^Cannot (compute|attend|step)\b.*?: /;

/** How a call is refused, if it is not as it must be. */
async function wrongWith(
  act: () => unknown,
  kind: ErrorClass,
  isSaid: (message: string) => boolean,
): Promise<string | undefined> {
  const error = await errorOf(act).catch(() => undefined) as Error | undefined;
  if (error === undefined) return "is accepted";
  const isRight = error.constructor === kind && cannot.test(error.message) && isSaid(error.message);
  return isRight ? undefined : `gives ${error.constructor.name}: ${error.message}`;
}

/** All of them that a backend has, on an engine. */
function familyOn(engine: Engine, { lacks }: BackendUnderTest): Member[] {
  const hasTwins = lacks?.rowGradients === undefined;
  const own = functions.filter(({ name }) => hasTwins || !name.endsWith("WithGradient"));
  return [...own, ...steps(engine)].map((member) => ({
    ...member,
    call: (inputs, options) =>
      member.call(inputs, member.takes === "an engine" ? withMore(options, { engine }) : options),
  }));
}

contract("the whole family refuses tensors that attention() refuses", async (engine, backend) => {
  let cases = 0;
  const wrong: string[] = [];
  for (const { name, inputs, call } of familyOn(engine, backend)) {
    await call(inputs, {});
    const bytes = engine.memoryBytes;
    for (const [input, right] of Object.entries(inputs)) {
      for (const [what, make, kind, message] of faults) {
        const act = () => call({ ...inputs, [input]: make(right) }, {});
        const isSaid = (text: string) => text.includes(`\`${input}`) && text.includes(message);
        const words = await wrongWith(act, kind, isSaid);
        if (words !== undefined) wrong.push(`${name}: ${what} as ${input} ${words}`);
        cases++;
      }
    }
    assertEquals(engine.memoryBytes, bytes, name);
    await call(inputs, {});
  }
  assertEquals(wrong, []);
  assert(cases > 700, `${cases} cases`);
});

contract("the whole family refuses options that attention() refuses", async (engine, backend) => {
  const wrong: string[] = [];
  for (const { name, inputs, takes, call } of familyOn(engine, backend)) {
    if (takes === "none") continue;
    const bytes = engine.memoryBytes;
    for (
      const [what, options, message] of [...wrongOptions, ...takes === "options" ? [] : engines]
    ) {
      const act = () => call(inputs, options);
      const words = await wrongWith(act, TypeError, (text) => message.test(text));
      if (words !== undefined) wrong.push(`${name}: ${what} ${words}`);
    }
    assertEquals(engine.memoryBytes, bytes, name);
  }
  assertEquals(wrong, []);
});

contract(
  "tensors that may be left out are left out where they are undefined",
  async (engine, backend) => {
    for (const { inputs, optional = [], call } of familyOn(engine, backend)) {
      for (const name of optional) await call({ ...inputs, [name]: undefined }, {});
    }
  },
);

contract("gradients refuse a signal that is none", async (engine) => {
  const options = { engine }, { q, k, v } = rows, square = tensor(new Float32Array(12), [3, 4]);
  const all: [string, Promise<{ backward(dOut: unknown, pass: object): unknown }>, unknown][] = [
    ["softmax", softmaxWithGradient(square, options) as never, square],
    ["performer", performerAttentionWithGradient(q, k, v, options) as never, q],
    [
      "linformer",
      linformerAttentionWithGradient(q, k, v, { projectK: ones(3, 6), engine }) as never,
      q,
    ],
    ["local + global", localGlobalAttentionWithGradient(q, k, v, { block: 2, engine }) as never, q],
    ["convolution", dynamicConvolutionWithGradient(v, taps, options) as never, v],
  ];
  for (const [name, made, dOut] of all) {
    const { backward } = await made;
    const refused = await errorOf(() => backward(dOut, { signal: { reason: 1 } })) as Error;
    assert(refused instanceof TypeError, `${name}: ${refused}`);
    assert(
      refused.message.endsWith("`signal` must be an AbortSignal, got Object"),
      refused.message,
    );
  }
}, { needs: "rowGradients" });
