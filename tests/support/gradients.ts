/**
 * Gradients: asked of an engine, and what they must be.
 *
 * @module
 */

import type { DType, Engine, Tensor } from "@flashtile/attention";
import { referenceAttentionBackward } from "@flashtile/attention/reference";
import { assert } from "@std/assert";
import { assertSameBits } from "./bits.ts";
import { assertWithinBudget, measure, rootMeanSquare } from "./budget.ts";
import { naiveAttentionBackward } from "./naive_backward.ts";
import { once } from "./once.ts";
import { count, inputsOf, type Meaning, type Problem, shapesOf } from "./problem.ts";
import { normals, type Random, seeded } from "./random.ts";
import { halfUlpOf } from "./storage.ts";

/** Gradients, as `attentionBackward()` names them; the last three where they are asked for; `dArrays` are those of its `dCaptured`. */
export interface Gradients<A = ArrayLike<number>> {
  readonly dq: A;
  readonly dk: A;
  readonly dv: A;
  readonly dBias?: A;
  readonly dSinks?: A;
  readonly dArrays?: A;
}

/** Their names, those by captured arrays aside. */
export const gradientNames = ["dq", "dk", "dv", "dBias", "dSinks"] as const;

const allNames = [...gradientNames, "dArrays"] as const;

/** Something made of each of the gradients that there are. */
export function eachGradient<A, R>(
  gradients: Gradients<A>,
  make: (gradient: A, name: keyof Gradients) => R,
): Gradients<R> {
  const given = allNames.filter((name) => gradients[name] !== undefined);
  const made = given.map((name) => [name, make(gradients[name]!, name)]);
  return Object.fromEntries(made);
}

/** A loss's gradients by what attention gives: dense `[B, Hq, Nq, Dv]` and `[B, Hq, Nq]`. */
export interface Cotangents {
  readonly dOut: Float32Array;
  readonly dLse?: Float32Array;
}

/** Random ones. */
export function randomCotangents({ sizes }: Problem, seed: number | Random): Cotangents {
  const random = typeof seed === "number" ? seeded(seed) : seed, shape = shapesOf(sizes).out;
  return {
    dOut: normals(count(shape), random),
    dLse: normals(count(shape.slice(0, 3)), random),
  };
}

/** The same as contiguous tensors of rank 4. */
export function cotangentTensors(
  { sizes }: Problem,
  { dOut, dLse }: Cotangents,
): { dOut: Tensor; dLse?: Tensor } {
  const shape = shapesOf(sizes).out;
  const rows = dLse && { dLse: { data: dLse, shape: shape.slice(0, 3) } };
  return { dOut: { data: dOut, shape }, ...rows };
}

/** A call whose gradients are asked for. */
export interface GradientCall {
  readonly problem: Problem;
  readonly meaning: Meaning;
  readonly cotangents: Cotangents;
}

/** A call of a problem, with random cotangents. */
export function gradientCall(problem: Problem, meaning: Meaning = {}, seed = 1): GradientCall {
  return { problem, meaning, cotangents: randomCotangents(problem, seed) };
}

/** Numbers of gradients, those by captured arrays one behind the other. */
function numbersOf<A extends ArrayLike<number>>(
  { dCaptured, ...rest }:
    & Gradients<{ readonly data: A }>
    & { readonly dCaptured?: ReadonlyMap<unknown, { readonly data: A }> | undefined },
): Gradients<A> {
  const arrays = [...dCaptured?.values() ?? []].map(({ data }) => data);
  const Kind = rest.dq.data.constructor as new (numbers: number[]) => A;
  const all = new Kind(arrays.flatMap((array) => Array.from(array)));
  return eachGradient(
    { ...rest, ...(dCaptured && { dArrays: { data: all } }) },
    ({ data }) => data,
  );
}

/** What an engine gives, from its own forward pass or from that of another. */
export async function gradientsOf(
  engine: Engine,
  { problem, meaning, cotangents }: GradientCall,
  forward?: { readonly out: Float32Array; readonly lse: Float32Array },
): Promise<Gradients<Float32Array>> {
  const { q, k, v } = inputsOf(problem), { dOut, dLse } = cotangentTensors(problem, cotangents);
  const { out, lse } = forward === undefined
    ? await engine.attention(q, k, v, { ...meaning, lse: true })
    : {
      out: { data: forward.out, shape: dOut.shape },
      lse: { data: forward.lse, shape: dOut.shape.slice(0, 3) },
    };
  const options = { ...meaning, out, lse, dLse };
  return numbersOf(await engine.attentionBackward(dOut, q, k, v, options));
}

/** What `attentionWithGradient()` gives, which keeps what f32 rounds off an `lse`. */
export async function keptGradientsOf(
  engine: Engine,
  { problem, meaning, cotangents }: GradientCall,
): Promise<Gradients<Float32Array>> {
  const { q, k, v } = inputsOf(problem), { dOut, dLse } = cotangentTensors(problem, cotangents);
  const { backward } = await engine.attentionWithGradient(q, k, v, meaning);
  return numbersOf(await backward(dOut, { dLse }));
}

/** What the oracle gives. */
export function exactGradients(
  { problem, meaning, cotangents }: GradientCall,
): Gradients<Float64Array> {
  const { q, k, v } = inputsOf(problem), { dOut, dLse } = cotangentTensors(problem, cotangents);
  return numbersOf(referenceAttentionBackward(dOut, q, k, v, { ...meaning, dLse }));
}

/** What the plain formula in f32 gives. */
export function naiveGradients(call: GradientCall): Gradients<Float32Array> {
  return naiveAttentionBackward(call.problem, call.meaning, call.cotangents);
}

/** Throws where gradients differ in a bit, or there are not the same ones. */
export function assertSameGradients(actual: Gradients, expected: Gradients, what = ""): void {
  for (const name of allNames) {
    assertSameBits(actual[name] ?? [], expected[name] ?? [], `${name} ${what}`);
  }
}

/** Throws where gradients differ by more than some roundings, or one is no number. */
export function assertCloseGradients(actual: Gradients, expected: Gradients): void {
  for (const name of allNames) {
    const [found, wanted] = [actual[name] ?? [], Array.from(expected[name] ?? [])];
    assert(found.length === wanted.length, name);
    wanted.forEach((x, at) =>
      assert(Math.abs(found[at] - x) < 1e-6 * (1 + Math.abs(x)), `${name}: ${found[at]}, ${x}`)
    );
  }
}

/** What gradients are measured against. */
export interface Expected {
  readonly exact: Gradients;
  readonly naive: Gradients;
}

/**
 * Throws where a gradient's error exceeds the budget. Of root mean squares: gradients are sums of
 * differences, whose largest errors are those of a few rows.
 */
export function assertGradientsWithinBudget(
  ours: Gradients,
  { exact, naive }: Expected,
  what = "",
  dtypes: Partial<Gradients<DType>> = {},
): void {
  for (const name of allNames) {
    const [x, plain, wanted] = [ours, naive, exact].map((gradients) => gradients[name] ?? []);
    const errors = measure(x, plain, wanted, rootMeanSquare);
    const band = halfUlpOf(dtypes[name] ?? "f32", errors.largest);
    assertWithinBudget(`${name} ${what}`, errors, band);
  }
}

/** What a call must give: worked out once, for all engines. */
export function gradientExpectation(
  call: GradientCall,
): (gradients: Gradients, what?: string) => void {
  const expected = once(() => ({ exact: exactGradients(call), naive: naiveGradients(call) }));
  return (gradients, what) => assertGradientsWithinBudget(gradients, expected(), what);
}
