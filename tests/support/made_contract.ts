/**
 * What functions that attend to keys which they make have to keep, each on every backend.
 *
 * @module
 */

import {
  type DType,
  type Engine,
  type EngineTensor,
  type HostData,
  type Tensor,
  tensor,
} from "@flashtile/attention";
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { assertGivenBack, contract } from "../contract/backends.ts";
import { runs } from "./arbitrary.ts";
import { assertSameBits } from "./bits.ts";
import { assertWithinBudget, halfUlp, measure, rootMeanSquare } from "./budget.ts";
import { assertRefused, type ErrorClass, errorOf } from "./errors.ts";
import { familyCases, gradientName } from "./family.ts";
import { withGuards } from "./guards.ts";
import {
  type Dense,
  denseOf,
  exact,
  exactGradients,
  type Kind,
  type MadeCall,
  naive,
  naiveGradients,
  present,
  randomCall,
  withSimilar,
  writtenOf,
} from "./made_keys.ts";
import { count, shapesOf } from "./problem.ts";
import { normals, seeded } from "./random.ts";
import { varyingSeed } from "./seed.ts";
import { share } from "./share.ts";
import { numbersOf, placeOf } from "./softmax.ts";
import { halfUlpOf } from "./storage.ts";

type Any = Tensor<HostData>;

/** A function and its twin. */
export interface Functions {
  readonly kind: Kind;
  readonly name: string;
  readonly plain: (q: Any, k: Any, v: Any, options: never) => Promise<Record<"out" | "lse", Any>>;
  readonly twin: (q: Any, k: Any, v: Any, options: never) => Promise<{
    readonly out: Any;
    readonly lse: Any;
    backward(dOut: Any, options?: object): Promise<Record<string, Any>>;
  }>;
}

/** A call that is refused: the tensors of a right one, or others in their place. */
export interface MadeRefusal {
  readonly what: string;
  readonly given?: Readonly<Partial<Record<"q" | "k" | "v", unknown>>>;
  readonly options?: unknown;
  readonly error: ErrorClass;
  readonly message: string;
}

const seeds = fc.integer({ min: 0, max: 2 ** 32 - 1 });

/** Numbers of the shape of a result. */
function cotangents(call: MadeCall): { dOut: Dense; dLse: Dense } {
  const shape = shapesOf(call.sizes).out;
  const draw = (shape: readonly number[]) => ({
    ...{ data: normals(count(shape), call.random), shape },
  });
  return { dOut: draw(shape), dLse: draw(shape.slice(0, 3)) };
}

/** Numbers of several calls as those of one. */
function joined(parts: readonly ArrayLike<number>[]): number[] {
  return parts.flatMap((part) => Array.from(part));
}

/** Results of a call, in the order `[B, H, N, D]`. */
export interface DenseResults {
  readonly call: MadeCall;
  readonly out: Float32Array;
  readonly lse: Float32Array;
}

async function checkResults({ plain }: Functions, engine: Engine, first: MadeCall): Promise<void> {
  const results: DenseResults[] = [];
  for (const call of withSimilar(first)) {
    const { q, k, v, options } = writtenOf(call);
    const { out, lse } = await plain(q, k, v, { ...options, lse: true, engine } as never);
    assertEquals([out.dtype, out.shape.length], [call.dtypes.q, call.rank]);
    results.push({ call, out: denseOf(call, out), lse: numbersOf(lse) });
  }
  assertResults(results);
}

/** Throws where results are not as exact as those of the plain formula. */
export function assertResults(results: readonly DenseResults[]): void {
  const wanted = results.map(({ call }) => exact(call)), [{ call: { dtypes, sizes } }] = results;
  const simple = results.map(({ call }) => naive(call));
  const check = (name: "out" | "lse", band: (largest: number) => number) => {
    const [x, plain] = [results, simple].map((all) => joined(all.map((one) => one[name])));
    const errors = measure(x, plain, joined(wanted.map((one) => one[name].data)), rootMeanSquare);
    assertWithinBudget(name, errors, band(errors.largest));
  };
  check("out", (largest) => halfUlpOf(dtypes.q, largest) + halfUlp(largest));
  // A score and the logarithm of a sum, each with roundings of its own.
  check("lse", (largest) => 2 * halfUlp(largest + Math.log(2 + sizes.Nk)));
}

