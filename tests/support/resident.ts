/**
 * Tensors in an engine's own memory with any strides, as callers make them.
 *
 * @module
 */

import type { Engine, HostData, HostTensor, Tensor } from "@flashtile/attention";

/** A tensor in an engine's memory. */
export interface ResidentTensor extends Tensor {
  free(): void;
}

/** Copies a tensor into an engine's memory. Its `data` is read anew each time: memory may grow. */
export function resident(engine: Engine, tensor: Tensor): ResidentTensor {
  const memory = engine.tensor([tensor.data.length]);
  memory.data.set(tensor.data);
  return {
    ...tensor,
    get data() {
      return memory.data;
    },
    free: () => memory.free(),
  };
}

/** The same for a tensor of any element type: its bits are copied. */
export function residentOf(engine: Engine, tensor: HostTensor): HostTensor & { free(): void } {
  const memory = engine.tensor([tensor.data.length], tensor.dtype ?? "f32");
  bytesOf(memory.data).set(bytesOf(tensor.data));
  return {
    ...tensor,
    get data() {
      return memory.data;
    },
    free: () => memory.free(),
  };
}

function bytesOf({ buffer, byteOffset, byteLength }: HostData): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}
