import {
  type AnyTensor,
  type BooleanTensor,
  createEngine,
  type DType,
  type Engine,
  type HostData,
  logSoftmax,
  logSumExp,
  softmax,
  type Tensor,
} from "@flashtile/attention";
import type { ReferenceTensor } from "@flashtile/attention/reference";
import { assert, assertEquals, AssertionError, assertRejects } from "@std/assert";
import { test } from "node:test";
import type { Control } from "../../src/contract/backend.ts";
import type { SoftmaxPiece } from "../../src/operations/softmax/tokens.ts";
import { HeldArray } from "../../src/tensor/arrays.ts";
import { contiguousStrides, viewOf } from "../../src/tensor/tensor.ts";
import { usages } from "../../src/webgpu/device/buffers.ts";
import { type Bounds, Session } from "../../src/webgpu/device/session.ts";
import { cutRows, softmaxRows } from "../../src/webgpu/rows/softmax.ts";
import { extent } from "../../src/webgpu/transfer/regions.ts";
import { assertSameBits } from "../support/bits.ts";
import { gpuTest, sharedGpu, withGpu } from "../support/device.ts";
import { relatives } from "../support/family.ts";
import { scatter } from "../support/family_calls.ts";
import { count } from "../support/problem.ts";
import { normals, type Random, seeded, whole } from "../support/random.ts";
import { varyingSeed } from "../support/seed.ts";
import { share } from "../support/share.ts";
import { halfUlpOf, numbersIn, rounded, stored } from "../support/storage.ts";

const functions = { softmax, logSoftmax, logSumExp };
const kinds = ["softmax", "logSoftmax", "logSumExp"] as const;
type Kind = typeof kinds[number];

const dtypes: readonly DType[] = ["f32", "f16", "bf16"];

function oneOf<T>(random: Random, all: readonly T[]): T {
  return all[whole(random, 0, all.length - 1)];
}

/** A buffer with the bytes of an array. */
function upload(device: GPUDevice, data: ArrayBufferView<ArrayBuffer>): GPUBuffer {
  const bytes = new Uint8Array(Math.max(16, Math.ceil(data.byteLength / 4) * 4));
  bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  const usage = usages.storage | usages.copyTarget | usages.copySource;
  const buffer = device.createBuffer({ size: bytes.byteLength, usage });
  device.queue.writeBuffer(buffer, 0, bytes);
  return buffer;
}

/** The elements of a tensor on the GPU, in an array. */
async function download(
  device: GPUDevice,
  { data, dtype, ...rest }: AnyTensor,
): Promise<Tensor<HostData>> {
  const buffer = data as GPUBuffer, usage = usages.mapRead | usages.copyTarget;
  const staging = device.createBuffer({ size: buffer.size, usage });
  const encoder = device.createCommandEncoder();
  encoder.copyBufferToBuffer(buffer, 0, staging, 0, buffer.size);
  device.queue.submit([encoder.finish()]);
  await staging.mapAsync(usages.mapRead);
  const bytes = staging.getMappedRange().slice(0);
  staging.destroy();
  const elements = dtype === "f32" ? new Float32Array(bytes) : new Uint16Array(bytes);
  return { ...rest, data: elements, dtype: dtype! };
}

/** A tensor as it is stored, on the GPU or in an array. */
function placed(
  device: GPUDevice,
  { data, shape, strides, offset }: ReferenceTensor,
  dtype: DType,
  onGpu: boolean,
): AnyTensor {
  const array = stored({ data: Float32Array.from(data), shape, strides, offset }, dtype);
  if (!onGpu) return array;
  return { ...array, dtype, data: upload(device, array.data as Float32Array<ArrayBuffer>) };
}

/** Booleans as they are stored; where nothing is, they are true. */
function placedMask(
  device: GPUDevice,
  tensor: ReferenceTensor,
  isBits: boolean,
  onGpu: boolean,
): BooleanTensor {
  const { data } = tensor, bytes = Uint8Array.from(data, (x) => x === 0 ? 0 : 255);
  const bits = new Uint32Array(Math.ceil(data.length / 32));
  bytes.forEach((byte, at) => bits[at >> 5] |= (byte & 1) << at % 32);
  const array = isBits ? bits : bytes, dtype = isBits ? "bit" : "u8";
  return { ...tensor, dtype, data: onGpu ? upload(device, array) : array };
}