/** The largest product of a result with its gradient: what is subtracted from others like it. */
function largestDelta(call: MadeCall, dOut: Float32Array): number {
  const { out } = naive(call), { Dv } = call.sizes;
  let largest = 0;
  for (let from = 0; from < out.length; from += Dv) {
    let sum = 0;
    for (let at = from; at < from + Dv; at++) sum += out[at] * dOut[at];
    largest = Math.max(largest, Math.abs(sum));
  }
  return largest;
}

/** Gradients of a call, ours, those of the plain formula and the oracle's, by name. */
async function gradientsOf({ twin }: Functions, engine: Engine, call: MadeCall) {
  const { q, k, v, options } = writtenOf(call), { dOut, dLse } = cotangents(call);
  const { backward } = await twin(q, k, v, { ...options, engine } as never);
  const rows = { data: dLse.data, shape: dLse.shape.slice(4 - call.rank) };
  const gradients = await backward(present(call, "dOut", dOut, "f32"), { dLse: rows });
  const wanted = exactGradients(call, dOut, dLse);
  assertEquals(Object.keys(gradients).sort(), Object.keys(wanted).sort());
  const simple = naiveGradients(call, { dOut: dOut.data, dLse: dLse.data });
  const delta = largestDelta(call, dOut.data);
  return Object.entries(call.dtypes).map(([input, dtype]) => {
    const name = gradientName(input), got = gradients[name], isRow = input.length === 1;
    assertEquals(got.dtype, dtype, name);
    const ours = isRow ? denseOf(call, got) : numbersOf(got);
    return { name, dtype, ours, simple: simple[name], wanted: wanted[name].data, delta };
  });
}

async function checkGradients(
  functions: Functions,
  engine: Engine,
  first: MadeCall,
): Promise<void> {
  const all: Awaited<ReturnType<typeof gradientsOf>>[] = [];
  for (const call of withSimilar(first)) all.push(await gradientsOf(functions, engine, call));
  for (const [at, { name, dtype }] of all[0].entries()) {
    const [ours, simple, wanted] = (["ours", "simple", "wanted"] as const)
      .map((kind) => joined(all.map((one) => one[at][kind])));
    const errors = measure(ours, simple, wanted, rootMeanSquare);
    // Gradients are differences: roundings of their terms are theirs, too, of products, their means and weights.
    const largest = Math.max(errors.largest, 1, ...all.map((one) => one[at].delta));
    const terms = 4 * halfUlp(largest);
    assertWithinBudget(name, errors, halfUlpOf(dtype, errors.largest) + terms);
  }
}

/** A call of some size in f32 or 16 bits, with heads that share keys. */
function sizable(kind: Kind, dtype: DType = "f32"): MadeCall {
  const sizes = { B: 2, Hq: 4, Hkv: 2, Nq: 700, Nk: 700, D: 20, Dv: 24 }, random = seeded(3);
  const shapes = shapesOf(sizes),
    draw = (...shape: number[]): Dense => ({
      ...{ data: normals(count(shape), random, 0.5), shape },
    });
  const tensors: Record<string, Dense> = kind === "linformer"
    ? { projectK: draw(2, 130, 700), projectV: draw(130, 700) }
    : { pool: { data: draw(50).data.map((x) => Math.fround(1 + x * x)), shape: [50] } };
  const inputs = { q: draw(...shapes.q), k: draw(...shapes.k), v: draw(...shapes.v), ...tensors };
  const dtypes = Object.fromEntries(Object.keys(inputs).map((name) => [name, dtype]));
  const options = kind === "linformer" ? {} : { block: 50, causal: true };
  return { kind, sizes, rank: 4, layout: "bhnd", inputs, dtypes, options, random: () => 0 };
}

