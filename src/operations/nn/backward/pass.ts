/**
 * What all layers with gradients have in common: where they run, what they are computed of, and how a backward pass is read
 * and run.
 *
 * @module
 */

import { throwIfAborted } from "../../../check/errors.ts";
import { readOptions } from "../../../check/words.ts";
import type { Backend, Machinery } from "../../../contract/backend.ts";
import { isGpuBuffer } from "../../../tensor/dtype.ts";
import { copyRowsIn } from "../../../tensor/rows.ts";
import { type AnyTensor, contiguousStrides, type View } from "../../../tensor/tensor.ts";
import { type NewTensor, runUsed } from "../../call.ts";
import { checkHost } from "../../host.ts";
import { callOf, type Results, type RowsCall } from "../call.ts";
import { cannotOf } from "../options.ts";
import { piecesOf, placedOf, type PlacedTensor, readShaped, rowOf } from "../rows.ts";
import type { RowsPlan } from "../tokens.ts";
import { layerGradientNames, type LayerPassOptions } from "./options.ts";
import { cannotPass } from "./tokens.ts";

/** A layer that has run. */
export interface Ran extends Results {
  readonly backend: Backend;
}

/** Checks that a tensor has the storage that gradients are computed in. */
function checkFloat(name: string, { dtype, data }: PlacedTensor, doing: string): void {
  if (isGpuBuffer(data)) {
    throw new TypeError(`${doing}: \`${name}\` is a GPUBuffer, gradients are computed on the CPU`);
  }
  if (dtype === "f32") return;
  throw new TypeError(
    `${doing}: \`${name}\` must be f32, got ${dtype}: gradients of layers are computed and summed in f32, ` +
      "make a Float32Array of it",
  );
}

/** Runs a layer where gradients can be computed; all that it uses is in use already. */
export async function runForward<Plan extends RowsPlan>(
  asked: Machinery | Promise<Machinery>,
  name: string,
  call: RowsCall<Plan>,
): Promise<Ran> {
  const doing = cannotOf(name), backend = checkHost(await asked, name, doing, {});
  for (const [input, used] of Object.entries(call.plan.used)) {
    if (used !== null) checkFloat(input, used as PlacedTensor, doing);
  }
  return { backend, ...await runUsed(backend, callOf(call)) };
}

/** Reads a gradient that a backward pass is given. */
export function readGradient(
  name: string,
  given: unknown,
  shape: readonly number[],
): PlacedTensor {
  const placed = readShaped(name, given, shape, cannotPass);
  checkFloat(name, placed, cannotPass);
  return placed;
}

/** Reads what a backward pass is told. */
export function readPass<Options extends LayerPassOptions>(
  pass: Options,
  names: readonly (keyof Options & string)[] = layerGradientNames,
): Options {
  return readOptions(pass, names, cannotPass);
}

/** A gradient that is to be made: contiguous, f32, in an array as another is. */
export function gradientLike({ data, shape }: PlacedTensor, of = shape): NewTensor {
  return { like: data, dtype: "f32", shape: of };
}

/** A result of one axis as a row; `null` where it was not made. */
export function rowMade(made: AnyTensor | undefined): View | null {
  return made === undefined ? null : rowOf(placedOf(made));
}

/** The only piece of a matrix: its rows are at equal distances. */
export function matrixOf(placed: PlacedTensor): View {
  return piecesOf(placed.shape.slice(0, 1), [placed])[0][0]!;
}

/** Pieces of tensors that have all axes but the last in common, by name. */
export function piecesBy<Name extends string>(
  tensors: Readonly<Record<Name, PlacedTensor | null>>,
  leading: readonly number[],
): Record<Name, View>[] {
  const names = Object.keys(tensors) as Name[];
  return piecesOf(leading, names.map((name) => tensors[name])).map((views) =>
    Object.fromEntries(names.map((name, at) => [name, views[at]])) as Record<Name, View>
  );
}

/** A gradient that is another's: a copy of it, contiguous. */
export function copyOf(from: PlacedTensor, made: AnyTensor): AnyTensor {
  const target = made.data as Float32Array, leading = from.shape.slice(0, -1);
  let at = 0;
  for (const [view] of piecesOf(leading, [from])) {
    const [, , rows, columns] = view!.shape, end = at + rows * columns;
    copyRowsIn(view!, 0, 0, 0, rows, target.subarray(at, end));
    at = end;
  }
  return made;
}

/** The same where nothing has to be computed: gradients by what was added. */
export function copiesOf<Name extends string>(
  backend: Backend,
  dOut: PlacedTensor,
  names: readonly Name[],
  { signal }: LayerPassOptions,
): Record<Name, AnyTensor> {
  backend.checkOpen();
  throwIfAborted(signal);
  const shape = [...dOut.shape], length = contiguousStrides([1, ...shape])[0];
  return Object.fromEntries(names.map((name) => {
    const data = new Float32Array(length);
    return [name, copyOf(dOut, { data, shape, dtype: "f32" })];
  })) as Record<Name, AnyTensor>;
}
