import { createEngine, type DType, type HostData, type Tensor, tensor } from "@flashtile/attention";
import {
  add,
  embedding,
  gated,
  layerNorm,
  linear,
  meanRows,
  packLinear,
  rmsNorm,
} from "@flashtile/attention/nn";
import { assert, assertEquals } from "@std/assert";
import { test } from "node:test";
import { callOf } from "../../src/operations/nn/call.ts";
import { readEmbedding } from "../../src/operations/nn/embedding.ts";
import { readLinear } from "../../src/operations/nn/linear.ts";
import { packedOf } from "../../src/operations/nn/packed.ts";
import type { AnyTensor } from "../../src/tensor/tensor.ts";
import { type Bounds, Session } from "../../src/webgpu/device/session.ts";
import { checkLinear, linearRows } from "../../src/webgpu/nn/linear.ts";
import { checkEmbedding } from "../../src/webgpu/nn/tables.ts";
import { checkRow } from "../../src/webgpu/nn/tensors.ts";
import { assertSameBits } from "../support/bits.ts";
import { gpuTest, noGpu, sharedGpu, withGpu } from "../support/device.ts";
import { assertRefused, type ErrorClass, errorOf } from "../support/errors.ts";
import { read, upload } from "../support/gpu_buffers.ts";
import { elementsOf } from "../support/layers.ts";
import { assertNear } from "../support/near.ts";
import { normals, seeded } from "../support/random.ts";
import { leftToOneStack } from "../support/share.ts";
import { rounded, stored } from "../support/storage.ts";

/** Random rows. */
function rows(shape: readonly number[], seed: number): Tensor {
  return tensor(normals(shape.reduce((a, b) => a * b, 1), seeded(seed)), shape);
}

/** Some of a buffer's numbers. */
type Part = Pick<Tensor, "shape" | "strides" | "offset">;

/** Numbers in a buffer, as they are stored. */
function bufferOf(device: GPUDevice, numbers: Float32Array, dtype: DType = "f32") {
  const { data } = dtype === "f32"
    ? { data: numbers }
    : stored(tensor(numbers, [numbers.length]), dtype);
  const buffer = upload(device, { data: data as Float32Array, shape: [numbers.length], dtype });
  return {
    part: (part: Part): Tensor<GPUBuffer> => ({ ...part, data: buffer.data, dtype }),
    async numbers({ shape, strides, offset }: Part): Promise<Float32Array> {
      const data = await read(device, buffer);
      return elementsOf({ data, shape, strides, offset, dtype } as Tensor<HostData>);
    },
  };
}

gpuTest("layers write their results over inputs, and beside them in one buffer", async () => {
  await withGpu(async (engine, device) => {
    // Two heads of each row, of three that lie side by side.
    const all = rows([12, 24], 1), weight = rows([8], 2);
    const heads = { shape: [12, 2, 8], strides: [24, 8, 1], offset: 8 };
    const wide = bufferOf(device, all.data), q = wide.part(heads);
    const { out } = await rmsNorm({ ...all, ...heads }, weight, { engine, offset: 1 });
    assertEquals((await rmsNorm(q, weight, { engine, offset: 1, out: q })).out.data, q.data);
    assertNear(await wide.numbers(heads), out.data, 1e-6, "heads");
    const others = { shape: [12, 8], strides: [24, 1], offset: 0 };
    assertSameBits(await wide.numbers(others), elementsOf({ ...all, ...others }));

    // A gate and what it is multiplied with, in one buffer.
    const both = rows([7, 64], 3), gate = { shape: [7, 32], strides: [64, 1], offset: 0 };
    const up = { ...gate, offset: 32 }, pair = bufferOf(device, both.data);
    await gated(pair.part(gate), pair.part(up), { engine, out: pair.part(gate) });
    const product = await gated({ ...both, ...gate }, { ...both, ...up }, { engine });
    assertNear(await pair.numbers(gate), product.out.data, 1e-6, "gate");
    assertSameBits(await pair.numbers(up), elementsOf({ ...both, ...up }));

    // Both results of a norm over its inputs.
    const x = rows([9, 40], 4), y = rows([9, 40], 5), whole = { shape: [9, 40] };
    const given = { residual: y, engine },
      ofX = bufferOf(device, x.data),
      ofY = bufferOf(device, y.data);
    const { out: wanted, sum } = await layerNorm(x, null, null, given);
    await layerNorm(ofX.part(whole), null, null, {
      ...{ engine, residual: ofY.part(whole), out: ofX.part(whole), sum: ofY.part(whole) },
    });
    assertNear(await ofX.numbers(whole), wanted.data, 1e-6, "norm");
    assertSameBits(await ofY.numbers(whole), sum!.data);

    // What a layer adds to, in its place.
    const packed = await packLinear(rows([40, 40], 6), { engine }), bias = rows([40], 7);
    const stream = bufferOf(device, y.data), own = stream.part(whole);
    await linear(x, packed, { bias, activation: "silu", residual: own, out: own });
    const layer = await linear(x, packed, { bias, activation: "silu", residual: y });
    assertNear(await stream.numbers(whole), layer.out.data, 1e-6, "stream");
    packed.free();
  });
}, noGpu ?? leftToOneStack);

