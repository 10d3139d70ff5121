/**
 * Pipelines: compiled once for a device and a source, however many ask at the same time.
 *
 * @module
 */

import { DeviceLostError, reasonOf } from "../../check/errors.ts";
import type { Gpu } from "./device.ts";

const caches = new WeakMap<GPUDevice, Map<string, Promise<GPUComputePipeline>>>();

/** Pipelines of a device that are kept: what was not used for longest goes. Functions of callers have no end. */
const mostKept = 512;

/** The pipeline of a source. */
export function pipelineOf(gpu: Gpu, code: string, label: string): Promise<GPUComputePipeline> {
  let cache = caches.get(gpu.device);
  if (cache === undefined) caches.set(gpu.device, cache = new Map());
  const known = cache.get(code), made = known ?? compile(gpu, code, label);
  cache.delete(code);
  cache.set(code, made);
  if (known !== undefined) return known;
  if (cache.size > mostKept) cache.delete(cache.keys().next().value!);
  made.catch(() => cache.delete(code)); // A failure is not kept: the next call tries again.
  return made;
}

const ready = new WeakMap<GPUDevice, Map<string, GPUComputePipeline>>();

/**
 * A small pipeline, compiled on the spot and found again by its name. What is wrong with it, the
 * attempt that it is made in tells.
 */
export function pipelineNow(
  { device, attempt }: Gpu,
  name: string,
  codeOf: () => string,
): GPUComputePipeline {
  let known = ready.get(device);
  if (known === undefined) ready.set(device, known = new Map());
  const found = known.get(name);
  if (found !== undefined) return found;
  const label = `FlashTile ${name}`, code = codeOf();
  const [pipeline, refusal] = attempt(() => {
    const module = device.createShaderModule({ label, code });
    const compute = { module, entryPoint: "main" };
    return device.createComputePipeline({ label, layout: "auto", compute });
  });
  known.set(name, pipeline);
  // One that is none is not kept: the next to need it tries again.
  const drop = () => known.get(name) === pipeline && known.delete(name);
  refusal.then((error) => error && drop(), drop);
  return pipeline;
}

async function compile(
  gpu: Gpu,
  code: string,
  label: string,
): Promise<GPUComputePipeline> {
  const { device, guard, attempt } = gpu;
  const [module, refusal] = attempt(() =>
    device.createShaderModule({ label: `FlashTile ${label}`, code })
  );
  const error = await refusal;
  if (error !== null) throw new Error(await explain(gpu, module, code, label, error.message));
  try {
    return await guard(device.createComputePipelineAsync({
      label: `FlashTile ${label}`,
      layout: "auto",
      compute: { module, entryPoint: "main" },
    }));
  } catch (cause) {
    if (cause instanceof DeviceLostError) throw cause;
    throw new Error(await explain(gpu, module, code, label, reasonOf(cause)), { cause });
  }
}

/** What the compiler says, with the lines that it says it of. */
async function explain(
  { guard }: Gpu,
  module: GPUShaderModule,
  code: string,
  label: string,
  fallback: string,
): Promise<string> {
  const lines = code.split("\n");
  const { messages } = await guard(module.getCompilationInfo());
  const errors = messages.filter(({ type }) => type === "error").map(
    ({ lineNum, linePos, message }) =>
      `line ${lineNum}, column ${linePos}: ${message}\n  ${lines[lineNum - 1] ?? ""}`,
  );
  return `Cannot compile the shader ${label}: ${errors.length > 0 ? errors.join("\n") : fallback}`;
}
