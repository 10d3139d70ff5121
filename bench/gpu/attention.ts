/**
 * The library's speed on a device, from buffers to a buffer.
 *
 * @module
 */

import { createEngine, type Engine } from "../../mod.ts";
import type { Gpu } from "../../src/webgpu/device/device.ts";
import { check, type Problem, type Shape, workOf } from "../peers/problem.ts";
import {
  type BenchDType,
  download,
  newBuffer,
  storedProblem,
  toleranceOf,
  upload,
} from "./data.ts";
import { reasonOf, type Tell, type Timed } from "./report.ts";
import type { Sizes } from "./sizes.ts";
import { callOften, type Subject, time } from "./timing.ts";

/** Every shape that is timed, with its element type. */
export function shapesOf({ heads, lengths, dims }: Sizes): [Shape, BenchDType][] {
  const shapes: [Shape, BenchDType][] = [];
  for (const dim of dims) {
    for (const dtype of ["f32", "f16"] as const) {
      for (const length of lengths) {
        for (const causal of [false, true]) {
          shapes.push([{ heads, queries: length, keys: length, dim, causal }, dtype]);
        }
      }
    }
  }
  return shapes;
}

/** Attention that is ready to be computed again and again. */
export interface Prepared extends Subject {
  readonly buffers: readonly GPUBuffer[];
  result(): Promise<Float32Array>;
  destroy(): void | Promise<void>;
}

/** Puts a problem on the device; its numbers lie as the layout says, heads first by default. */
export function prepare(
  engine: Engine<GPUBuffer>,
  device: GPUDevice,
  problem: Problem,
  dtype: BenchDType,
  layout: "bhnd" | "bnhd" = "bhnd",
): Prepared {
  const { heads, queries, keys, dim, causal } = problem;
  const arrange = (n: number) => layout === "bhnd" ? [1, heads, n, dim] : [1, n, heads, dim];
  const place = (data: GPUBuffer, n: number) => ({ data, dtype, shape: arrange(n) });
  const [q, k, v] = [problem.q, problem.k, problem.v].map((data) => upload(device, data, dtype));
  const o = newBuffer(device, heads * queries * dim, dtype), buffers = [q, k, v, o];
  const out = place(o, queries);
  const call = () =>
    engine.attention(place(q, queries), place(k, keys), place(v, keys), { causal, layout, out });
  return {
    buffers,
    submit: (calls) => callOften(calls, call),
    result: () => download(device, o, dtype),
    destroy: () => buffers.forEach((buffer) => buffer.destroy()),
  };
}

async function timeShape(
  engine: Engine<GPUBuffer>,
  { device }: Gpu,
  [shape, dtype]: [Shape, BenchDType],
  { bounds }: Sizes,
  ceiling: number,
): Promise<Timed> {
  const problem = storedProblem(shape, dtype);
  const prepared = prepare(engine, device, problem, dtype);
  try {
    await prepared.submit(1);
    const error = check(problem, await prepared.result(), "heads first", toleranceOf(dtype));
    const times = await time(device, prepared, bounds);
    const gflops = workOf(shape) / times.median / 1e6;
    return { shape, dtype, times, gflops, share: gflops / ceiling, error };
  } finally {
    await prepared.destroy();
  }
}

/** Times the library at every shape. `ceiling` is in GFLOPS. */
export async function measureAttention(
  gpu: Gpu,
  sizes: Sizes,
  ceiling: number,
  tell: Tell,
): Promise<void> {
  await using engine = await createEngine({ backend: "webgpu", device: gpu.device });
  for (const each of shapesOf(sizes)) {
    try {
      await tell({ kind: "timed", timed: await timeShape(engine, gpu, each, sizes, ceiling) });
    } catch (error) {
      const [{ dim, queries, causal }, dtype] = each;
      const what = `FlashTile ${dtype} D=${dim} N=${queries}${causal ? " causal" : ""}`;
      await tell({ kind: "missing", missing: { what, reason: reasonOf(error) } });
    }
  }
}