gpuTest("layers read and write 16 bits element by element", async () => {
  await withGpu(async (engine, device) => {
    const a = rows([13, 5], 8),
      b = rows([13, 5], 9),
      odd = { shape: [13, 5], strides: [7, 1], offset: 3 };
    const spread = (one: Tensor) => {
      const numbers = new Float32Array(100);
      one.data.forEach((x, at) => numbers[3 + Math.floor(at / 5) * 7 + at % 5] = x);
      return numbers;
    };
    for (const dtype of ["f16", "bf16"] as const) {
      const first = bufferOf(device, spread(a), dtype), second = bufferOf(device, spread(b), dtype);
      await add(first.part(odd), second.part(odd), { engine, out: first.part(odd) });
      const [x, y] = [a, b].map(({ data }) => rounded(data, dtype));
      const sums = rounded(x.map((one, at) => one + y[at]), dtype);
      assertSameBits(await first.numbers(odd), sums, dtype);
    }
  });
});

gpuTest("layers go from arrays to buffers and back", async () => {
  await withGpu(async (engine, device) => {
    const table = rows([11, 20], 10), ids = [3, 10, 0, 3], whole = { shape: [4, 20] };
    const wanted = await embedding(ids, table, { engine, scale: 2 });
    const target = bufferOf(device, new Float32Array(80)), of = bufferOf(device, table.data);
    await embedding(ids, table, { engine, scale: 2, out: target.part(whole) });
    assertSameBits(await target.numbers(whole), wanted.out.data);
    const back = await embedding(ids, of.part({ shape: [11, 20] }), {
      ...{ engine, scale: 2, out: tensor(new Float32Array(80), [4, 20]) },
    });
    assertSameBits(back.out.data, wanted.out.data);
    const means = await meanRows(target.part(whole), [0, 1, 1, 4], {
      ...{ engine, out: tensor(new Float32Array(60), [3, 20]) },
    });
    assertNear(
      means.out.data,
      (await meanRows(wanted.out, [0, 1, 1, 4], { engine })).out.data,
      1e-6,
      "means",
    );
    const packed = await packLinear(of.part({ shape: [11, 20] }), { engine });
    const apart = await linear(target.part(whole), packed, {
      out: tensor(new Float32Array(44), [4, 11]),
    });
    const own = await packLinear(table, { engine });
    assertSameBits(apart.out.data, (await linear(wanted.out, own)).out.data);
    const made = await linear(target.part(whole), packed);
    assertEquals(made.out.shape, [4, 11]);
    made.out.data.destroy();
    for (const one of [packed, own]) one.free();
  });
});

