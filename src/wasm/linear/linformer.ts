/**
 * Linformer's attention on Wasm: two products, and attention to what comes of them.
 *
 * @module
 */

import type { AttendingPass } from "../../operations/linear/operation.ts";
import type { HostTarget } from "../../operations/attention/target.ts";
import type { TensorPlan } from "../../operations/attention/plan.ts";
import type { HostBackwardPlan } from "../../operations/backward/plan.ts";
import type { LinformerGradients, LinformerPlan } from "../../operations/linformer/tokens.ts";
import type { Extents, View } from "../../tensor/tensor.ts";
import { forward } from "../attention/forward.ts";
import { backward } from "../backward/backward.ts";
import type { Machine } from "../team/machine.ts";
import type { Step } from "../team/steps.ts";
import { withFloats } from "./made.ts";
import { matrix, type Product, products } from "./product.ts";

/** A plan whose tensors are in arrays. */
type HostPlan = LinformerPlan<View>;

/** Shapes of what is made. */
function shapesOf({ forward: { batch, keyHeads, dim, valueDim }, mixtures }: HostPlan): Extents[] {
  return [dim, valueDim].map((columns) => [batch, keyHeads, mixtures, columns]);
}

/** For each head of a tensor. */
function eachHead<T>({ shape: [batches, heads] }: View, make: (b: number, h: number) => T): T[] {
  const count = batches * heads;
  return Array.from({ length: count }, (_, at) => make(Math.floor(at / heads), at % heads));
}

/** made = projection x. */
function mixing(projection: View, x: View, made: View): Product[] {
  return eachHead(x, (b, h) => ({
    terms: [{ a: matrix(projection, b, h), x: matrix(x, b, h) }],
    y: matrix(made, b, h),
  }));
}

/** Makes keys and values. */
function* mix(machine: Machine, plan: HostPlan, k: View, v: View): Generator<Step> {
  const { forward: { kv }, projectK, projectV } = plan;
  yield* products(machine, mixing(projectK, kv.k, k));
  yield* products(machine, mixing(projectV ?? projectK, kv.v, v));
}

/** The plan of attention to what was made. */
function planOf({ forward }: HostPlan, k: View, v: View): TensorPlan<View> {
  return { ...forward, kv: { kind: "tensors", k, v } };
}

/** The function. */
export function linformerAttention(
  machine: Machine,
  plan: LinformerPlan,
  target: HostTarget,
): Generator<Step> {
  const host = plan as HostPlan;
  return withFloats(machine.arena, shapesOf(host), function* (k, v) {
    yield* mix(machine, host, k, v);
    yield* forward(machine, planOf(host, k, v), target);
  });
}

/** dx = projection^T dMade. */
function unmixing(projection: View, made: View, dx: View): Product[] {
  return eachHead(dx, (b, h) => ({
    terms: [{ a: matrix(projection, b, h, true), x: matrix(made, b, h) }],
    y: matrix(dx, b, h),
  }));
}

/** A pair of gradients by what was made, and what it was made of. */
type Source = readonly [made: View, x: View];

/** dProjection = the sum of dMade x^T, over batches, and over the heads that share it. */
function projecting(dProjection: View, sources: readonly Source[]): Product[] {
  const [, heads] = dProjection.shape;
  return Array.from({ length: heads }, (_, head) => ({
    terms: sources.flatMap(([made, x]) =>
      eachHead(made, (b, h) => ({ a: matrix(made, b, h), x: matrix(x, b, h, true), h }))
        .filter(({ h }) => heads === 1 || h === head)
    ),
    y: matrix(dProjection, 0, head),
  }));
}

/** The gradients: keys and values are made again, which costs less than to keep them. */
export function linformerGradients(
  machine: Machine,
  { plan, pass }: AttendingPass<LinformerPlan>,
  target: LinformerGradients,
): Generator<Step> {
  const host = plan as HostPlan,
    { projectK, projectV } = host,
    { k: givenK, v: givenV } = host.forward.kv;
  const { dq, dk, dv, dProjectK, dProjectV } = target as LinformerGradients<View>;
  const shapes = [...shapesOf(host), ...shapesOf(host)];
  return withFloats(machine.arena, shapes, function* (k, v, dMadeK, dMadeV) {
    yield* mix(machine, host, k, v);
    const whole = { ...pass, forward: planOf(host, k, v) } as HostBackwardPlan;
    const none = { dBias: null, dSinks: null, captured: new Map() };
    yield* backward(machine, whole, { dq, dk: dMadeK, dv: dMadeV, ...none });
    yield* products(machine, unmixing(projectK, dMadeK, dk));
    yield* products(machine, unmixing(projectV ?? projectK, dMadeV, dv));
    const ofK: Source = [dMadeK, givenK], ofV: Source = [dMadeV, givenV];
    yield* products(machine, projecting(dProjectK, dProjectV === null ? [ofK, ofV] : [ofK]));
    if (dProjectV !== null) yield* products(machine, projecting(dProjectV, [ofV]));
  });
}