/** Elements in the order of the shape. */
function gathered({ data, dtype, shape, strides, offset = 0 }: Tensor<HostData>): Float32Array {
  const numbers = numbersIn(data, dtype), all = count(shape);
  if (strides === undefined) return numbers.subarray(offset, offset + all);
  return Float32Array.from({ length: all }, (_, index) => {
    let place = offset;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      place += index % shape[axis] * strides[axis];
      index = Math.floor(index / shape[axis]);
    }
    return numbers[place];
  });
}

/** A call: numbers in float64, what is asked of them, and how all of it is stored. */
interface Asked {
  readonly kind: Kind;
  readonly x: ReferenceTensor;
  readonly mask?: ReferenceTensor;
  readonly axis: number;
  readonly scale: number;
  readonly dtype: DType;
  readonly outDtype: DType;
  /** Of what is not said it is drawn. */
  readonly onGpu?: boolean;
  readonly random: Random;
}

/** A shape that has some thousand elements at most, one axis of which may be long. */
function drawShape(random: Random): number[] {
  const rank = whole(random, 1, 5), long = oneOf(random, [1, 4, 9, 64, 130, 700, 1030, 8200]);
  const shape = Array.from({ length: rank }, () => whole(random, 1, long > 700 ? 2 : 4));
  shape[whole(random, 0, rank - 1)] = long;
  return shape;
}

function drawCall(seed: number): Asked {
  const random = seeded(seed), kind = oneOf(random, kinds), shape = drawShape(random);
  const scale = oneOf(random, [1, 0.3, -0.7, 0]);
  const dtype = oneOf(random, dtypes), outDtype = oneOf(random, dtypes), rank = shape.length;
  const data = rounded(normals(count(shape), random, 4), dtype);
  if (random() < 0.3 && !(kind === "logSoftmax" && scale <= 0)) {
    data.forEach((_, at) => random() < 0.2 && (data[at] = -Infinity));
  }
  if (random() < 0.1) data[whole(random, 0, data.length - 1)] = NaN;
  const ofMask = shape.map((n) => random() < 0.3 ? 1 : n).slice(whole(random, 0, rank - 1));
  const most = oneOf(random, [0.1, 0.7, 1]);
  const mask = { data: Float64Array.from({ length: count(ofMask) }, () => +(random() < most)) };
  return {
    ...{
      kind,
      x: { data, shape },
      axis: whole(random, -rank, rank - 1),
      dtype,
      outDtype,
      random,
      scale,
    },
    ...(random() < 0.7 && { mask: { ...mask, shape: ofMask } }),
  };
}

/** Throws where a result is further from the oracle's than roundings on the way can bring it. */
function assertNear(asked: Asked, got: Float32Array, dtype: DType): void {
  const { kind, x, mask, axis, scale } = asked, f32Scale = Math.fround(scale);
  const inputs = { x }, options = { axis, scale: f32Scale, ...(mask && { mask }) };
  const exact = relatives[kind].forward(inputs, options).out.data;
  const largest = Array.from(x.data).reduce(
    (a, b) => Number.isFinite(b) ? Math.max(a, Math.abs(b)) : a,
    0,
  );
  // Differences of scores, their powers and sums: each rounded a few times.
  const error = (4 * Math.abs(scale) * largest + 64) * 2 ** -24;
  exact.forEach((expected, at) => {
    const off = Math.abs(got[at] - expected);
    const most = error * (kind === "softmax" ? expected : 1) + 1.01 * halfUlpOf(dtype, expected) +
      2 ** -126;
    if (Object.is(got[at], expected) || got[at] === expected || off <= most) return;
    throw new AssertionError(
      `${kind} of [${x.shape}] along ${axis}, ${dtype}: element ${at} is ${got[at]}, ` +
        `expected ${expected}`,
    );
  });
}

/** Computes what is asked, everything where it is drawn, and compares it. */
async function check(engine: Engine<GPUBuffer>, device: GPUDevice, asked: Asked): Promise<void> {
  const { kind, x, mask, axis, scale, dtype, outDtype, random, onGpu } = asked;
  const draw = () => onGpu ?? random() < 0.5;
  const shape = kind === "logSumExp"
    ? x.shape.filter((_, at) => at !== (axis + x.shape.length) % x.shape.length)
    : x.shape;
  const given = placed(device, scatter(x, random), dtype, draw());
  const out = random() < 0.5 ? undefined : placed(
    device,
    scatter({ data: new Float64Array(count(shape)).fill(NaN), shape }, random),
    outDtype,
    draw(),
  );
  const options = {
    ...{ axis, scale, engine, out },
    ...(mask && { mask: placedMask(device, scatter(mask, random), random() < 0.5, draw()) }),
  };
  const result = await functions[kind](given as Tensor, options as object) as { out: AnyTensor };
  const isArray = ArrayBuffer.isView(result.out.data);
  const there = isArray ? result.out as Tensor<HostData> : await download(device, result.out);
  const written = out ? outDtype : kind === "logSumExp" ? "f32" : dtype;
  assertNear(asked, gathered({ ...there, dtype: written }), written);
  for (const one of [given, options.mask, result.out]) {
    if (one && !ArrayBuffer.isView(one.data)) (one.data as GPUBuffer).destroy();
  }
}

