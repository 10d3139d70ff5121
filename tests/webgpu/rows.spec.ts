import {
  type AttentionPart,
  createEngine,
  type DType,
  type Engine,
  type Tensor,
} from "@flashtile/attention";
import { assertEquals, assertRejects } from "@std/assert";
import type { Target } from "../../src/operations/attention/target.ts";
import { readRope } from "../../src/operations/rope/options.ts";
import { planRotation } from "../../src/operations/rope/plan.ts";
import { viewOf } from "../../src/tensor/tensor.ts";
import { usages } from "../../src/webgpu/device/buffers.ts";
import { type Bounds, Session } from "../../src/webgpu/device/session.ts";
import { mergeParts } from "../../src/webgpu/merge.ts";
import { rotateRows } from "../../src/webgpu/rope.ts";
import { assertSameBits } from "../support/bits.ts";
import { gpuTest, sharedDevice, sharedGpu } from "../support/device.ts";
import { normals, seeded } from "../support/random.ts";
import { stored } from "../support/storage.ts";

const shape = [2, 3, 20, 10] as const;

function numbers(shape: readonly number[], seed: number, dtype: DType) {
  const data = normals(shape.reduce((a, b) => a * b, 1), seeded(seed));
  return stored({ data, shape }, dtype) as Tensor<Float32Array | Uint16Array>;
}

/** A tensor in a buffer, `before` elements before it and `gap` after each row. */
async function onGpu(
  { data, shape, dtype }: Tensor<Float32Array | Uint16Array>,
  before: number,
  gap: number,
) {
  const device = await sharedDevice(), [, H, N, width] = shape, row = width + gap;
  const length = Math.ceil((before + data.length / width * row) / 4) * 4;
  const apart = data instanceof Float32Array ? new Float32Array(length) : new Uint16Array(length);
  apart.fill(1);
  for (let at = 0; at < data.length; at++) {
    apart[before + Math.floor(at / width) * row + at % width] = data[at];
  }
  const usage = usages.storage | usages.copyTarget | usages.copySource;
  const buffer = device.createBuffer({ size: apart.byteLength, usage });
  device.queue.writeBuffer(buffer, 0, apart);
  const strides = [H * N * row, N * row, row, 1];
  return { data: buffer, shape, dtype: dtype ?? "f32", offset: before, strides } as const;
}

async function readBack(buffer: GPUBuffer): Promise<ArrayBuffer> {
  const device = await sharedDevice(), usage = usages.mapRead | usages.copyTarget;
  const staging = device.createBuffer({ size: buffer.size, usage });
  const encoder = device.createCommandEncoder();
  encoder.copyBufferToBuffer(buffer, 0, staging, 0, buffer.size);
  device.queue.submit([encoder.finish()]);
  await staging.mapAsync(usages.mapRead);
  return staging.getMappedRange().slice(0);
}

async function withEngine(use: (engine: Engine) => Promise<void>): Promise<void> {
  const engine = await createEngine({ backend: "webgpu", device: await sharedDevice() });
  await use(engine as unknown as Engine);
  await engine.close();
}

/** Merges arrays of whatever storage. */
async function merged(engine: Engine, parts: readonly unknown[]) {
  return await engine.mergeAttention(parts as AttentionPart[]);
}

gpuTest(
  "mergeAttention() takes buffers of any strides as it takes arrays",
  () =>
    withEngine(async (engine) => {
      for (const dtype of ["f32", "f16", "bf16"] as const) {
        const parts = [1, 2, 3].map((seed) => ({
          out: numbers(shape, seed, dtype),
          lse: numbers(shape.slice(0, 3), seed + 3, "f32") as Tensor,
        }));
        const expected = await merged(engine, parts);
        const buffers = await Promise.all(parts.map(async ({ out, lse }, index) => {
          const column = await onGpu({ ...lse, shape: [...lse.shape, 1] }, index, index);
          const strides = column.strides.slice(0, 3);
          return {
            out: await onGpu(out, 3 * index, 2 * index),
            lse: { ...column, shape: lse.shape, strides },
          };
        }));
        const { out, lse } = await engine.mergeAttention(buffers as never) as unknown as Record<
          "out" | "lse",
          Tensor<GPUBuffer>
        >;
        const bytes = await readBack(out.data), length = expected.out.data.length;
        const bits = dtype === "f32" ? new Float32Array(bytes) : new Uint16Array(bytes);
        assertSameBits(bits.subarray(0, length), expected.out.data, dtype);
        const ofLse = new Float32Array(await readBack(lse.data)).subarray(0, 120);
        assertSameBits(ofLse, expected.lse.data, dtype);
      }
    }),
);

gpuTest("many parts of 16 bits are rounded once", () =>
  withEngine(async (engine) => {
    const part = { out: numbers(shape, 1, "bf16"), lse: numbers([2, 3, 20], 2, "f32") };
    const { out } = await merged(engine, new Array(40).fill(part));
    assertSameBits(out.data, part.out.data);
  }));

