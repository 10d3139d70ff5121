/**
 * Views over scores: a bias or a mask as it is read for each of `[B, Hq, Nq, Nk]`, with stride 0 along
 * axes that it has only one element of.
 *
 * @module
 */

import { type HeldArray, readOf } from "./arrays.ts";
import { type BooleanDType, contiguousStrides, type Extents, type Tensor } from "./tensor.ts";

export type { Extents } from "./tensor.ts";

/** Where the elements for `[B, Hq, Nq, Nk]` are. */
export interface Broadcast {
  readonly shape: Extents;
  readonly strides: Extents;
  readonly offset: number;
}

/** A bias: f32. */
export interface BroadcastView extends Broadcast {
  readonly data: HeldArray<Float32Array> | GPUBuffer;
  readonly dtype: "f32";
}

/** A mask. */
export interface MaskView extends Broadcast {
  readonly data: HeldArray<Uint8Array | Uint32Array> | GPUBuffer;
  readonly dtype: BooleanDType;
}

/** How a checked tensor is read over all scores; leading axes may be missing. */
export function broadcastOf(
  tensor: Pick<Tensor, "shape" | "strides" | "offset">,
  extents: Extents,
): Broadcast {
  const { shape } = tensor, missing = 4 - shape.length;
  const strides = readOf(tensor, "strides") ?? contiguousStrides(shape);
  const stride = (axis: number) =>
    axis < missing || shape[axis - missing] === 1 ? 0 : strides[axis - missing];
  return {
    shape: extents,
    strides: [stride(0), stride(1), stride(2), stride(3)],
    offset: readOf(tensor, "offset") ?? 0,
  };
}
