/**
 * Bindings: the parts of buffers that a shader reads and writes.
 *
 * @module
 */

/** A part of a buffer. */
export interface Binding {
  readonly buffer: GPUBuffer;
  readonly offset: number;
  readonly size: number;
}

/** Binds by position; what is `null` is not there. */
export function bindGroup(
  device: GPUDevice,
  pipeline: GPUComputePipeline,
  bindings: readonly (Binding | null)[],
): GPUBindGroup {
  const entries = bindings.flatMap((one, binding) =>
    one === null
      ? []
      : [{ binding, resource: { buffer: one.buffer, offset: one.offset, size: one.size } }]
  );
  return device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
}