/** The elements of an array, or the bits of those of 16. */
function bitsOf(data: HostData): Float32Array | Uint16Array {
  if (data instanceof Float32Array || data instanceof Uint16Array) return data;
  return new Uint16Array(data.buffer as ArrayBuffer, data.byteOffset, data.length);
}

/** All results of a call. */
async function allOf(
  { plain, twin }: Functions,
  { q, k, v, options }: ReturnType<typeof writtenOf>,
  engine: Engine,
): Promise<Record<string, HostData>> {
  const { out, lse } = await plain(q, k, v, { ...options, engine, lse: true } as never);
  const { backward } = await twin(q, k, v, { ...options, engine } as never);
  const numbers = numbersOf({ ...out, data: bitsOf(out.data) });
  const gradients = await backward(tensor(numbers, out.shape));
  const all = { out, lse, ...gradients };
  return Object.fromEntries(Object.entries(all).map(([name, { data }]) => [name, bitsOf(data)]));
}

function assertSame(ours: Record<string, HostData>, theirs: Record<string, HostData>): void {
  assertEquals(Object.keys(ours), Object.keys(theirs));
  for (const name of Object.keys(ours)) assertSameBits(ours[name], theirs[name], name);
}

/** Results, gradients and their bits. */
function checkNumbers(functions: Functions): void {
  const { kind, name, plain, twin } = functions;
  const cases = familyCases.filter((one) => one.kind === kind);

  contract(`${name}() and its gradients are those of others`, async (engine, backend) => {
    assert(cases.length >= 2);
    for (const { name, options, inputs, results, dOut, gradients } of cases) {
      const { q, k, v, ...tensors } = inputs, asked = { ...options, ...tensors, engine };
      const { out, lse } = await plain(q, k, v, { ...asked, lse: true } as never);
      for (const [got, wanted] of [[out, results.out], [lse, results.lse]] as const) {
        if (wanted === undefined) continue;
        const { data, shape } = wanted;
        assertEquals(got.shape, shape, name);
        const { ours, largest } = measure(got.data, data, data);
        assert(ours <= 2e-6 * Math.max(1, largest), `${name}: ${ours}`);
      }
      if (backend.lacks?.rowGradients) continue;
      const { backward } = await twin(q, k, v, asked as never);
      const given = await backward(dOut);
      for (const [input, { data, shape }] of Object.entries(gradients)) {
        const got = given[gradientName(input)], { ours, largest } = measure(got.data, data, data);
        assertEquals(got.shape, shape, name);
        assert(ours <= 2e-6 * Math.max(1, largest), `${name} ${input}: ${ours}`);
      }
    }
  }, { daily: 5 });

  contract(`${name}() is as exact as the plain formula, whatever the call`, async (engine) => {
    await fc.assert(
      fc.asyncProperty(seeds, (seed) => checkResults(functions, engine, randomCall(kind, seed))),
      runs(120),
    );
  }, { daily: 1 / 3 });

  contract(
    `gradients of ${name}() are as exact as the plain formulas`,
    async (engine) => {
      await fc.assert(
        fc.asyncProperty(
          seeds,
          (seed) => checkGradients(functions, engine, randomCall(kind, seed)),
        ),
        runs(100),
      );
    },
    { daily: 1 / 3, needs: "rowGradients" },
  );

  contract(
    `tensors of the engine's, and arrays, give the same bits to ${name}()`,
    async (engine) => {
      for (const dtype of ["f32", "f16", "bf16"] as const) {
        const written = writtenOf(sizable(kind, dtype)), ours: Record<string, unknown> = {};
        const owned: EngineTensor<HostData>[] = [];
        const own = (given: unknown) => {
          const { data, shape } = given as Any, made = engine.tensor([...shape], dtype as "f32");
          owned.push(made as EngineTensor<HostData>);
          bitsOf(made.data).set(data as never);
          return made;
        };
        const options: Record<string, unknown> = { ...written.options };
        for (const [name, value] of Object.entries(options)) {
          if (typeof value === "object") options[name] = own(value);
        }
        for (const name of ["q", "k", "v"] as const) ours[name] = own(written[name]);
        const resident = { ...ours, options } as unknown as typeof written;
        assertSame(
          await allOf(functions, resident, engine),
          await allOf(functions, written, engine),
        );
        for (const tensor of owned) tensor.free();
      }
    },
    { needs: "hostTensors", daily: 1 / 3 },
  );

  contract(`the number of threads does not change a bit of ${name}()`, async (engine, backend) => {
    if (backend.threads === 1) return;
    const { createEngine } = await import("@flashtile/attention");
    const alone = await createEngine({ backend: "wasm", threads: 1 });
    try {
      const written = writtenOf(sizable(kind));
      assertSame(await allOf(functions, written, engine), await allOf(functions, written, alone));
    } finally {
      await alone.close();
    }
  }, { needs: "linearMemory", daily: 1 / 3 });
}

