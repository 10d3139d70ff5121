/**
 * Tensors that are not what they seem: objects that answer differently each time they are asked.
 *
 * @module
 */

import type { Engine, EngineTensor, KvCache } from "@flashtile/attention";
import type { Written } from "./operations.ts";

/** Whom a trick may turn against. */
export interface Victims {
  readonly engine: Engine;
  /** The engine's tensors among the inputs. */
  readonly own: readonly EngineTensor[];
  /** A cache of somebody else's. */
  readonly cache: KvCache;
}

/** What may come of a trick: the right answer or an error, an error, or anything that hurts nobody. */
export type Expected = "right" | "refused" | "harmless";

/** A way to make a tensor that is not what it seems. */
export interface Trick {
  readonly name: string;
  readonly expected: Expected;
  /** The engine is closed, or inputs are freed: other answers than the right one are errors. */
  readonly ends?: boolean;
  make(honest: Written, victims: Victims): unknown;
}

/** A property that is `first` once, and `then` from then on. */
export function changing(name: string, first: unknown, then: unknown, after = 1) {
  let times = 0;
  return Object.defineProperty({}, name, {
    get: () => times++ < after ? first : then,
    enumerable: true,
    configurable: true,
  });
}

/** `object` with properties as they are defined in others, getters as getters. */
export function withProperties<T extends object>(object: T, ...others: object[]): T {
  for (const other of others) {
    Object.defineProperties(object, Object.getOwnPropertyDescriptors(other));
  }
  return object;
}

/** An array whose elements and length are others from the `after`-th reading of each on. */
export function shifting(first: readonly number[], then: readonly number[], after = 1): number[] {
  const read = new Map<string | symbol, number>();
  return new Proxy([...first], {
    get(target, key, receiver) {
      const times = read.get(key) ?? 0;
      read.set(key, times + 1);
      const isData = key === "length" || (typeof key === "string" && /^\d+$/.test(key));
      return isData && times >= after ? Reflect.get(then, key) : Reflect.get(target, key, receiver);
    },
  });
}

/** A copy of a typed array's kind over the same elements, so that properties can be put on it. */
function same(data: Written["data"]): Written["data"] {
  const Kind = data.constructor as Float32ArrayConstructor;
  return new Kind(data.buffer as ArrayBuffer, data.byteOffset, data.length);
}

function withOwn(name: string, key: string, value: (data: Written["data"]) => unknown): Trick {
  return {
    name: `data with its own ${name}`,
    expected: "right",
    make: ({ data, ...rest }) => {
      const array = same(data);
      Object.defineProperty(array, key, { value: value(array), configurable: true });
      return { ...rest, data: array };
    },
  };
}

function getter(name: string, then: (honest: Written) => unknown, after = 1): Trick {
  return {
    name: `${name} that is another from its ${after + 1}th reading on`,
    expected: "right",
    make: (honest) => {
      const first = firstOf(honest, name);
      return withProperties({ ...honest }, changing(name, first, then(honest), after));
    },
  };
}

function firstOf(honest: Written, name: string): unknown {
  if (name === "strides") return stridesOf(honest.shape);
  if (name === "offset") return 0;
  if (name === "dtype") return "f32";
  return honest[name as keyof Written];
}

function stridesOf(shape: readonly number[]): number[] {
  return shape.map((_, axis) => shape.slice(axis + 1).reduce((size, n) => size * n, 1));
}

function acting(
  name: string,
  act: (victims: Victims) => unknown,
  more: Partial<Trick> = {},
): Trick[] {
  return ["data", "shape", "offset"].map((property): Trick => ({
    name: `${property} that ${name} when it is read`,
    expected: "right",
    ...more,
    make: (honest, victims) => {
      let done = false;
      const value = firstOf(honest, property);
      return Object.defineProperty({ ...honest }, property, {
        enumerable: true,
        get() {
          if (!done) {
            done = true;
            try {
              act(victims);
            } catch {
              // A refusal is as good.
            }
          }
          return value;
        },
      });
    },
  }));
}

