/**
 * onnxruntime-web's WebGPU execution provider, raced on the same device and the same buffers: inputs
 * and results of both stay on the GPU.
 *
 * @module
 */

import { createEngine, type Engine } from "../../mod.ts";
import type { Gpu } from "../../src/webgpu/device/device.ts";
import { multiHeadAttentionModel } from "../peers/onnx_model.ts";
import { check, headsLast, type Problem, type Shape } from "../peers/problem.ts";
import { prepare, type Prepared, shapesOf } from "./attention.ts";
import {
  type BenchDType,
  difference,
  download,
  newBuffer,
  storedProblem,
  toleranceOf,
} from "./data.ts";
import { type Race, reasonOf, type Tell } from "./report.ts";
import type { Sizes } from "./sizes.ts";
import { median, race, type Subject, timesOf } from "./timing.ts";

type OrtType = "float32" | "float16";

interface OrtTensor {
  dispose(): void;
}

interface Session {
  run(feeds: Record<string, OrtTensor>, fetches: Record<string, OrtTensor>): Promise<unknown>;
  release(): Promise<void>;
}

/** The part of onnxruntime-web's interface that is used here. */
export interface Onnxruntime {
  readonly env: {
    logLevel: string;
    readonly wasm: { numThreads: number; wasmPaths: string };
    readonly webgpu: { readonly device: Promise<GPUDevice> };
  };
  readonly InferenceSession: {
    create(model: Uint8Array, options: Record<string, unknown>): Promise<Session>;
  };
  readonly Tensor: {
    fromGpuBuffer(
      buffer: GPUBuffer,
      options: { dataType: OrtType; dims: readonly number[] },
    ): OrtTensor;
  };
}

function createSession(
  { InferenceSession }: Onnxruntime,
  heads: number,
  causal: boolean,
  dtype: BenchDType,
): Promise<Session> {
  return InferenceSession.create(multiHeadAttentionModel(heads, causal, dtype), {
    executionProviders: ["webgpu"],
    preferredOutputLocation: "gpu-buffer",
  });
}

/** Its two implementations of the execution provider: in C++, and the older one in JavaScript. */
export const builds = {
  "onnxruntime-web/webgpu": "ort.webgpu.min.mjs",
  "onnxruntime-web/all": "ort.all.min.mjs",
} as const;

/** What a build is imported as. */
export type Build = keyof typeof builds;

/** Its device goes with its last session: this one stays. */
let first: Session | undefined;

/** Threads of a subgroup that its flash attention needs at least: with fewer its results are wrong. */
const leastSubgroup = 8;

/**
 * Keeps subgroups from a device whose subgroups are too small for onnxruntime-web 1.30: SwiftShader's
 * are of 4. Otherwise nothing could be compared there.
 */
function withholdSmallSubgroups(): void {
  const { requestDevice } = GPUAdapter.prototype;
  GPUAdapter.prototype.requestDevice = function (descriptor = {}) {
    const { subgroupMaxSize } = this.info as { subgroupMaxSize?: number };
    const small = subgroupMaxSize !== undefined && subgroupMaxSize < leastSubgroup;
    const features = [...descriptor.requiredFeatures ?? []];
    const requiredFeatures = features.filter((name) => !small || !name.startsWith("subgroup"));
    return requestDevice.call(this, { ...descriptor, requiredFeatures });
  };
}

/** Loads a build from the page's own server; its device is there afterwards. One a page. */
export async function loadOnnxruntime(build: Build): Promise<Onnxruntime> {
  withholdSmallSubgroups();
  const file = `/ort/${builds[build]}`;
  const library = await import(file) as Onnxruntime;
  library.env.logLevel = "fatal"; // What fails is told of here.
  library.env.wasm.wasmPaths = "/ort/";
  library.env.wasm.numThreads = 1; // It only submits.
  first ??= await createSession(library, 1, false, "f32");
  return library;
}