gpuTest(
  "softmax of random shapes, strides, storage and masks is the oracle's",
  () =>
    withGpu(async (engine, device) => {
      const random = seeded(varyingSeed());
      for (let time = share(60); time > 0; time--) {
        const seed = Math.floor(random() * 2 ** 31);
        try {
          await check(engine, device, drawCall(seed));
        } catch (error) {
          throw new Error(`call ${seed}`, { cause: error });
        }
      }
    }),
);

/** Elements that are no numbers, or hardly any. */
const special = [NaN, Infinity, -Infinity, 3e38, -3.4028234663852886e38, 0, -1.5, 2];

/** Rows of nine: numbers with one or two of the special elements among them, at last each of these alone. */
function specialRows(random: Random): Float32Array {
  return normals(120 * 9, random).map((number, at) => {
    const row = Math.floor(at / 9), kinds = [special[row % 8], special[(row + 1) % 8]];
    if (row >= 112) return special[row - 112];
    return random() < 0.4 ? oneOf(random, kinds) : number;
  });
}

/** Results in an array. */
async function resultOf(kind: Kind, x: Tensor, options: object): Promise<Float32Array> {
  const { out } = await functions[kind](x, options);
  return numbersIn(out.data as HostData, out.dtype);
}

gpuTest(
  "rows with infinities, NaN and nothing to see are what they are on the CPU",
  () =>
    withGpu(async (engine) => {
      const cpu = await createEngine({ backend: "wasm" }), shape = [120, 9];
      for (const [dtype, asked] of [["f32", kinds], ["bf16", ["softmax"]]] as const) {
        const random = seeded(5), x = stored({ data: specialRows(random), shape }, dtype) as Tensor;
        const data = Uint8Array.from({ length: 120 * 9 }, () => +(random() < 0.7));
        const mask = { data: data.fill(0, 9 * 50, 9 * 60), shape };
        for (
          const [kind, scale] of asked.flatMap((kind) =>
            [1, -2, 0, 0.25].map((s) => [kind, s] as const)
          )
        ) {
          for (const options of [{ scale }, { scale, mask }]) {
            const expected = await resultOf(kind, x, { ...options, engine: cpu });
            const got = await resultOf(kind, x, { ...options, engine });
            const wrong = got.findIndex((one, at) =>
              !Object.is(one, expected[at]) &&
              !(Math.abs(one - expected[at]) <= 1e-6 + Math.abs(expected[at]) / 2 ** 7)
            );
            assertEquals(
              wrong,
              -1,
              `${kind} times ${scale}: ${got[wrong]}, not ${expected[wrong]}`,
            );
          }
        }
      }
      await cpu.close();
    }),
);

gpuTest("errors do not grow with the length of a row", () =>
  withGpu(async (engine) => {
    for (const length of [8192, 8196, 2 ** 22 + 5]) {
      // Equal terms: what rounding takes from each sum of them is alike.
      const data = new Float32Array(length).fill(-0.3).fill(0, 0, 1);
      const equal = { data, shape: [length] };
      const power = Math.exp(data[1]), sum = 1 + (length - 1) * power;
      const { out } = await softmax(equal, { engine });
      const off = out.data[length - 1] / (power / sum) - 1;
      assert(Math.abs(off) < 2 ** -20, `${off} of ${length}`);
      const { out: { data: [logarithm] } } = await logSumExp(equal, { engine });
      assert(Math.abs(logarithm / Math.log(sum) - 1) < 2 ** -22, `${logarithm} of ${length}`);
    }
    const x = { data: normals(20_000, seeded(7), 3), shape: [20_000] };
    const { out } = await logSoftmax(x, { engine });
    const asked = { kind: "logSoftmax", x, axis: 0, scale: 1, dtype: "f32" } as const;
    assertNear({ ...asked, outDtype: "f32", random: seeded(1) }, out.data, "f32");
  }));