gpuTest("layers refuse results that a GPU cannot write where they are wanted", async () => {
  await withGpu(async (engine, device) => {
    const numbers = normals(400, seeded(11)), buffer = bufferOf(device, numbers);
    const at = (offset: number, shape = [4, 8]) => buffer.part({ shape, offset });
    const weight = await packLinear(rows([8, 8], 12), { engine });
    const host = await createEngine({ backend: "wasm", threads: 1 });
    const other = await packLinear(rows([8, 8], 12), { engine: host });
    const elementwise = "share none of its elements, a GPU cannot write what it still reads";
    const apart = "a GPU cannot read and write one in one pass";
    const cases: [act: () => unknown, error: ErrorClass, message: string][] = [
      [
        () => linear(at(0), weight, { out: at(64) }),
        RangeError,
        `Cannot compute \`linear()\`: \`out\` must be another GPUBuffer than \`x\`, ${apart}`,
      ],
      [
        () => linear(rows([4, 8], 1), weight, { residual: at(0), out: at(1) }),
        RangeError,
        `Cannot compute \`linear()\`: \`out\` must be \`residual\` element for element or ${elementwise}`,
      ],
      [
        () => rmsNorm(at(0), at(100, [8]), { engine, out: at(64) }),
        RangeError,
        `Cannot compute \`rmsNorm()\`: \`out\` must be another GPUBuffer than \`weight\`, ${apart}`,
      ],
      [
        () => add(at(0), at(8), { engine, out: at(0) }),
        RangeError,
        `Cannot compute \`add()\`: \`out\` must be \`b\` element for element or ${elementwise}`,
      ],
      [
        () => embedding([0], at(0), { engine, out: at(64, [1, 8]) }),
        RangeError,
        `Cannot compute \`embedding()\`: \`out\` must be another GPUBuffer than \`table\`, ${apart}`,
      ],
      [
        () => meanRows(at(0), [0, 4], { engine, out: at(64, [1, 8]) }),
        RangeError,
        `Cannot compute \`meanRows()\`: \`out\` must be another GPUBuffer than \`x\`, ${apart}`,
      ],
      [
        () =>
          layerNorm(at(0), null, null, {
            engine,
            residual: rows([4, 8], 2),
            out: at(0),
            sum: at(64),
          }),
        RangeError,
        "Cannot compute `layerNorm()`: `out` and `sum` must not share elements",
      ],
      [
        () => linear(at(0), other),
        TypeError,
        "Cannot compute `linear()`: `x` is a GPUBuffer, which the wasm backend cannot read; " +
        'make the engine with { backend: "webgpu", device }',
      ],
    ];
    for (const [act, error, message] of cases) await assertRefused(act, error, message);
    // Rows that lie between those of another.
    const even = { shape: [4, 8], strides: [16, 1], offset: 0 };
    const { out } = await add(buffer.part(even), buffer.part({ ...even, offset: 8 }), {
      ...{ engine, out: buffer.part(even) },
    });
    assertEquals(out.shape, [4, 8]);
    await host.close();
    weight.free();
  });
});

test("layers on a GPU refuse weights in linear memory, and rows that no binding holds", async () => {
  const engine = await createEngine({ backend: "wasm", threads: 1 });
  const packed = await packLinear(rows([8, 8], 21), { engine }), { weight } = packedOf(packed)!;
  const { plan } = callOf(readLinear(rows([4, 8], 22), weight, {}));
  const looking = callOf(readEmbedding([1], weight, {}));
  await assertRefused(
    () => checkLinear(plan),
    TypeError,
    "Cannot compute `linear()`: `weight` is in the memory of the wasm backend, where no GPUBuffer can be read; " +
      'pack it with an engine of { backend: "webgpu" }',
  );
  await assertRefused(
    () => checkEmbedding(looking.plan),
    TypeError,
    "Cannot compute `embedding()`: `table` is in the memory of the wasm backend, where no GPUBuffer can be written; " +
      'pack it with an engine of { backend: "webgpu" }',
  );
  await assertRefused(
    () => checkRow("Cannot", [8, 2000], 1024),
    RangeError,
    "Cannot: a row reaches over 2000 bytes of a buffer, of which a shader of this GPU can have 1024: lay rows " +
      "side by side, or compute on the CPU",
  );
  await engine.close();
});