/** Its operator on our buffers, but for the result. */
async function prepareTheirs(
  library: Onnxruntime,
  device: GPUDevice,
  { heads, queries, dim, causal }: Shape,
  dtype: BenchDType,
  [q, k, v]: readonly GPUBuffer[],
): Promise<Prepared> {
  const session = await createSession(library, heads, causal, dtype);
  const dataType = dtype === "f32" ? "float32" : "float16", dims = [1, queries, heads * dim];
  const tensor = (buffer: GPUBuffer) => library.Tensor.fromGpuBuffer(buffer, { dataType, dims });
  const buffer = newBuffer(device, heads * queries * dim, dtype);
  const feeds = { q: tensor(q), k: tensor(k), v: tensor(v) }, fetches = { out: tensor(buffer) };
  return {
    buffers: [buffer],
    async submit(calls) {
      // One after another: it refuses a second call while one is being submitted.
      for (let call = 0; call < calls; call++) await session.run(feeds, fetches);
    },
    result: () => download(device, buffer, dtype),
    async destroy() {
      await session.release();
      buffer.destroy();
    },
  };
}

function ratioOf(ours: readonly number[], theirs: readonly number[]): Race["ratio"] {
  const ratios = ours.map((milliseconds, round) => theirs[round] / milliseconds);
  return {
    median: median(ratios),
    lowest: Math.min(...ratios),
    highest: Math.max(...ratios),
  };
}

/** The problem with its heads last, as their operator takes it. */
function arranged(problem: Problem): Problem {
  const { heads, dim } = problem;
  const [q, k, v] = [problem.q, problem.k, problem.v].map((one) => headsLast(one, heads, dim));
  return { ...problem, q, k, v };
}

async function checkResults(
  problem: Problem,
  dtype: BenchDType,
  ours: Prepared,
  theirs: Prepared,
): Promise<number> {
  const results: Float32Array[] = [];
  for (const one of [ours, theirs]) {
    await one.submit(1);
    results.push(await one.result());
  }
  const [mine, other] = results;
  check(problem, mine, "heads last", toleranceOf(dtype));
  const off = difference(mine, other);
  if (off > toleranceOf(dtype)) throw new Error(`its result differs from ours by ${off}`);
  return off;
}

async function raceShape(
  library: Onnxruntime,
  engine: Engine<GPUBuffer>,
  { device }: Gpu,
  [shape, dtype]: [Shape, BenchDType],
  { bounds }: Sizes,
): Promise<Omit<Race, "peer">> {
  const problem = storedProblem(shape, dtype);
  const ours = prepare(engine, device, arranged(problem), dtype, "bnhd");
  let theirs: Prepared | undefined;
  try {
    theirs = await prepareTheirs(library, device, shape, dtype, ours.buffers);
    const off = await checkResults(problem, dtype, ours, theirs);
    const subjects: Subject[] = [ours, theirs];
    const [mine, other] = await race(device, subjects, bounds);
    return {
      ...{ shape, dtype, difference: off },
      ...{ ours: timesOf(mine), theirs: timesOf(other), ratio: ratioOf(mine, other) },
    };
  } finally {
    await theirs?.destroy();
    await ours.destroy();
  }
}

/** Why a build cannot compute a shape; what fails by itself is not foreseen here. */
function refusal(
  build: Build,
  { features }: GPUDevice,
  [{ causal }, dtype]: [Shape, BenchDType],
): string | undefined {
  if (dtype === "f16" && !features.has("shader-f16")) {
    return "it needs the feature shader-f16, which this device has not";
  }
  if (causal && build === "onnxruntime-web/all") return "it takes no notice of `unidirectional`";
}

/** Races it at every shape. */
export async function raceOnnxruntime(
  peer: Build,
  library: Onnxruntime,
  gpu: Gpu,
  sizes: Sizes,
  tell: Tell,
): Promise<void> {
  await using engine = await createEngine({ backend: "webgpu", device: gpu.device });
  for (const each of shapesOf(sizes)) {
    try {
      const reason = refusal(peer, gpu.device, each);
      if (reason !== undefined) throw new Error(reason);
      const race = await raceShape(library, engine, gpu, each, sizes);
      await tell({ kind: "race", race: { peer, ...race } });
    } catch (error) {
      const [{ dim, queries, causal }, dtype] = each;
      const what = `${peer} ${dtype} D=${dim} N=${queries}${causal ? " causal" : ""}`;
      await tell({ kind: "missing", missing: { what, reason: reasonOf(error) } });
    }
  }
}
