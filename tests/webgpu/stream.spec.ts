import {
  attentionStream,
  type DType,
  type Engine,
  type HostData,
  type Tensor,
} from "@flashtile/attention";
import { assert, assertEquals } from "@std/assert";
import { usages } from "../../src/webgpu/device/buffers.ts";
import { Session } from "../../src/webgpu/device/session.ts";
import { mergeParts } from "../../src/webgpu/merge.ts";
import { viewOf } from "../../src/tensor/tensor.ts";
import { assertSameBits } from "../support/bits.ts";
import { assertWithinBudget, measure, rootMeanSquare } from "../support/budget.ts";
import { gpuTest, sharedDevice, sharedGpu, withGpu } from "../support/device.ts";
import { errorOf } from "../support/errors.ts";
import { naiveAttention } from "../support/naive.ts";
import { inputsOf, type Problem, randomProblem, sizesOf } from "../support/problem.ts";
import { normals, seeded } from "../support/random.ts";
import { sharedOnGpu } from "../support/share.ts";
import { numbersIn, rounded, stored } from "../support/storage.ts";
import { referenceAttention } from "@flashtile/attention/reference";

type GpuTensor = Tensor<GPUBuffer>;
type Piece = Tensor<HostData> | GpuTensor;

/** A tensor in a buffer, some elements before it and between its rows. */
async function onGpu({ data, shape, dtype = "f32" }: Tensor<HostData>, gap: number) {
  const [, H, N, D] = shape, row = D + gap, isFloat = dtype === "f32";
  const length = Math.ceil((gap + data.length / D * row) / 4) * 4;
  const apart = isFloat ? new Float32Array(length).fill(NaN) : new Uint16Array(length).fill(0x7fff);
  data.forEach((x: number, at: number) => apart[gap + Math.floor(at / D) * row + at % D] = x);
  const device = await sharedDevice(), usage = usages.storage | usages.copyTarget;
  const buffer = device.createBuffer({ size: apart.byteLength, usage });
  device.queue.writeBuffer(buffer, 0, apart);
  return { data: buffer, shape, dtype, offset: gap, strides: [H * N * row, N * row, row, 1] };
}

/** What a result in a buffer holds. */
async function read({ data, shape, dtype }: GpuTensor): Promise<Float32Array> {
  const device = await sharedDevice(), usage = usages.mapRead | usages.copyTarget;
  const copy = device.createBuffer({ size: data.size, usage });
  const encoder = device.createCommandEncoder();
  encoder.copyBufferToBuffer(data, 0, copy, 0, data.size);
  device.queue.submit([encoder.finish()]);
  await copy.mapAsync(usages.mapRead);
  const bytes = copy.getMappedRange().slice(0), count = shape.reduce((a, b) => a * b, 1);
  copy.destroy();
  const all = dtype === "f32" ? new Float32Array(bytes) : new Uint16Array(bytes);
  return numbersIn(all.subarray(0, count), dtype);
}

/** Rows `from` to `to`, where they are. */
function rowsOf<T extends Piece>(all: T, from: number, to: number): T {
  const [B, H, N, D] = all.shape, strides = all.strides ?? [H * N * D, N * D, D, 1];
  return {
    ...all,
    shape: [B, H, to - from, D],
    strides,
    offset: (all.offset ?? 0) + from * strides[2],
  };
}

/** Pushes keys and values in pieces that end at `cuts`. */
async function streamed(
  engine: Engine<GPUBuffer>,
  q: Piece,
  [k, v]: readonly Piece[],
  cuts: readonly number[],
  options: object = {},
) {
  const stream = attentionStream(q as GpuTensor, { ...options, engine });
  let from = 0;
  for (const to of [...cuts, k.shape[2]]) {
    stream.push(rowsOf(k, from, to), rowsOf(v, from, to));
    from = to;
  }
  return await stream.finish();
}

const problem = randomProblem(sizesOf({ B: 2, Hq: 4, Hkv: 2, Nq: 8, Nk: 2300, D: 6, Dv: 5 }), 1);

/** A problem whose numbers are of a storage. */
function storedIn(dtype: DType): Problem {
  const [q, k, v] = [problem.q, problem.k, problem.v].map((one) => rounded(one, dtype));
  return { ...problem, q, k, v };
}

for (const dtype of sharedOnGpu(["f32", "f16", "bf16"] as const, 1, "streams of buffers")) {
  gpuTest(`attentionStream() reads and gives buffers, ${dtype}`, () =>
    withGpu(async (engine) => {
      const ours = storedIn(dtype), plain = inputsOf(ours);
      const meaning = {
        causal: true,
        offset: 2200,
        softcap: 9,
        sinks: { data: Float32Array.of(1, 2, 0, -1), shape: [4] },
      };
      const [q, k, v] = await Promise.all(
        [plain.q, plain.k, plain.v].map((one, at) => onGpu(stored(one, dtype), [3, 4, 1][at])),
      );
      const { out, lse } = await streamed(engine, q, [k, v], [700, 700, 2100], meaning);
      assertEquals([out.dtype, out.shape, lse.shape], [dtype, [2, 4, 8, 5], [2, 4, 8]]);
      const exact = referenceAttention(plain.q, plain.k, plain.v, meaning);
      const naive = naiveAttention(ours, meaning);
      const found = { out: await read(out as GpuTensor), lse: await read(lse as GpuTensor) };
      const wanted = { out: rounded(exact.out.data, dtype), lse: exact.lse.data };
      const plainly = { out: rounded(naive.out, dtype), lse: naive.lse };
      for (const name of ["out", "lse"] as const) {
        const band = dtype === "f32" || name === "lse" ? undefined : dtype === "f16" ? 2e-3 : 2e-2;
        assertWithinBudget(
          name,
          measure(found[name], plainly[name], wanted[name], rootMeanSquare),
          band,
        );
      }
      const again = await streamed(engine, q, [k, v], [], meaning);
      assertSameBits(await read(again.out as GpuTensor), found.out);
      assertSameBits(await read(again.lse as GpuTensor), found.lse);
      for (const one of [q, k, v, out, lse, again.out, again.lse]) {
        (one.data as GPUBuffer).destroy();
      }
    }));
}

