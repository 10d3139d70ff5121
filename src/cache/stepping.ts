/**
 * Steps are run: by a backend in one go, or where calls run to their end at once, one thing after the other.
 * Loaded at the first step.
 *
 * @module
 */

import { throwIfAborted } from "../check/errors.ts";
import type { Backend } from "../contract/backend.ts";
import type { PageStore } from "../contract/pages.ts";
import { operationOf, placed } from "../operations/attention/operation.ts";
import type { AttentionResult } from "../operations/attention/result.ts";
import { runSync, runUsed } from "../operations/call.ts";
import { rope as turning } from "../operations/rope/operation.ts";
import type { ReadList, RopeCall } from "../operations/rope/options.ts";
import { planRotation } from "../operations/rope/plan.ts";
import type { Rotation } from "../operations/rope/rotation.ts";
import { cacheStep } from "../operations/step/operation.ts";
import { HeldArray } from "../tensor/arrays.ts";
import type { Elements, TensorData } from "../tensor/dtype.ts";
import { copyRowsIn } from "../tensor/rows.ts";
import { type AnyView, contiguousStrides, sizeOf, type View, viewOf } from "../tensor/tensor.ts";
import type { StepCall } from "./step.ts";

/** Runs a step that was read; `append` takes its keys, turned, and its values into the pages. */
export async function runStep<Data extends TensorData>(
  backend: Backend,
  store: PageStore,
  { attention, tokens: { k, v }, rope }: StepCall,
  append: (k: AnyView) => void,
): Promise<AttentionResult<Data>> {
  const { plan, control } = attention, rotation = rope && rotationOf(backend, rope);
  backend.check(operationOf(plan), plan, control);
  throwIfAborted(control.signal);
  if (backend.runSync === undefined) {
    const call = placed(attention);
    const step = { attention: plan, k, v, rotation, append };
    return await runUsed(backend, { ...call, operation: cacheStep, plan: step }) as never;
  }
  const [q, keys] = rotation === null ? [plan.q, k] : turnApart(backend, rotation);
  append(keys);
  store.flush?.();
  return await runUsed(backend, placed({ ...attention, plan: { ...plan, q } })) as never;
}

/** Turns copies of rows. */
function turnApart(backend: Backend, rotation: Rotation): readonly AnyView[] {
  const plan = { ...rotation, views: (rotation.views as View[]).map(copyOf) };
  runSync(backend, {
    ...{ operation: turning, plan, control: {}, results: {} },
    ...{ target: () => null, finish: () => {} },
  });
  return plan.views;
}

/** The same rows side by side. */
function copyOf(view: View): View {
  const { shape, dtype } = view, [batch, heads, rows, columns] = shape, each = rows * columns;
  const elements: Elements = new (dtype === "f32" ? Float32Array : Uint16Array)(sizeOf(shape));
  for (let head = 0; head < batch * heads; head++) {
    const part = elements.subarray(head * each, (head + 1) * each);
    if (each > 0) copyRowsIn(view, Math.floor(head / heads), head % heads, 0, rows, part);
  }
  const strides = contiguousStrides(shape) as unknown as View["strides"];
  return { data: new HeldArray<Elements>(elements), dtype, shape, strides, offset: 0 };
}

/** What angles depend on, and the rotation that has them. */
interface Known {
  readonly key: string;
  readonly rotation: Rotation;
}

/** Of each backend the last rotation: the layers of a model turn alike, one after the other. */
const known = new WeakMap<Backend, Known>();

/** Numbers of a table that is kept, at most. */
const mostKept = 16 * 1024;

/** All that angles depend on, in words. */
function keyOf({ q, k, positions, options }: RopeCall): string {
  const { layout, theta, style, dims, scaling = {} } = options;
  const numbers = (one: unknown) => typeof one === "object" ? (one as ReadList).numbers : one;
  const shape = typeof positions === "number" ? "" : positions.shape;
  const parts = [q.shape, k!.shape, layout, theta, style, dims, shape, numbers(positions)];
  return [...parts, ...Object.entries(scaling).flatMap(([name, one]) => [name, numbers(one)])].join(
    ";",
  );
}

/** The rotation of a call, whose angles are worked out once for calls that turn alike. */
function rotationOf(backend: Backend, call: RopeCall): Rotation {
  const { q, k, options: { layout = "bhnd" } } = call;
  const key = keyOf(call), last = known.get(backend);
  if (last?.key === key) {
    return { ...last.rotation, views: [viewOf(q, layout), viewOf(k!, layout)] };
  }
  const rotation = planRotation(call, false);
  if (rotation.table.length <= mostKept) {
    known.set(backend, { key, rotation: { ...rotation, views: [] } });
  }
  return rotation;
}