/** Where results go, and what calls leave behind. */
function checkLife(functions: Functions): void {
  const { kind, name, plain, twin } = functions, written = writtenOf(sizable(kind));
  const { q, k, v, options } = written;

  contract(
    `${name}() writes into \`out\`, of any storage, and over what it reads`,
    async (engine) => {
      const { out: alone } = await plain(q, k, v, { ...options, engine } as never);
      const strides = [1, ...[60, 60 * 4, 60 * 4 * 2].reverse()].reverse(), shape = alone.shape;
      const wide = { data: new Uint16Array(60 * 4 * 2 * 700), shape, dtype: "bf16" as const };
      const placed = { ...wide, strides: [60 * 4 * 700, 60, 60 * 4, 1], offset: 7 };
      assertEquals(strides.length, 4);
      const { out } = await plain(q, k, v, { ...options, engine, out: placed } as never);
      assertEquals(out, placed);
      const got = Float32Array.from(alone.data, (_, at) => {
        const bits = placed.data[placeOf(at, shape, placed.strides, 7)];
        return numbersOf({ data: Uint16Array.of(bits), shape: [1], dtype: "bf16" })[0];
      });
      const { ours, largest } = measure(got, alone.data, alone.data);
      assert(ours <= halfUlpOf("bf16", largest), `${ours}`);
      // Queries are wide enough for results of theirs.
      const both = new Float32Array(2 * 4 * 700 * 24 + 5).fill(1);
      both.set(v.data as Float32Array, 5);
      const same = { data: both, shape: v.shape, offset: 5 };
      const over = { data: both, shape };
      const { out: written } = await plain(q, k, same, { ...options, engine, out: over } as never);
      assertSameBits(written.data.slice(0, alone.data.length), alone.data, "over v");
    },
    { needs: "hostTensors", daily: 1 / 3 },
  );

  contract(`${name}() ends when its signal aborts, and gives its memory back`, async (engine) => {
    const call = (more: object) => plain(q, k, v, { ...options, engine, ...more } as never);
    const { backward, out } = await twin(q, k, v, { ...options, engine } as never);
    await call({});
    await backward(out);
    const bytes = engine.memoryBytes, reason = new Error("enough");
    assertEquals(await errorOf(() => call({ signal: AbortSignal.abort(reason) })), reason);
    for (const run of [call, (more: object) => backward(out, more)]) {
      let looks = 0, most = Infinity;
      const signal = {
        reason,
        get aborted() {
          return looks++ >= most;
        },
      };
      await run({ signal });
      for (const left of [looks - 1, looks >> 1, 1]) {
        [looks, most] = [0, left];
        assertEquals(await errorOf(() => run({ signal })), reason, `after ${left} looks`);
      }
    }
    for (let time = 0; time < 2; time++) {
      await call({});
      await backward(out);
    }
    assertEquals(engine.memoryBytes, bytes);
  }, { needs: "linearMemory", daily: 1 });

  contract(
    `${name}() uses its tensors from the call on, whatever happens to them`,
    async (engine) => {
      const { out: expected } = await plain(q, k, v, { ...options, engine } as never);
      const own = engine.tensor([...k.shape]),
        asked: Record<string, unknown> = { ...options, engine };
      own.data.set(k.data as Float32Array);
      const call = plain(q, own, v, asked as never);
      for (const name of Object.keys(asked)) asked[name] = undefined;
      own.free();
      const grown = engine.tensor([3000, 1000]); // Memory grows.
      assertSameBits((await call).out.data, expected.data, "as it was");
      const refused = await errorOf(() => plain(q, own, v, { ...options, engine } as never));
      assert((refused as Error).message.includes("after `free()`"));
      grown.free();
    },
    { needs: "hostTensors", daily: 1 },
  );

  contract(`${name}() and its gradients write nothing outside of their memory`, async (engine) => {
    await withGuards(async (watch) => {
      for (let seed = 0; seed < share(60); seed++) {
        const call = randomCall(kind, varyingSeed() + seed), { q, k, v, options } = writtenOf(call);
        const { backward } = await twin(q, k, v, { ...options, engine } as never);
        await backward(present(call, "dOut", cotangents(call).dOut, "f32"));
        watch.check();
        assertEquals(watch.blocks, 0);
      }
    });
  }, { needs: "linearMemory" });

  contract(`${name}() on a closed engine says so`, async (engine) => {
    await engine.close();
    const refused = await errorOf(() => plain(q, k, v, { ...options, engine } as never));
    assertEquals((refused as Error).message, "Cannot use an engine after `close()`");
  }, { daily: 1 });

  contract(
    `gradients of ${name}() are refused where they cannot be had`,
    async (engine, backend) => {
      const call = () => twin(q, k, v, { ...options, engine } as never);
      if (backend.name === "webgpu") {
        await assertRefused(
          call,
          Error,
          `Cannot compute \`${name}WithGradient()\`: the webgpu backend has no ` +
            `\`${name}WithGradient()\`; make the engine with { backend: "wasm" }`,
        );
        return;
      }
      const { backward, out } = await call();
      await assertRefused(
        () => backward(q),
        RangeError,
        `Cannot differentiate: \`dOut\` must have shape [${out.shape}], got [${q.shape}]`,
      );
      const refused = await errorOf(() => backward(out, { scale: 1 }));
      assert((refused as Error).message.includes("unknown option `scale`"));
    },
    { daily: 1 },
  );
}