gpuTest(
  "rope() turns buffers of any strides as it turns arrays, and nothing beside them",
  () =>
    withEngine(async (engine) => {
      const places = [[0, 0], [2, 4], [5, 3]] as const;
      for (const dtype of ["f32", "f16", "bf16"] as const) {
        for (const [before, gap] of places) {
          for (const dims of [8, 6]) {
            const options = {
              dims,
              style: gap === 3 ? "interleaved" : "half",
              positions: 4,
            } as const;
            const rows = numbers(shape, 1, dtype), k = await onGpu(rows, before, gap);
            const other = await onGpu(rows, 1, 1);
            await engine.rope(k, other, options);
            await engine.rope(rows, null, options);
            const expected = await onGpu(rows, before, gap), what = `${dtype}, ${gap}, ${dims}`;
            const [ours, theirs] = [await readBack(k.data), await readBack(expected.data)];
            assertSameBits(new Uint32Array(ours), new Uint32Array(theirs), what);
          }
        }
      }
    }),
);

/** The same in a session of these bounds. */
async function inSession(
  bounds: Partial<Bounds>,
  use: (session: Session) => Promise<void>,
): Promise<void> {
  const session = new Session(await sharedGpu(), bounds);
  try {
    await use(session);
    assertEquals(session.staging.bytes, 0);
  } finally {
    session.close();
  }
}

gpuTest("rows are merged and rotated the same however their boxes are cut", async () => {
  const results = await Promise.all(
    [{}, { bindingBytes: 1024, wholeBytes: 600 }].map(async (bounds) => {
      const out = new Float32Array(1200),
        lse = new Float32Array(120),
        rows = normals(1200, seeded(9));
      const viewsOf = (out: Float32Array, lse: Float32Array): Target => ({
        out: viewOf({ data: out, shape }, "bhnd"),
        lse: viewOf({ data: lse, shape: [2, 3, 20, 1] }, "bhnd"),
      });
      const parts = [1, 2].map((seed) =>
        viewsOf(normals(1200, seeded(seed)), normals(120, seeded(seed + 2)))
      );
      await inSession(bounds, async (session) => {
        await mergeParts(session, parts, viewsOf(out, lse));
        const positions = Array.from({ length: 40 }, (_, at) => at * 3);
        await rotateRows(
          { session, open: () => {} },
          planRotation(readRope({ data: rows, shape }, null, { positions })),
        );
      });
      return [out, lse, rows];
    }),
  );
  results[0].forEach((one, at) => assertSameBits(results[1][at], one));
});

gpuTest(
  "tensors without a row are merged and rotated to nothing",
  () =>
    withEngine(async (engine) => {
      const out = { data: new Float32Array(0), shape: [0, 4] }, lse = { ...out, shape: [0] };
      assertEquals((await engine.mergeAttention([{ out, lse }])).out.shape, [0, 4]);
      await engine.rope(out, null);
    }),
);

/** Counts the buffers of a device that are not destroyed. */
function countBuffers(device: GPUDevice): { readonly alive: Set<GPUBuffer>; end(): void } {
  const alive = new Set<GPUBuffer>(), create = device.createBuffer;
  device.createBuffer = (descriptor) => {
    const buffer = create.call(device, descriptor), destroy = buffer.destroy;
    alive.add(buffer);
    buffer.destroy = () => {
      alive.delete(buffer);
      destroy.call(buffer);
    };
    return buffer;
  };
  return { alive, end: () => device.createBuffer = create };
}

gpuTest("cascadeAttention() leaves no buffer behind but its result", async () => {
  const device = await sharedDevice(), { alive, end } = countBuffers(device);
  try {
    await withEngine(async (engine) => {
      const [q, k, v] = await Promise.all(
        [1, 2, 3].map((seed) => onGpu(numbers([2, 2, 1, 8], seed, "f32"), 0, 0)),
      );
      const prefix = { ...k, shape: [1, 2, 1, 8] };
      const call = (suffix: unknown, lse: boolean) =>
        engine.cascadeAttention(
          q as unknown as Tensor,
          { k: prefix, v: prefix },
          suffix as { k: Tensor; v: Tensor },
          { lse },
        );
      const free = ({ out, lse }: Awaited<ReturnType<typeof call>>) => {
        for (const one of [out, lse]) (one?.data as unknown as GPUBuffer | undefined)?.destroy();
      };
      free(await call({ k, v }, true));
      const before = alive.size;
      for (let time = 0; time < 5; time++) {
        free(await call({ k, v }, true));
        free(await call({ k, v }, false));
        await assertRejects(() => call({ k: prefix, v: prefix }, true), RangeError);
      }
      assertEquals(alive.size, before);
    });
  } finally {
    end();
  }
});