gpuTest(
  "more rows and heads than a dispatch has workgroups along an axis are done",
  () =>
    withGpu(async (engine) => {
      const random = seeded(2),
        asked = { scale: 1, dtype: "f32", outDtype: "f32", random } as const;
      for (const shape of [[66_000, 3], [66_000, 2, 2]]) {
        const x = { data: normals(count(shape), random, 3), shape };
        const { out } = await softmax(x, { engine, axis: 1 });
        assertNear({ ...asked, kind: "softmax", x, axis: 1 }, out.data, "f32");
      }
    }),
);

test("boxes of long rows have no more workgroups than a dispatch takes", () => {
  for (const rows of [1, 16, 256]) {
    let next = 0;
    for (const box of cutRows([1, 1, 20_000_000, 8], { rows }, () => true)) {
      assert(extent(box.rows) <= 65_535 * rows);
      assertEquals(box.rows[0], next);
      next = box.rows[1];
    }
    assertEquals(next, 20_000_000);
  }
});

/** Pieces of a softmax in arrays, with a mask by column and row, and where its result goes. */
function pieceOf(kind: Kind, columns: number): { piece: SoftmaxPiece; data: Float32Array } {
  const shape = [2, 3, 20, columns] as const, all = count(shape);
  const written = kind === "logSumExp" ? [2, 3, 20, 1] : shape,
    data = new Float32Array(count(written));
  const bits = Uint32Array.from({ length: Math.ceil(all / 32) }, (_, at) => 0x9e3779b9 * (at + 1));
  const mask = {
    ...{ data: new HeldArray(bits), dtype: "bit" as const, shape, offset: 0 },
    strides: contiguousStrides(shape) as unknown as typeof shape,
  } as const;
  const x = viewOf({ data: normals(all, seeded(3)), shape }, "bhnd");
  return { piece: { x, out: viewOf({ data, shape: written }, "bhnd"), mask }, data };
}

/** Runs pieces in a session of these bounds. */
async function inSession(
  kind: Kind,
  pieces: readonly SoftmaxPiece[],
  bounds: Partial<Bounds>,
  control: Control = {},
): Promise<void> {
  const session = new Session(await sharedGpu(), bounds);
  try {
    const plan = { what: kind, scale: 1, used: {}, rows: 0 };
    await softmaxRows({ session, open() {} }, plan, pieces, control);
  } finally {
    session.close();
    assertEquals(session.pool.bytes, 0);
  }
}

const small = { bindingBytes: 1024, wholeBytes: 600 };

gpuTest("rows are the same however their boxes are cut", async () => {
  for (const kind of kinds) {
    const results = await Promise.all([{}, small].map(async (bounds) => {
      const { piece, data } = pieceOf(kind, 37);
      await inSession(kind, [piece], bounds);
      return data;
    }));
    assertSameBits(results[1], results[0], kind);
  }
});

gpuTest("a row that no binding holds is refused", async () => {
  const { piece } = pieceOf("softmax", 300), run = () => inSession("softmax", [piece], small);
  await assertRejects(run, RangeError, "Cannot compute `softmax()`: a row reaches over 1200 bytes");
});

gpuTest("a softmax of many boxes ends between them when its signal aborts", async () => {
  const { piece, data } = pieceOf("softmax", 37), reason = new Error("enough");
  let looks = 0;
  const signal = {
    get aborted() {
      return looks++ > 3;
    },
    reason,
  };
  const error = await assertRejects(() => inSession("softmax", [piece], small, { signal }));
  assert(error === reason && data[0] !== 0 && data.at(-1) === 0);
});

gpuTest(
  "rows of no element have no results, but logarithms of sums",
  () =>
    withGpu(async (engine) => {
      for (const shape of [[3, 0], [0, 3]]) {
        const x = { data: new Float32Array(0), shape };
        const mask = { data: new Uint8Array(0), shape };
        assertEquals((await softmax(x, { engine, mask })).out.shape, shape);
        const { out } = await logSumExp(x, { engine, mask });
        assertEquals([...out.data], new Array(shape[0]).fill(-Infinity));
      }
    }),
);

gpuTest(
  "a result in the buffer of what is read is refused",
  () =>
    withGpu(async (engine, device) => {
      const data = upload(device, new Float32Array(64)), shape = [4, 8];
      const out = { data, shape, dtype: "f32" } as const, mask = { ...out, dtype: "u8" } as const;
      const x = { data: new Float32Array(32), shape };
      const calls = [
        () => softmax(out, { engine, out: { ...out, offset: 32 } }),
        () => softmax(x, { engine, mask, out }),
      ];
      for (const call of calls) await assertRejects(call, RangeError, "must be another GPUBuffer");
      data.destroy();
    }),
);