/** Refusals, of the function and of its twin. */
function checkRefusals(
  { kind, name, plain, twin }: Functions,
  right: Readonly<Record<"q" | "k" | "v", Any>> & { readonly options: object },
  refusals: readonly MadeRefusal[],
): void {
  contract(
    `${name}() refuses bad input, takes no memory, and works afterwards`,
    async (engine, backend) => {
      const { q, k, v } = right;
      const before = await plain(q, k, v, { ...right.options, engine } as never);
      const bytes = engine.memoryBytes;
      for (const { what, given, options = {}, error, message } of refusals) {
        const all = { ...right, ...given } as typeof right;
        const asked = typeof options === "object" && options !== null
          ? { ...right.options, engine, ...options }
          : options;
        for (const [call, of] of [[plain, name], [twin, `${name}WithGradient`]] as const) {
          const refused = await errorOf(() => call(all.q, all.k, all.v, asked as never)) as Error;
          const text = `${what}: ${refused}`;
          assert(refused instanceof error && refused.message.includes(message), text);
          assert(refused.message.startsWith(`Cannot compute \`${of}()\`: `), text);
          assertGivenBack(engine, bytes, backend);
        }
      }
      const after = await plain(q, k, v, { ...right.options, engine } as never);
      assertSameBits(after.out.data, before.out.data, kind);
    },
  );
}

/** All of it. */
export function madeContract(
  functions: Functions,
  right: Readonly<Record<"q" | "k" | "v", Any>> & { readonly options: object },
  refusals: readonly MadeRefusal[],
): void {
  checkNumbers(functions);
  checkLife(functions);
  checkRefusals(functions, right, refusals);
}
