/**
 * What can happen between a call and its end: each act does all that it can of its kind.
 *
 * @module
 */

import type { Engine, EngineTensor } from "@flashtile/attention";
import type { Passed, Written, WrittenOptions } from "./operations.ts";

/** What an act left behind, to be looked at and cleared when the call has settled. */
export interface Aftermath {
  /** Throws where something is not as it should be. */
  check?(): void | Promise<void>;
  /** Frees what the act made. */
  clear?(): void;
  /** When nothing of it runs any more. */
  readonly settled?: Promise<unknown>;
  /** Blocks of memory that stay. */
  readonly kept?: number;
}

/** One of the things that can happen. */
export interface Act {
  readonly name: string;
  /** The caches cannot be changed while the call runs: there must be some. */
  readonly ofCaches?: boolean;
  /** There must be tensors in the engine's memory. */
  readonly ofMemory?: boolean;
  /** Whether the call may reject with this. */
  mayReject?(error: unknown, call: Passed): boolean;
  /** The engine cannot be used afterwards. */
  readonly ends?: boolean;
  /** Whether a result that is not there is no fault: its tensor was freed. */
  readonly frees?: boolean;
  /** `first` says that nothing can have settled yet. */
  act(call: Passed, engine: Engine, first: boolean): Aftermath;
}

const mebibyte = 2 ** 18;

/** Makes memory grow, whatever is free in it. The tensors stay: free memory would be taken again. */
export function grow(engine: Engine): EngineTensor[] {
  const bytes = engine.memoryBytes, taken: EngineTensor[] = [];
  while (engine.memoryBytes === bytes && taken.length < 256) taken.push(engine.tensor([mebibyte]));
  return taken;
}

/** Writes what nobody wants to read over an array of numbers, and beside them. */
function spoil(value: unknown, depth = 0): void {
  if (typeof value !== "object" || value === null || depth > 2) return;
  if (Array.isArray(value) && value.some((entry) => typeof entry === "object")) {
    value.forEach((entry) => spoil(entry, depth + 1));
    value.length = 0;
  } else if (Array.isArray(value)) {
    if (Object.isFrozen(value)) return;
    value.fill(1);
    value.push(3);
  } else if (value instanceof Int32Array) {
    value.fill(1);
  }
}

/** Every option that says what is computed becomes another, and those that were not given are. */
function changeOptions(options: WrittenOptions): void {
  for (const [name, value] of Object.entries(options)) {
    spoil(value);
    if (name === "cuSeqlens" || name === "scaling") Object.values(value as object).forEach(spoil);
    if (name === "scaling") Object.assign(value as object, { factor: 77 });
    if (!["signal", "onProgress", "lse", "out"].includes(name)) delete options[name];
  }
  Object.assign(options, {
    ...{
      causal: "top-left",
      offset: 1,
      window: [0, 0],
      kvLengths: [0, 0],
      scale: 3,
      softcap: 0.01,
    },
    ...{ layout: options.layout === "bnhd" ? "bhnd" : "bnhd", theta: 2, positions: 9 },
  });
}

/** Whoever watches a call, and what it gives, become others. */
function changeWatchers(options: WrittenOptions): void {
  Object.assign(options, {
    ...{ lse: options.lse !== true, encoder: {} },
    signal: AbortSignal.abort(new Error("A signal came later")),
    out: { data: new Float32Array(4096), shape: [4096] },
    onProgress() {
      throw new Error("A function came later");
    },
  });
}

/** Gives a property another value, however it was made; one that is frozen stays. */
function put(tensor: Written, name: keyof Written, value: unknown): void {
  Reflect.defineProperty(tensor, name, { value, configurable: true, writable: true });
}

/** Nested arrays of tensors become others, and their fields too. */
function changeFields(tensor: Written): void {
  const { shape, strides } = tensor;
  if (!Object.isFrozen(shape)) shape.fill(1);
  strides?.fill(0);
  put(tensor, "shape", [1, 1, 1, 1]);
  put(tensor, "strides", [0, 0, 0, 0]);
  put(tensor, "offset", 1);
  put(tensor, "dtype", "bf16");
}

const refused = (doing: string) => `Cannot ${doing}: a call reads the cache, wait for it first`;

/** What changes a cache. */
function changesOf({ caches: [cache] }: Passed): readonly [string, () => unknown][] {
  const { batch } = cache.options, shape = [batch, 1, 1, 4];
  const token = { data: new Float32Array(batch * 4).fill(1e6), shape };
  return [
    ["append", () => cache.append(token, token)],
    ["truncate", () => cache.truncate(0, 1)],
    ["evict", () => cache.evict({ keepFirst: 1, keepLast: 0 })],
    ["fork", () => cache.fork(0, batch - 1)],
    ["keep tokens", () => cache.keep(0, [0])],
    ["reorder", () => cache.reorder(new Array(batch).fill(0))],
    ["free", () => cache.free(0)],
    ["load", () => cache.load(new Uint8Array(8))],
    ["free", () => cache.free()],
  ];
}

