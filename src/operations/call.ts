/**
 * Calls: what was read becomes a result, the same way for every operation. A backend is found, says what it
 * cannot do before anything is allocated, places for the results are made, and given back where it fails.
 *
 * @module
 */

import { throwIfAborted } from "../check/errors.ts";
import { bare } from "../check/words.ts";
import type { Backend, Control, Machinery } from "../contract/backend.ts";
import type { Operation } from "../contract/operation.ts";
import { type ArrayKind, type HeldArray, zeros } from "../tensor/arrays.ts";
import { bytesPerElement, type DType, type HostData, isGpuBuffer } from "../tensor/dtype.ts";
import { useAll } from "../tensor/lending.ts";
import {
  type AnyTensor,
  type AnyView,
  copyView,
  type Layout,
  type ReadData,
  sizeOf,
  type Tensor,
  type View,
  viewOf,
} from "../tensor/tensor.ts";

/** How a result is stored: as elements of a type, in an array of the kind of another, or in a buffer. */
export interface Storage {
  readonly dtype: DType;
  readonly like: ReadData;
}

/** A tensor that is to be made. */
export interface NewTensor extends Storage {
  readonly shape: readonly number[];
}

/** Tensors for results, by name. */
export type Made = Readonly<Record<string, AnyTensor>>;

/** A call as it was read: nothing of it is read from the caller's objects again. */
export interface Call<Plan, Target, Result> {
  readonly operation: Operation<Plan, Target>;
  readonly plan: Plan;
  readonly control: Control;
  /** What is made for its results: all in arrays, or all in buffers. */
  readonly results: Readonly<Record<string, NewTensor>>;
  /** Where the results go, by what was made. */
  target(made: Made): Target;
  /** What the caller gets when they are there. */
  finish(made: Made): Result;
}

/** By what it has, since whoever replaces `Promise` has promises of other kinds. */
function isHere<M extends Machinery>(asked: M | Promise<M>): asked is M {
  return "serving" in asked;
}

/**
 * What the caller gets of a result that was made for it, or made apart since its own tensor was read meanwhile.
 *
 * @param own The caller's tensor as backends see it, and as it was given.
 */
export function handBack(
  { out, apart }: Made,
  layout: Layout,
  own: AnyView | null,
  given: AnyTensor | null,
): AnyTensor {
  if (apart !== undefined) copyView(viewOf(apart, layout) as View, own as View);
  return out ?? given!;
}

/** Runs a call. */
export async function run<Plan, Target, Result>(
  asked: Machinery | Promise<Machinery>,
  call: Call<Plan, Target, Result>,
): Promise<Result> {
  const leave = useAll(Object.values(call.operation.inputs(call.plan)));
  try {
    return await runUsed(asked, call);
  } finally {
    leave();
  }
}

/** The same where all that it reads and writes is in use already. */
export async function runUsed<Plan, Target, Result>(
  asked: Machinery | Promise<Machinery>,
  call: Call<Plan, Target, Result>,
): Promise<Result> {
  const { operation, plan } = call, control = bare(call.control), buffers: GPUBuffer[] = [];
  try {
    // Small calls are faster without a wait.
    const machinery = isHere(asked) ? asked : await asked;
    const serving = machinery.serving(operation, plan, control);
    const backend = isHere(serving) ? serving : await serving;
    backend.check(operation, plan, control);
    throwIfAborted(control.signal);
    const isOnGpu = Object.values(call.results).some(({ like }) => isGpuBuffer(like));
    const made = isOnGpu ? await makeOnGpu(backend, call.results, buffers) : makeOnHost(call);
    await backend.run(operation, plan, call.target(made), control);
    return call.finish(made);
  } catch (error) {
    for (const buffer of buffers) buffer.destroy();
    throw error;
  }
}

/** Checks that a backend runs calls to their end. */
export function checkSync(
  backend: Backend,
  { name, cannot }: { readonly name: string; readonly cannot: string },
): asserts backend is Backend & Required<Pick<Backend, "runSync">> {
  if (backend.runSync !== undefined) return;
  throw new Error(
    `${cannot}: the ${backend.name} backend has no \`${name}Sync()\`, use \`${name}()\``,
  );
}

/** Runs a call to its end. */
export function runSync<Plan, Target, Result>(
  backend: Backend,
  call: Call<Plan, Target, Result>,
): Result {
  const { operation, plan } = call, control = bare(call.control);
  checkSync(backend, operation);
  const leave = useAll(Object.values(operation.inputs(plan)));
  try {
    backend.check(operation, plan, control);
    throwIfAborted(control.signal);
    const made = makeOnHost(call);
    backend.runSync(operation, plan, call.target(made), control);
    return call.finish(made);
  } finally {
    leave();
  }
}

function makeOnHost(
  { operation: { cannot }, results }: Pick<Call<never, never, unknown>, "operation" | "results">,
): Made {
  const made = bare<Record<string, AnyTensor>>();
  for (const name of Object.keys(results)) made[name] = makeTensor(results[name], cannot);
  return made;
}

/** Notes each buffer as it is made: where the next cannot be had, it goes back. */
async function makeOnGpu(
  backend: Backend,
  results: Call<never, never, unknown>["results"],
  buffers: GPUBuffer[],
): Promise<Made> {
  const made = bare<Record<string, AnyTensor>>();
  for (const [name, { shape, dtype }] of Object.entries(results)) {
    const data = await backend.createBuffer!(shape, dtype);
    buffers.push(data);
    made[name] = { data, shape: [...shape], dtype };
  }
  return made;
}

/** Kind of array that holds what is stored so. */
function kindFor({ dtype, like }: Storage): ArrayKind {
  return dtype === "f32" ? "Float32Array" : (like as HeldArray).kind;
}

/** A tensor of zeros in an array. */
function makeTensor(result: NewTensor, cannot: string): Tensor<HostData> {
  const { dtype, shape } = result;
  try {
    return { data: zeros(kindFor(result), sizeOf(shape)) as HostData, shape: [...shape], dtype };
  } catch (cause) {
    const bytes = sizeOf(shape) * bytesPerElement(dtype);
    throw new RangeError(`${cannot}: no ${bytes} bytes for a result of shape [${shape}]`, {
      cause,
    });
  }
}
