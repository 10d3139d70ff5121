/**
 * attention(): validate, plan, run.
 *
 * @module
 */

import { throwIfAborted } from "../../check/errors.ts";
import type { Backend } from "../../contract/backend.ts";
import { type ArrayKind, HeldArray, zeros } from "../../tensor/arrays.ts";
import {
  bytesPerElement,
  type DType,
  type Elements,
  type HostData,
  type TensorData,
} from "../../tensor/dtype.ts";
import { useAll } from "../../tensor/lending.ts";
import {
  type AnyTensor,
  type AnyView,
  copyView,
  isOnHost,
  sizeOf,
  type Tensor,
  viewOf,
} from "../../tensor/tensor.ts";
import type { AttentionOptions } from "./options.ts";
import {
  type AttentionCall,
  type AttentionPlan,
  dataOf,
  mayBeRead,
  readAttention,
  type Storage,
} from "./plan.ts";
import type { Target } from "./target.ts";

/** Result of `attention()`. */
export interface AttentionResult<Data extends TensorData = Float32Array> {
  /**
   * `[B, Hq, Nq, Dv]` in the rank and layout of `q`, stored as `q` is; the tensor passed as `out`,
   * if one was. On the GPU where `q` is: the buffer is the caller's to destroy.
   */
  readonly out: Tensor<Data>;
  /**
   * Natural log-sum-exp of each row's scores, f32, `[B, Hq, Nq]`, on the GPU where `out` is; with
   * `lse: true` only.
   */
  readonly lse?: Tensor<LseData<Data>>;
}

/** What holds `lse`: a buffer where the result is one, else an array that is the caller's alone. */
export type LseData<Data extends TensorData> = Data extends GPUBuffer ? GPUBuffer
  : Float32Array<ArrayBuffer>;

/** What holds a result that is stored as `Data` is: an array over a buffer of its own, never shared. */
export type OwnData<Data extends TensorData> = Data extends GPUBuffer ? GPUBuffer
  : Data extends Float32Array ? Float32Array<ArrayBuffer>
  : Data extends Uint16Array ? Uint16Array<ArrayBuffer>
  : Float16Array<ArrayBuffer>;

/** Result of `attention()` with `lse: true`. */
export type AttentionResultWithLse<Data extends TensorData = Float32Array> = Required<
  AttentionResult<Data>
>;

/** Result of `attention()` with the tensor passed as `out`. */
export interface AttentionResultInto<Out extends AnyTensor> {
  /** That tensor. */
  readonly out: Out;
  /** As in {@linkcode AttentionResult}. */
  readonly lse?: Tensor<LseData<Out["data"]>>;
}

/** Options, and what the type of the result depends on of them. */
export type Asking<
  Options,
  Lse extends boolean | undefined,
  Out extends AnyTensor | undefined = undefined,
> = Options & { readonly lse?: Lse | undefined; readonly out?: Out | undefined };

/**
 * Result of a call for queries in `Data`: with `lse` where `Lse` is `true`, and the tensor `Out` where
 * one was passed. Where the options only may have an `out`, that may be of any storage.
 */
export type ResultOf<
  Data extends TensorData,
  Lse extends boolean | undefined,
  Out extends AnyTensor | undefined = undefined,
> = ([Out] extends [undefined] ? AttentionResult<OwnData<Data>>
  : [AnyTensor] extends [Out] ? AttentionResult<Data>
  : AttentionResultInto<Exclude<Out, undefined>>) extends infer Result
  ? [Lse] extends [true] ? Required<Result> : Result
  : never;

/** The same with what rounding took from `lse`, where that is kept. */
export interface KeptResult<Data extends TensorData> extends AttentionResultWithLse<Data> {
  readonly lseRest: Tensor<LseData<Data>>;
}

/**
 * Whether a backend is there already: small calls are faster without a wait. By what it has, since
 * whoever replaces `Promise` has promises of other kinds.
 */
export function isHere(asked: Backend | Promise<Backend>): asked is Backend {
  return "run" in asked;
}

/** Runs a call on a backend. */
export async function runAttention<Data extends TensorData>(
  backend: Backend | Promise<Backend>,
  q: Tensor<Data>,
  k: AnyTensor,
  v: AnyTensor,
  options?: AttentionOptions,
): Promise<AttentionResult<Data>> {
  return await runCall(backend, readAttention(q, k, v, options));
}

/** Runs a call that was read on a backend. */
export async function runCall<Data extends TensorData>(
  asked: Backend | Promise<Backend>,
  call: AttentionCall,
): Promise<AttentionResult<Data>> {
  const leave = useAll(dataOf(call.plan));
  try {
    return await runUsed(asked, call);
  } finally {
    leave();
  }
}

/** The same where all that it reads and writes is in use already. */
export async function runUsed<Data extends TensorData>(
  asked: Backend | Promise<Backend>,
  call: AttentionCall,
): Promise<AttentionResult<Data>> {
  const { plan, control } = call;
  let results: Results | undefined;
  try {
    const chosen = isHere(asked) ? asked : await asked;
    const backend = chosen.choose === undefined ? chosen : await chosen.choose(plan, control);
    backend.check(plan, control);
    throwIfAborted(control.signal);
    results = HeldArray.is(call.storage.like) ? placeOnHost(call) : await placeOnGpu(backend, call);
    await backend.run(plan, results.target, control);
    return results.finish() as AttentionResult<Data>;
  } catch (error) {
    results?.discard?.();
    throw error;
  }
}

