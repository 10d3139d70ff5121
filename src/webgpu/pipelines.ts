/**
 * Pipelines: compiled once for a device and a source, however many ask at the same time.
 *
 * @module
 */

import type { Gpu } from "./device.ts";

const caches = new WeakMap<GPUDevice, Map<string, Promise<GPUComputePipeline>>>();

/** The pipeline of a source. */
export function pipelineOf(gpu: Gpu, code: string, label: string): Promise<GPUComputePipeline> {
  let cache = caches.get(gpu.device);
  if (cache === undefined) caches.set(gpu.device, cache = new Map());
  const known = cache.get(code);
  if (known !== undefined) return known;
  const made = compile(gpu, code, label);
  cache.set(code, made);
  made.catch(() => cache.delete(code)); // A failure is not kept: the next call tries again.
  return made;
}

const ready = new WeakMap<GPUDevice, Map<string, GPUComputePipeline>>();

/**
 * A small pipeline, compiled on the spot and found again by its name. What is wrong with it, an error
 * scope of the caller's tells.
 */
export function pipelineNow(
  { device }: Gpu,
  name: string,
  codeOf: () => string,
): GPUComputePipeline {
  let known = ready.get(device);
  if (known === undefined) ready.set(device, known = new Map());
  let pipeline = known.get(name);
  if (pipeline === undefined) {
    const label = `FlashTile ${name}`;
    const module = device.createShaderModule({ label, code: codeOf() });
    const compute = { module, entryPoint: "main" };
    known.set(name, pipeline = device.createComputePipeline({ label, layout: "auto", compute }));
  }
  return pipeline;
}

async function compile(
  { device, guard }: Gpu,
  code: string,
  label: string,
): Promise<GPUComputePipeline> {
  device.pushErrorScope("validation");
  const module = device.createShaderModule({ label: `FlashTile ${label}`, code });
  const scope = device.popErrorScope();
  const error = await guard(scope);
  if (error !== null) throw new Error(await explain(module, code, label, error.message));
  try {
    return await guard(device.createComputePipelineAsync({
      label: `FlashTile ${label}`,
      layout: "auto",
      compute: { module, entryPoint: "main" },
    }));
  } catch (cause) {
    if ((cause as Error).name === "DeviceLostError") throw cause;
    throw new Error(await explain(module, code, label, (cause as Error).message), { cause });
  }
}

/** What the compiler says, with the lines that it says it of. */
async function explain(
  module: GPUShaderModule,
  code: string,
  label: string,
  fallback: string,
): Promise<string> {
  const lines = code.split("\n");
  const { messages } = await module.getCompilationInfo();
  const errors = messages.filter(({ type }) => type === "error").map(
    ({ lineNum, linePos, message }) =>
      `line ${lineNum}, column ${linePos}: ${message}\n  ${lines[lineNum - 1] ?? ""}`,
  );
  return `Cannot compile the shader ${label}: ${errors.length > 0 ? errors.join("\n") : fallback}`;
}