/** A linear layer under bounds of a session. */
async function runBounded(
  packed: Parameters<typeof packedOf>[0],
  x: AnyTensor,
  options: { readonly residual: Tensor; readonly signal?: AbortSignal },
  { work, ...bounds }: Partial<Bounds> & { readonly work?: number },
): Promise<Float32Array> {
  const { outputs, ...weight } = packedOf(packed)!.weight, count = x.shape[0];
  const out = tensor(new Float32Array(count * outputs), [count, outputs]);
  const { plan, target } = callOf(readLinear(x, { outputs, ...weight }, { ...options, out }));
  const session = new Session(await sharedGpu(), bounds);
  if (work !== undefined) session.work = work;
  try {
    await linearRows({ session, open: () => {} }, plan, target({}), options);
  } finally {
    assertEquals(session.pool.bytes <= 64 * 2 ** 20, true);
    session.close();
  }
  return out.data;
}

gpuTest("linear() gives the same bits however it is cut", async () => {
  await withGpu(async (engine) => {
    const inputs = 64, outputs = 520, count = 150;
    const x = rows([count, inputs], 13), residual = rows([count, outputs], 14);
    for (const dtype of ["f32", "int8"] as const) {
      const packed = await packLinear(rows([outputs, inputs], 15), { engine, dtype });
      const whole = await runBounded(packed, x, { residual }, {});
      for (const cut of [{ work: 1 }, { bindingBytes: 150_000 }]) {
        assertSameBits(await runBounded(packed, x, { residual }, cut), whole, `${dtype}`);
      }
      const error = await errorOf(() =>
        runBounded(packed, x, { residual }, { bindingBytes: 1024 })
      );
      assert(/of which a shader of this GPU can have 1024/.test(`${error}`), `${error}`);
      packed.free();
    }
  });
}, noGpu ?? leftToOneStack);

gpuTest("linear() ends between its pieces where its signal says so", async () => {
  await withGpu(async (engine) => {
    const x = rows([300, 64], 16),
      residual = rows([300, 520], 17),
      controller = new AbortController();
    const packed = await packLinear(rows([520, 64], 18), { engine }), reason = new Error("enough");
    const running = runBounded(packed, x, { residual, signal: controller.signal }, { work: 1 });
    controller.abort(reason);
    assertEquals(await errorOf(() => running), reason);
    const { out } = await linear(x, packed, { residual });
    assertEquals(out.shape, [300, 520]);
    packed.free();
  });
});

gpuTest("packed weights on a GPU take the memory that they say, and give it back", async () => {
  await withGpu(async (engine) => {
    const weight = rows([100, 96], 19), before = engine.memoryBytes;
    for (const [dtype, bytes] of [["f32", 4], ["f16", 2], ["bf16", 2], ["int8", 1.25]] as const) {
      const packed = await packLinear(weight, { engine, dtype });
      assert(packed.bytes >= 128 * 96 * bytes && packed.bytes < 128 * 96 * (bytes + 1), dtype);
      const taken = engine.memoryBytes;
      packed.free();
      assertEquals(taken - engine.memoryBytes, packed.bytes);
      const error = await errorOf(() => linear(rows([2, 96], 20), packed)) as Error;
      assertEquals(error.message, "Cannot use a tensor after `free()`");
    }
    // Blocks of four bits stay so.
    const blocks = { data: new Uint8Array(300 * 18), shape: [100, 96], dtype: "q4_0" } as const;
    const packed = await packLinear(blocks, { engine });
    assertEquals([packed.dtype, packed.bytes], ["int8", 128 * 96 / 2 + 16 * 3 * 64 + 4]);
    packed.free();
    assert(engine.memoryBytes - before < 2 ** 20);
  });
});