/** Runs a call on a backend to its end. */
export function runAttentionSync<Data extends TensorData>(
  backend: Backend,
  q: Tensor<Data>,
  k: AnyTensor,
  v: AnyTensor,
  options?: AttentionOptions,
): AttentionResult<Data> {
  checkSync(backend);
  return runCallSync(backend, readAttention(q, k, v, options));
}

function checkSync(
  backend: Backend,
): asserts backend is Backend & Required<Pick<Backend, "runSync">> {
  if (backend.runSync !== undefined) return;
  throw new Error(
    `Cannot attend: the ${backend.name} backend has no \`attentionSync()\`, use \`attention()\``,
  );
}

/** Runs a call that was read on a backend to its end. */
export function runCallSync<Data extends TensorData>(
  backend: Backend,
  call: AttentionCall,
): AttentionResult<Data> {
  checkSync(backend);
  const { plan, control } = call, leave = useAll(dataOf(plan));
  try {
    backend.check(plan, control);
    throwIfAborted(control.signal);
    const results = placeOnHost(call);
    backend.runSync(plan, results.target, control);
    return results.finish() as AttentionResult<Data>;
  } finally {
    leave();
  }
}

/** Where the results of a call go. */
interface Results {
  readonly target: Target;
  finish(): { out: AnyTensor; lse?: AnyTensor };
  /** Frees what was made for them, where that does not happen by itself. */
  discard?(): void;
}

/** Finds a place for the results in arrays. */
function placeOnHost({ plan, out: result, storage, keepsRest }: AttentionCall): Results {
  const { layout } = plan.written, like = storage.like as HeldArray<Elements>;
  const ofRows = (isAsked: unknown) =>
    isAsked ? makeTensor("Float32Array", "f32", plan.lseShape!) : undefined;
  const rows = { lse: ofRows(plan.lseShape), lseRest: ofRows(keepsRest) }, given = plan.out;
  if (given === null || !isOnHost(given)) {
    const out = makeTensor(kindFor(storage), storage.dtype, plan.outShape);
    return resultsOf(plan, { out, ...rows }, viewOf(out, layout));
  }
  if (!mayBeRead(plan, given)) return resultsOf(plan, { out: result!, ...rows }, given);
  // Written in place, a tile could overwrite what a later one still reads.
  const apart = viewOf(makeTensor(like.kind, given.dtype, plan.outShape), layout);
  const results = resultsOf(plan, { out: result!, ...rows }, apart);
  return {
    target: results.target,
    finish: () => {
      copyView(apart, given);
      return results.finish();
    },
  };
}

/** Kind of array that holds what is stored so. */
export function kindFor({ dtype, like }: Storage): ArrayKind {
  return dtype === "f32" ? "Float32Array" : (like as HeldArray).kind;
}

/** The same on the GPU. */
async function placeOnGpu(
  backend: Backend,
  { plan, out: result, storage, keepsRest }: AttentionCall,
): Promise<Results> {
  const made: GPUBuffer[] = [];
  const make = async (shape: readonly number[], dtype: DType): Promise<Tensor<GPUBuffer>> => {
    const data = await backend.createBuffer!(shape, dtype);
    made.push(data);
    return { data, shape, dtype };
  };
  const discard = () => made.forEach((buffer) => buffer.destroy());
  try {
    const lse = plan.lseShape === null ? undefined : await make(plan.lseShape, "f32");
    const out = result ?? await make(plan.outShape, storage.dtype);
    const lseRest = keepsRest ? await make(plan.lseShape!, "f32") : undefined;
    const view = plan.out ?? viewOf(out, plan.written.layout);
    const results = resultsOf(plan, { out, lse, lseRest }, view);
    return { ...results, discard };
  } catch (error) {
    discard();
    throw error;
  }
}

function resultsOf(
  plan: AttentionPlan,
  { out, lse, lseRest }: { out: AnyTensor; lse?: AnyTensor; lseRest?: AnyTensor },
  view: AnyView,
): Results {
  const ofRows = (rows?: AnyTensor) => rows === undefined ? null : viewOfLse(rows, plan);
  const result = { out, ...(lse && { lse }), ...(lseRest && { lseRest }) };
  return {
    target: { out: view, lse: ofRows(lse), lseRest: ofRows(lseRest) } as Target,
    finish: () => result,
  };
}

/**
 * A tensor of zeros for a result.
 *
 * @throws {RangeError} When there is no memory for it.
 */
export function makeTensor(
  kind: ArrayKind,
  dtype: DType,
  shape: readonly number[],
): Tensor<HostData> {
  try {
    return { data: zeros(kind, sizeOf(shape)) as HostData, shape, dtype };
  } catch (cause) {
    const bytes = sizeOf(shape) * bytesPerElement(dtype);
    throw new RangeError(`Cannot attend: no ${bytes} bytes for a result of shape [${shape}]`, {
      cause,
    });
  }
}

function viewOfLse(lse: AnyTensor, plan: AttentionPlan): AnyView {
  const shape = [plan.batch, plan.queryHeads, plan.queries, 1] as const;
  return viewOf({ data: lse.data, shape, dtype: "f32" }, "bhnd");
}