/** Tries to change a cache: each change is refused in the known words, or the call has ended. */
function changeCache(call: Passed, first: boolean): void {
  for (const [doing, change] of changesOf(call)) {
    let message = "";
    try {
      change();
    } catch (error) {
      message = (error as Error).message;
    }
    if (message === refused(doing)) continue;
    if (first) throw new Error(`Expected "${refused(doing)}", got "${message}"`);
    // What ended lets its caches go, and bytes that were never saved are refused in any case.
  }
}

/** Frees what is in the engine's memory, and writes over whatever is given out next. */
function freeAll({ own }: Passed, engine: Engine): Aftermath {
  for (const tensor of own) tensor.free();
  const others = own.map(({ shape }) => engine.tensor(shape));
  const cache = engine.kvCache({ kvHeads: 1, headDim: 4, pageSize: 16 });
  const token = { data: new Float32Array(16 * 4).fill(7e7), shape: [1, 1, 16, 4] };
  cache.append(token, token);
  for (const { data } of others) data.fill(7e7);
  return {
    check() {
      for (const [at, { data }] of others.entries()) {
        const wrong = data.findIndex((value) => value !== Math.fround(7e7));
        if (wrong >= 0) throw new Error(`Tensor ${at} made later holds ${data[wrong]} at ${wrong}`);
      }
    },
    clear() {
      for (const other of others) other.free();
      cache.free();
    },
  };
}

/** Other calls run beside, one of which makes memory grow; each must be right, too. */
function callOthers(engine: Engine): Aftermath {
  const ones = (rows: number) => ({
    data: new Float32Array(rows * 64).fill(0.5),
    shape: [rows, 64],
  });
  const sizes = [[1, 2], [2, 5000], [3, 1]];
  const begun = sizes.map(([queries, keys]) =>
    engine.attention(ones(queries), ones(keys), ones(keys))
  );
  const calls = Promise.all(begun);
  // Whether anybody looks at them is for others to say.
  const settled = Promise.allSettled(begun);
  calls.catch(() => {});
  return {
    settled,
    async check() {
      for (const { out } of await calls) {
        const wrong = Array.from(out.data).find((value) => Math.abs(value - 0.5) > 1e-5);
        if (wrong !== undefined) throw new Error(`A call beside gave ${wrong}, expected 0.5`);
      }
    },
  };
}

const closed = "Cannot use an engine after `close()`";

/** Other elements for a tensor: as many, where it can still be seen how many it has. */
function otherData(tensor: Written): Written["data"] {
  try {
    return tensor.data.slice().fill(9);
  } catch {
    // It was freed, or is over a memory that has grown since.
    return new Float32Array(64);
  }
}

/** The acts. */
export const acts: readonly Act[] = [
  {
    name: "memory grows",
    act(_, engine) {
      // Those of a GPU are buffers, not blocks of linear memory.
      return { kept: grow(engine).filter(({ data }) => ArrayBuffer.isView(data)).length };
    },
  },
  { name: "other calls begin", act: (_, engine) => callOthers(engine) },
  {
    name: "options change",
    act({ options }) {
      options.forEach(changeOptions);
      return {};
    },
  },
  {
    name: "another signal, function and result are put in",
    act({ options }) {
      options.forEach(changeWatchers);
      return {};
    },
  },
  {
    name: "fields of tensors change",
    act({ tensors }) {
      tensors.forEach(changeFields);
      return {};
    },
  },
  {
    name: "data of tensors is replaced",
    act({ tensors }) {
      for (const tensor of tensors) put(tensor, "data", otherData(tensor));
      return {};
    },
  },
  {
    name: "tensors are freed",
    ofMemory: true,
    frees: true,
    act: (call, engine) => freeAll(call, engine),
  },
  {
    name: "caches change",
    ofCaches: true,
    act(call, _, first) {
      for (const cache of call.caches) changeCache({ ...call, caches: [cache] }, first);
      return {};
    },
  },
  {
    name: "the signal aborts",
    mayReject: (error, { controller: { signal } }) => error === signal.reason,
    act({ controller }) {
      controller.abort(new Error("enough"));
      return {};
    },
  },
  {
    name: "the engine closes",
    ends: true,
    mayReject: (error) => (error as Error).message === closed,
    act(_, engine) {
      const closing = engine.close();
      return { check: () => closing };
    },
  },
];
