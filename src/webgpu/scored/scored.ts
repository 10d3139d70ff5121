/**
 * The functions of a call on a GPU: their code, and what is written and copied behind the tables of a region.
 *
 * @module
 */

import type { AttentionPlan } from "../../operations/attention/plan.ts";
import { isGpuBuffer } from "../../tensor/dtype.ts";
import { sizeOf } from "../../tensor/tensor.ts";
import type { Binding } from "../device/buffers.ts";
import { pipelineOf } from "../device/pipelines.ts";
import type { Session } from "../device/session.ts";
import type { Submission } from "../device/submission.ts";
import { encode, extended, type Fields } from "../shader/parameters.ts";
import { scoredShaders } from "../shader/scored_shaders.gen.ts";
import { codeOf } from "../shader/sources.ts";
import type { Constants } from "../shader/template.ts";
import { mostWorkgroups, type Region } from "../transfer/regions.ts";
import { codes } from "./code.ts";
import {
  type Compiled,
  countFunctionWords,
  functionFields,
  functionValues,
  functionWords,
  gpuArraysOf,
} from "./places.ts";

/** Threads of the shader that copies. */
const copyThreads = 64;

const copyFields = { copy_at: "u32", count: "u32" } as const;

/** The WGSL of the shader that copies. */
function copyCode(): string {
  return codeOf("scored/copy.wgsl", copyFields, { THREADS: copyThreads }, scoredShaders);
}

/** The functions of a call, with what they need compiled. */
export interface PreparedFunctions {
  readonly compiled: Compiled;
  /** What copies arrays; `undefined` where none is on the GPU. */
  readonly copy: GPUComputePipeline | undefined;
}

/** Compiles what the functions of a plan need beside its own shaders. */
export async function prepareFunctions(
  session: Session,
  plan: AttentionPlan,
  hasGradient: boolean,
): Promise<PreparedFunctions> {
  const functions = plan.functions!;
  checkArrays(session, plan);
  const hasBuffers = [...functions.arrays.values()].some(({ data }) => isGpuBuffer(data));
  const copy = hasBuffers ? await pipelineOf(session.gpu, copyCode(), "copy") : undefined;
  return { compiled: { plan, functions, code: codes.of(functions, hasGradient) }, copy };
}

/** The functions of a call. */
export class Scored {
  readonly compiled: Compiled;
  readonly #copy: GPUComputePipeline | undefined;

  constructor({ compiled, copy }: PreparedFunctions) {
    this.compiled = compiled;
    this.#copy = copy;
  }

  /** The WGSL of a shader whose scores go through them. */
  code(path: string, fields: Fields, constants: Constants): string {
    const { source, changes } = this.compiled.code;
    const more = { ...scoredShaders, "scored/functions.wgsl": source };
    const flags = { ...constants, SCORED: 1, CHANGES: Number(changes) };
    return codeOf(path, { ...fields, ...functionFields }, flags, more);
  }

  /** Bytes of what is written, and copied, behind the tables of a region. */
  bytes(region: Region): number {
    return 4 * countFunctionWords(this.compiled, region);
  }

  /** What is written there, from a byte on. */
  words(region: Region, at: number): Uint32Array<ArrayBuffer> {
    return functionWords(this.compiled, region, at / 4);
  }

  /** Uniforms with what they say of functions, which are at that byte. */
  uniforms(
    block: Uint8Array<ArrayBuffer>,
    fields: Fields,
    region: Region,
    at: number,
  ): Uint8Array<ArrayBuffer> {
    return extended(block, fields, functionFields, functionValues(this.compiled, region, at / 4));
  }

  /** Copies arrays that are on the GPU there. */
  copy(submission: Submission, tables: Binding, region: Region, at: number): void {
    for (const { buffer, word, count } of gpuArraysOf(this.compiled, region, at / 4)) {
      const uniforms = encode(copyFields, { copy_at: word, count });
      const bindings = [{ buffer, offset: 0, size: 4 * count }, ...new Array<null>(6).fill(null)];
      const groups = Math.min(mostWorkgroups, Math.ceil(count / copyThreads));
      submission.dispatch(this.#copy!, uniforms, [...bindings, tables], [groups, 1, 1]);
    }
  }
}

/** Checks that a binding holds all that functions read. */
function checkArrays({ bounds: { bindingBytes } }: Session, { functions }: AttentionPlan): void {
  const bytes = [...functions!.arrays.keys()].reduce(
    (sum, { shape }) => sum + 4 * sizeOf(shape),
    0,
  );
  if (bytes <= bindingBytes / 2) return;
  throw new RangeError(
    `Cannot attend: functions read arrays of ${bytes} bytes, on this GPU ${
      Math.floor(bindingBytes / 2)
    } at most; use the wasm backend, or \`bias\` and \`mask\` for what is as large as the scores`,
  );
}