/** A class of arrays whose methods make others of a kind that is too small. */
class Shrinking extends Float32Array {
  static get [Symbol.species](): Float32ArrayConstructor {
    return function () {
      return new Float32Array(1);
    } as unknown as Float32ArrayConstructor;
  }
}

/** A list that answers its methods as it likes. */
class Lying extends Array<number> {
  static override get [Symbol.species](): ArrayConstructor {
    return Array;
  }
}

Object.assign(Lying.prototype, {
  every: () => true,
  map: () => [99],
  reduce: () => 1,
  slice: () => [99, 99],
  [Symbol.iterator]: () => [99, 99, 99].values(),
});

function lying(numbers: readonly number[]): number[] {
  const list = new Lying();
  numbers.forEach((value, at) => list[at] = value);
  return list;
}

const far = (shape: readonly number[]) =>
  shape.map((extent, at) => at === 0 ? extent + 99 : extent);

const token = { data: new Float32Array(8).fill(5), shape: [1, 2, 1, 4] };

/** The tricks. */
export const tricks: readonly Trick[] = [
  getter("data", () => new Float32Array(2)),
  getter("data", () => new Float32Array(2), 2),
  getter("shape", ({ shape }) => far(shape)),
  getter("shape", ({ shape }) => far(shape), 2),
  getter("shape", ({ shape }) => shape.slice(1)),
  getter("strides", ({ shape }) => shape.map(() => 99_991)),
  getter("strides", ({ shape }) => shape.map(() => 99_991), 2),
  getter("offset", () => 100_003),
  getter("offset", () => 100_003, 2),
  getter("offset", () => -400),
  getter("dtype", () => "bf16"),
  withOwn("length", "length", () => 1),
  withOwn("longer length", "length", ({ length }) => length * 1000),
  withOwn("byteOffset", "byteOffset", () => 64),
  withOwn("buffer", "buffer", () => new ArrayBuffer(64)),
  withOwn("byteLength", "byteLength", () => 4),
  withOwn("subarray()", "subarray", () => () => new Float32Array(100_000).fill(7)),
  withOwn("set()", "set", () => () => {}),
  withOwn("slice()", "slice", () => () => new Float32Array(100_000).fill(7)),
  withOwn("fill()", "fill", () => () => {}),
  withOwn("constructor", "constructor", () => Uint16Array),
  withOwn("iterator", Symbol.iterator as never, () => function* () {}),
  withOwn("tag", Symbol.toStringTag as never, () => "Uint16Array"),
  {
    name: "data of a class with another species",
    expected: "right",
    make: ({ data, ...rest }) => ({
      ...rest,
      data: new Shrinking(data.buffer as ArrayBuffer, data.byteOffset, data.length),
    }),
  },
  {
    name: "data of 16 bits that seems to be of 32",
    expected: "refused",
    make: ({ data, ...rest }) => {
      const narrow = new Uint16Array(data.buffer as ArrayBuffer, data.byteOffset, data.length);
      return { ...rest, data: Object.setPrototypeOf(narrow, Float32Array.prototype) };
    },
  },
  {
    name: "data of bytes that seems to be of 32 bits",
    expected: "refused",
    make: ({ data, ...rest }) => {
      const narrow = new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.length);
      return { ...rest, data: Object.setPrototypeOf(narrow, Float32Array.prototype) };
    },
  },
  {
    name: "data that claims a shape beyond it",
    expected: "refused",
    make: ({ data, shape }) => {
      const array = same(data);
      Object.defineProperty(array, "length", { value: 1e9 });
      return { data: array, shape, offset: 1 << 20 };
    },
  },
  {
    name: "data that is a Proxy",
    expected: "right",
    make: ({ data, ...rest }) => ({ ...rest, data: new Proxy(data, {}) }),
  },
  {
    name: "data that only inherits from arrays",
    expected: "refused",
    make: ({ data, ...rest }) => ({
      ...rest,
      data: Object.create(Float32Array.prototype, { length: { value: data.length } }),
    }),
  },
  {
    name: "data that inherits from an array",
    expected: "refused",
    make: ({ data, ...rest }) => ({ ...rest, data: Object.create(data) }),
  },
  {
    name: "a fractional extent that `every()` lets through",
    expected: "refused",
    make: ({ data, shape }) => {
      const wrong = shape.map((extent, at) => at === 0 ? extent - 0.5 : extent);
      return { data, shape: Object.assign(wrong, { every: () => true }) };
    },
  },
  {
    name: "an extent that `every()` lets through",
    expected: "refused",
    make: ({ data, shape }) => {
      return { data, shape: Object.assign(far(shape), { every: () => true, reduce: () => 1 }) };
    },
  },
  {
    name: "a negative stride that `every()` lets through",
    expected: "refused",
    make: ({ data, shape }) => {
      const strides = stridesOf(shape).map((stride, at) => at === 0 ? -stride - 1000 : stride);
      return { data, shape, strides: Object.assign(strides, { every: () => true }) };
    },
  },
  {
    name: "a shape with holes",
    expected: "refused",
    make: ({ data, shape }) => {
      const holes = [...shape];
      delete holes[0];
      return { data, shape: holes };
    },
  },
  {
    name: "a shape whose methods lie",
    expected: "right",
    make: ({ data, shape }) => ({ data, shape: lying(shape) }),
  },
  {
    name: "strides whose methods lie",
    expected: "right",
    make: ({ data, shape }) => ({ data, shape, strides: lying(stridesOf(shape)) }),
  },
  ...[1, 2, 3].map((after): Trick => ({
    name: `a shape whose extents grow at reading ${after + 1}`,
    expected: "right",
    make: ({ data, shape }) => ({ data, shape: shifting(shape, far(shape), after) }),
  })),
  ...[1, 2, 3].map((after): Trick => ({
    name: `strides that grow at reading ${after + 1}`,
    expected: "right",
    make: ({ data, shape }) => {
      const strides = stridesOf(shape);
      return { data, shape, strides: shifting(strides, strides.map(() => 99_991), after) };
    },
  })),
  {
    name: "a shape that loses an axis",
    expected: "right",
    make: ({ data, shape }) => ({ data, shape: shifting(shape, shape.slice(1)) }),
  },
  {
    name: "extents that are objects",
    expected: "refused",
    make: ({ data, shape }) => {
      let times = 0;
      const extents = shape.map((extent) => ({ valueOf: () => times++ < 8 ? extent : extent + 9 }));
      return { data, shape: extents };
    },
  },
  {
    name: "an offset that is an object",
    expected: "refused",
    make: ({ data, shape }) => {
      let times = 0;
      return { data, shape, offset: { valueOf: () => times++ < 2 ? 0 : 1e6 } };
    },
  },
  {
    name: "a tensor that is a Proxy of another after each reading",
    expected: "right",
    make: (honest) => {
      const seen = new Set<string | symbol>();
      return new Proxy(honest, {
        get(target, key) {
          const again = seen.has(key);
          seen.add(key);
          if (again && key === "shape") return far(target.shape);
          if (again && key === "data") return new Float32Array(1);
          return Reflect.get(target, key);
        },
      });
    },
  },
  {
    name: "a tensor that only inherits its properties",
    expected: "right",
    make: (honest) => Object.create(honest),
  },
  ...acting("closes the engine", ({ engine }) => void engine.close(), { ends: true }),
  ...acting("frees the inputs", ({ own }) => own.forEach((tensor) => tensor.free()), {
    ends: true,
  }),
  ...acting("makes memory grow", ({ engine }) => {
    const bytes = engine.memoryBytes;
    for (let time = 0; time < 64 && engine.memoryBytes === bytes; time++) engine.tensor([1 << 18]);
  }),
  ...acting("changes another's cache", ({ cache }) => {
    cache.append(token, token);
    cache.truncate(0, 40);
  }),
  ...acting("calls the engine", ({ engine }) => {
    const x = { data: new Float32Array(8).fill(1), shape: [2, 4] };
    engine.attentionSync(x, x, x);
  }),
];