gpuTest("attentionStream() mixes arrays and buffers in any way", () =>
  withGpu(async (engine) => {
    const { q, k, v } = inputsOf(problem);
    const [a, b, c] = await Promise.all([q, k, v].map((one) => onGpu(one, 2)));
    const exact = referenceAttention(q, k, v), naive = naiveAttention(problem, {});
    const check = async ({ out }: { out: Piece }, isOnGpu: boolean) => {
      assertEquals("mapAsync" in out.data, isOnGpu);
      const found = isOnGpu ? await read(out as GpuTensor) : out.data as Float32Array;
      assertWithinBudget("out", measure(found, naive.out, exact.out.data, rootMeanSquare));
    };
    await check(await streamed(engine, q, [b, c], [1200]), false);
    await check(await streamed(engine, q, [k, c], [1200]), false);
    await check(await streamed(engine, a, [k, v], [1200]), true);
    const stream = attentionStream(a, { engine });
    stream.push(rowsOf(k, 0, 500), rowsOf(v, 0, 500));
    stream.push(rowsOf(b, 500, 510), rowsOf(c, 500, 510));
    stream.push(rowsOf(b, 510, 2000), rowsOf(v, 510, 2000));
    stream.push(rowsOf(k, 2000, 2300), rowsOf(v, 2000, 2300));
    await check(await stream.finish(), true);
  }));

/** Streams that end in every way. */
async function endInEveryWay(engine: Engine<GPUBuffer>, [q, k, v]: readonly GpuTensor[]) {
  const { out, lse } = await streamed(engine, q, [k, v], [100, 1200]);
  for (const { data } of [out, lse]) (data as GPUBuffer).destroy();
  const controller = new AbortController();
  const closed = attentionStream(q, { engine });
  const aborted = attentionStream(q, { engine, signal: controller.signal });
  for (const one of [closed, aborted]) await one.push(k, v);
  closed.close();
  controller.abort();
  for (const one of [closed, aborted]) await errorOf(() => one.finish());
}

gpuTest(
  "attentionStream() leaves no buffer behind but its result",
  () =>
    withGpu(async (engine) => {
      const { q, k, v } = inputsOf(problem);
      const inputs = await Promise.all([q, k, v].map((one) => onGpu(one, 0)));
      const device = await sharedDevice(),
        create = device.createBuffer,
        alive = new Set<GPUBuffer>();
      device.createBuffer = (descriptor) => {
        const buffer = create.call(device, descriptor), destroy = buffer.destroy;
        alive.add(buffer);
        buffer.destroy = () => (alive.delete(buffer), destroy.call(buffer));
        return buffer;
      };
      try {
        await endInEveryWay(engine, inputs); // Calls leave buffers for the next.
        const before = alive.size;
        for (let time = 0; time < 2; time++) await endInEveryWay(engine, inputs);
        assertEquals(alive.size, before);
      } finally {
        device.createBuffer = create;
      }
    }),
);

gpuTest("sums of a stream are the same however their boxes are cut", async () => {
  const shape = [2, 3, 20, 10] as const, device = await sharedDevice();
  const usage = usages.storage | usages.copySource;
  const results = await Promise.all(
    [{}, { bindingBytes: 2048, wholeBytes: 600 }].map(async (bounds) => {
      const session = new Session(await sharedGpu(), bounds);
      const sum = (columns: number) => {
        const size = 120 * columns * 4, ofSums = [2, 3, 20, columns];
        return viewOf(
          { data: device.createBuffer({ size, usage }), shape: ofSums, dtype: "f32" },
          "bhnd",
        );
      };
      const [acc, before, after] = [sum(24), sum(4), sum(4)];
      const part = (seed: number) => ({
        out: viewOf({ data: normals(1200, seeded(seed)), shape }, "bhnd"),
        lse: viewOf({ data: normals(120, seeded(seed + 1)), shape: [2, 3, 20, 1] }, "bhnd"),
      });
      const out = new Float32Array(1200), lse = new Float32Array(120);
      await mergeParts(session, [part(1)], null, [acc, before, after]);
      await mergeParts(session, [part(3)], null, [acc, after, before]);
      await mergeParts(session, [part(5)], {
        out: viewOf({ data: out, shape }, "bhnd"),
        lse: viewOf({ data: lse, shape: [2, 3, 20, 1] }, "bhnd"),
      }, [acc, before, after]);
      session.close();
      return [out, lse];
    }),
  );
  results[0].forEach((one, at) => assertSameBits(results[1][at], one));
  assert(results[0][0].some((x) => x !== 0));
});
