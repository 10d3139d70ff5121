import {
  type CacheDType,
  createEngine,
  DeviceLostError,
  type DType,
  type Engine,
  type KvCacheOptions,
  type Tensor,
} from "@flashtile/attention";
import { assert, assertEquals, assertInstanceOf, assertThrows } from "@std/assert";
import type { PageLayout } from "../../src/contract/pages.ts";
import { readCached } from "../../src/operations/attention/plan.ts";
import { viewOf } from "../../src/tensor/tensor.ts";
import { tablesOf } from "../../src/webgpu/attention/tables.ts";
import { keyRangesOf } from "../../src/webgpu/attention/key_ranges.ts";
import { usages } from "../../src/webgpu/device/buffers.ts";
import { pipelineOf } from "../../src/webgpu/device/pipelines.ts";
import { type Bounds, Session } from "../../src/webgpu/device/session.ts";
import { WebGpuPages } from "../../src/webgpu/pages/pages.ts";
import { appendCode } from "../../src/webgpu/pages/variant.ts";
import { assertSameBits } from "../support/bits.ts";
import { gpuTest, sharedDevice, sharedGpu } from "../support/device.ts";
import { errorOf } from "../support/errors.ts";
import { findGpu } from "../support/gpu.ts";
import { read } from "../support/gpu_buffers.ts";
import { normals, seeded } from "../support/random.ts";

gpuTest("the shader that writes pages compiles for every way to store", async () => {
  const gpu = await sharedGpu();
  for (const dtype of ["f32", "f16", "bf16"] as const satisfies DType[]) {
    for (const pages of ["f32", "f16", "bf16", "int8"] as const satisfies CacheDType[]) {
      const code = appendCode({ dtype, vectors: pages === "f32" }, { dtype: pages, vectors: true });
      await pipelineOf(gpu, code, "append");
    }
    for (const mean of [false, true]) {
      const smooth = { dtype: "int8", vectors: true, smooth: true } as const;
      await pipelineOf(gpu, appendCode({ dtype, vectors: mean }, smooth, mean), "append");
    }
  }
});

const layout: PageLayout = {
  kvHeads: 2,
  headDim: 6,
  valueDim: 4,
  dtype: "f32",
  pageSize: 16,
  smoothKeys: false,
};

/** Uses pages of a session of their own. */
async function withPages(
  use: (pages: WebGpuPages) => void | Promise<void>,
  given: Partial<PageLayout> = {},
  bounds: Partial<Bounds> = {},
): Promise<void> {
  const session = new Session(await sharedGpu(), bounds);
  const pages = new WebGpuPages(session, { ...layout, ...given }, Infinity, () => {});
  try {
    await use(pages);
    await pages.finish();
  } finally {
    pages.free();
    session.close();
  }
}

/** Rows that say which head, token and column they are. */
function rows(tokens: number, width: number, first = 0): Tensor {
  const data = Float32Array.from({ length: 2 * tokens * width }, (_, at) => {
    const head = Math.floor(at / tokens / width), token = Math.floor(at / width) % tokens;
    return head * 10_000 + (first + token) * 10 + at % width + 1;
  });
  return { data, shape: [1, 2, tokens, width] };
}

function write(pages: WebGpuPages, page: number, slot: number, count: number, first = slot): void {
  const [k, v] = [rows(count, 6, first), rows(count, 4, first)].map((one) => viewOf(one, "bhnd"));
  pages.write(page, slot, { k, v, batch: 0, from: 0, to: count });
}

/** A column of the keys of a page, and one of the values, by head and slot. */
async function columnsOf(pages: WebGpuPages, page: number): Promise<number[][]> {
  const words = new Float32Array((await pages.read(page)).buffer);
  const at = (from: number, row: number) => (_: unknown, slot: number) => words[from + slot * row];
  return [0, 1].flatMap((head) => [
    Array.from({ length: 16 }, at(head * 16 * 8 + 5, 8)),
    Array.from({ length: 16 }, at(2 * 16 * 8 + head * 16 * 4 + 3, 4)),
  ]);
}

/** What these columns are where the slots hold such tokens. */
function columnsFor(tokens: readonly number[]): number[][] {
  return [0, 1].flatMap((head) =>
    [6, 4].map((last) => tokens.map((token) => head * 10_000 + token * 10 + last))
  );
}

const first16 = Array.from({ length: 16 }, (_, slot) => slot);

gpuTest(
  "WebGpuPages keeps what was written while its pools grow",
  () =>
    withPages(async (pages) => {
      const taken: number[] = [];
      for (let page = 0; page < 300; page++) {
        taken.push(pages.take());
        write(pages, taken[page], 0, 16, page * 16);
      }
      for (const page of [0, 1, 170, 299]) {
        assertEquals(
          await columnsOf(pages, taken[page]),
          columnsFor(first16.map((at) => at + page * 16)),
        );
      }
      assert(pages.bytes >= 300 * pages.bytesPerPage);
    }),
);

gpuTest(
  "WebGpuPages copies tokens in ascending order, also onto themselves",
  () =>
    withPages(async (pages) => {
      const [one, other] = [pages.take(), pages.take()];
      write(pages, one, 0, 16);
      write(pages, other, 0, 16, 16);
      pages.copyTokens(one, 3, one, 1, 13); // Moves down over itself.
      pages.copyTokens(other, 0, one, 14, 2);
      const moved = [0, ...first16.slice(3), 16, 17];
      assertEquals(await columnsOf(pages, one), columnsFor(moved));
      pages.copyPage(one, other);
      write(pages, one, 5, 3, 100); // The copy is one.
      assertEquals(await columnsOf(pages, other), columnsFor(moved));
      const written = moved.with(5, 100).with(6, 101).with(7, 102);
      assertEquals(await columnsOf(pages, one), columnsFor(written));
      pages.restore(other, await pages.read(one));
      assertEquals(await columnsOf(pages, other), columnsFor(written));
    }),
);

gpuTest(
  "WebGpuPages refuses pages that nobody has, and slots that are none",
  () =>
    withPages((pages) => {
      const page = pages.take(), gone = pages.take();
      pages.give(gone);
      const refused = [
        () => write(pages, gone, 0, 1),
        () => write(pages, 7, 0, 1),
        () => write(pages, page, 15, 2),
        () => pages.copyPage(page, gone),
        () => pages.copyTokens(-1, 0, page, 0, 1),
        () => pages.copyTokens(page, 10, page, 0, 7),
        () => pages.restore(1.5, new Uint8Array(pages.bytesPerPage)),
        () => pages.give(gone),
        () => pages.check([page, gone]),
      ];
      for (const call of refused) assertThrows(call, RangeError, "Cannot use ");
      assertEquals(pages.take(), gone);
    }),
);

gpuTest(
  "attention refuses a list with pages that nobody has, or too few",
  () =>
    withPages((pages) => {
      const page = pages.take();
      const region = { batch: [0, 2], heads: [0, 2], positions: [0, 1] } as const;
      const q = { data: new Float32Array(24), shape: [2, 2, 1, 6] };
      const tables = (lists: number[][], lengths: number[]) => {
        const { plan } = readCached(q, { store: pages, pages: lists }, lengths);
        const cut = { plan, terms: true, mostKeys: Infinity, tileKeys: 32 };
        return tablesOf(cut, region, keyRangesOf(cut, region));
      };
      for (const lists of [[[page], [5]], [[page], [-1]], [[page, 1], [page]], [[0.5], [page]]]) {
        assertThrows(() => tables(lists, [3, 3]), RangeError, "Cannot use page");
      }
      const message = "Cannot attend: sequence 1 has too few pages for 17 tokens";
      assertThrows(() => tables([[page], [page]], [3, 17]), RangeError, message);
      const other = pages.take();
      const { words, paged } = tables([[page], [page, other]], [16, 20]);
      assertEquals(paged.page_shift, 4);
      assertEquals([...words.subarray(paged.pages_at)], [page, 0, page, other]);
    }),
);

gpuTest(
  "WebGpuPages takes no more pages than a binding holds, and loses none of them",
  () =>
    withPages(
      async (pages) => {
        const taken = Array.from({ length: 5 }, () => pages.take());
        for (const page of taken) write(pages, page, 0, 16, page * 16);
        const message = "Cannot append: all 5 pages are taken, and this GPU can bind 5500 bytes";
        assertThrows(() => pages.take(), RangeError, message);
        assertEquals(await columnsOf(pages, taken[4]), columnsFor(first16.map((at) => at + 64)));
        pages.give(taken[2]);
        assertEquals(pages.take(), taken[2]);
      },
      {},
      { bindingBytes: 5500 }, // A page of keys takes 1,024.
    ),
);

gpuTest("WebGpuPages stores keys less the mean that their first page began with", () =>
  withPages(
    async (pages) => {
      const [one, other] = [pages.take(), pages.take()], all = rows(40, 6), v = rows(40, 4);
      const offGpu = { k: viewOf(all, "bhnd"), v: viewOf(v, "bhnd"), batch: 0 };
      const k = await spread(all.data, all.shape, "f32");
      const onGpu = { ...offGpu, k: viewOf(k, "bhnd") };
      for (const tokens of [offGpu, onGpu]) {
        pages.begin(one, { ...tokens, from: 0, to: 40 });
        pages.inherit(one, other);
        pages.write(one, 0, { ...tokens, from: 0, to: 16 });
        pages.write(other, 0, { ...tokens, from: 16, to: 32 });
        for (const [page, first] of [[one, 0], [other, 16]]) {
          const { buffer } = await pages.read(page), floats = new Float32Array(buffer);
          const bytes = new Int8Array(buffer);
          for (let head = 0; head < 2; head++) {
            for (let d = 0; d < 6; d++) {
              const mean = head * 10_000 + 195 + d + 1;
              assert(Math.abs(floats[head * 8 + d] - mean) < 2e-2, `${floats[head * 8 + d]}`);
              for (let slot = 0; slot < 16; slot++) {
                const row = 16 + (head * 16 + slot) * 3, scale = floats[row + 2];
                const x = bytes[row * 4 + d] * scale, exact = (first + slot) * 10 - 195;
                assert(Math.abs(x - exact) <= scale / 2 + 2e-2, `${x} for ${exact}`);
              }
            }
          }
        }
      }
      const bad = { ...offGpu, k: viewOf({ ...all, data: all.data.with(3, NaN) }, "bhnd") };
      pages.begin(one, { ...bad, from: 0, to: 40 });
      const means = new Float32Array((await pages.read(one)).buffer, 0, 5);
      assertEquals(means[3], 0);
      assert(Math.abs(means[4] - 200) < 2e-2, `${means}`);
    },
    { dtype: "int8", smoothKeys: true },
  ));

/** A tensor in a buffer, with room before it and after each of its rows. */
async function spread(data: Uint16Array | Float32Array, shape: readonly number[], dtype: DType) {
  const device = await sharedDevice(), [B, H, n, width] = shape, row = width + 3, offset = 7;
  const apart = data instanceof Float32Array
    ? new Float32Array(offset + B * H * n * row + 1)
    : new Uint16Array(offset + B * H * n * row + 1 + B * H * n * row % 2);
  for (let at = 0; at < data.length; at++) {
    apart[offset + Math.floor(at / width) * row + at % width] = data[at];
  }
  const buffer = device.createBuffer({
    size: Math.ceil(apart.byteLength / 4) * 4,
    usage: usages.storage | usages.copyTarget,
  });
  device.queue.writeBuffer(buffer, 0, apart);
  return { data: buffer, shape, dtype, offset, strides: [H * n * row, n * row, row, 1] };
}

function bits(count: number, seed: number): Uint16Array {
  const random = seeded(seed);
  return Uint16Array.from({ length: count }, () => Math.floor(random() * 0x3c00) ^ 0x8000);
}

gpuTest("WebGpuPages reads a buffer head by head where a binding cannot hold it", () =>
  withPages(
    async (pages) => {
      const wide = rows(300, 6), k = await spread(wide.data, wide.shape, "f32");
      const tokens = { k: viewOf(k, "bhnd"), v: viewOf(rows(300, 4), "bhnd"), batch: 0 };
      const [one, other] = [pages.take(), pages.take()];
      pages.write(one, 0, { ...tokens, from: 0, to: 16 });
      pages.write(other, 0, { ...tokens, from: 150, to: 166 });
      assertEquals(await columnsOf(pages, one), columnsFor(first16));
      assertEquals(await columnsOf(pages, other), columnsFor(first16.map((at) => at + 150)));
    },
    {},
    { bindingBytes: 8192 },
  ));

gpuTest("a KV cache takes buffers of any strides and storage as it takes arrays", async () => {
  const engine = await createEngine({ backend: "webgpu", device: await sharedDevice() });
  const shape = [2, 2, 37, 12];
  for (const dtype of ["f32", "f16", "bf16"] as const) {
    for (const stored of ["f32", "f16", "int8"] as const) {
      const options: KvCacheOptions = { batch: 2, kvHeads: 2, headDim: 12, dtype: stored };
      const data = dtype === "f32" ? normals(2 * 2 * 37 * 12, seeded(1)) : bits(2 * 2 * 37 * 12, 1);
      const host = { data, shape, dtype }, ours = await spread(data, shape, dtype);
      const [one, other] = [engine.kvCache(options), engine.kvCache(options)];
      one.append(host, host, { lengths: [37, 20] });
      other.append(ours, host, { lengths: [3, 0] }); // Either may be in either.
      const rest = (from: number, to: number) => ({
        ...ours,
        shape: [2, 2, to - from, 12],
        offset: ours.offset + from * 15,
      });
      other.truncate(0, 0);
      other.append(ours, rest(0, 37), { lengths: [37, 20] });
      assertSameBits(await other.save(), await one.save(), `${dtype} as ${stored}`);
      for (const cache of [one, other]) cache.free();
      ours.data.destroy();
    }
  }
  await engine.close();
});

gpuTest("tokens in a buffer are read before the caller's next work on it", async () => {
  const device = await sharedDevice();
  const engine = await createEngine({ backend: "webgpu", device });
  const k = engine.tensor([1, 1, 20, 8]);
  device.queue.writeBuffer(k.data, 0, new Float32Array(160).fill(1));
  const cache = engine.kvCache({ kvHeads: 1, headDim: 8 });
  cache.append(k, k);
  device.queue.writeBuffer(k.data, 0, new Float32Array(160).fill(2));
  const { out } = await cache.attend({ data: new Float32Array(8), shape: [1, 1, 1, 8] });
  assertSameBits(out.data, new Float32Array(8).fill(1));
  await engine.close();
});

gpuTest("a KV cache of four bits is refused, and says where it is", async () => {
  const engine = await createEngine({ backend: "webgpu", device: await sharedDevice() });
  const make = () => engine.kvCache({ kvHeads: 1, headDim: 8, dtype: "int4" });
  assertThrows(make, RangeError, 'dtype "int4" needs the wasm backend');
  await engine.close();
});

gpuTest("a KV cache answers queries in buffers with buffers", async () => {
  const device = await sharedDevice();
  const engine = await createEngine({ backend: "webgpu", device });
  const cache = engine.kvCache({ kvHeads: 2, headDim: 8, dtype: "f16" });
  const k = { data: normals(2 * 90 * 8, seeded(1)), shape: [1, 2, 90, 8] };
  cache.append(k, k);
  const q = { data: normals(4 * 3 * 8, seeded(2)), shape: [1, 4, 3, 8] };
  const onGpu = { ...q, data: engine.tensor(q.shape).data, dtype: "f32" } as const;
  device.queue.writeBuffer(onGpu.data, 0, q.data);
  const [ours, expected] = [
    await cache.attend(onGpu, { causal: true }),
    await cache.attend(q, {
      causal: true,
    }),
  ];
  const readBack = device.createBuffer({
    size: ours.out.data.size,
    usage: usages.mapRead | usages.copyTarget,
  });
  const encoder = device.createCommandEncoder();
  encoder.copyBufferToBuffer(ours.out.data, 0, readBack, 0, readBack.size);
  device.queue.submit([encoder.finish()]);
  await readBack.mapAsync(usages.mapRead);
  assertSameBits(new Float32Array(readBack.getMappedRange(0, 384)), expected.out.data);
  readBack.destroy();
  ours.out.data.destroy();
  await engine.close();
});

gpuTest("a sequence sees nothing of another's tokens, nor of those that it had", async () => {
  const engine = await createEngine({ backend: "webgpu", device: await sharedDevice() });
  const shape = [2, 1, 40, 8], q = { data: normals(16, seeded(3)), shape: [2, 1, 1, 8] };
  for (const dtype of ["f32", "bf16", "int8"] as const) {
    const cache = engine.kvCache({ batch: 2, kvHeads: 1, headDim: 8, pageSize: 16, dtype });
    const poison = { data: new Float32Array(2 * 40 * 8).fill(NaN), shape };
    cache.append(poison, poison);
    cache.free(0);
    const clean = { data: normals(2 * 40 * 8, seeded(4)), shape };
    cache.append(clean, clean, { lengths: [35, 0] });
    const { out } = await cache.attend(q);
    const fresh = engine.kvCache({ batch: 2, kvHeads: 1, headDim: 8, pageSize: 16, dtype });
    fresh.append(clean, clean, { lengths: [35, 0] });
    const expected = (await fresh.attend(q)).out.data;
    assertSameBits(out.data.subarray(0, 8), expected.subarray(0, 8), dtype);
    assert(out.data.subarray(8).every(Number.isNaN), "what is NaN stays so");
    for (const one of [cache, fresh]) one.free();
  }
  await engine.close();
});

gpuTest("a KV cache's memory is counted, and given back by free() and close()", async () => {
  const engine = await createEngine({ backend: "webgpu", device: await sharedDevice() });
  const before = engine.memoryBytes, k = { data: new Float32Array(160), shape: [1, 2, 10, 8] };
  const make = () => {
    const cache = engine.kvCache({ kvHeads: 2, headDim: 8 });
    cache.append(k, k);
    return cache;
  };
  const cache = make(), held = engine.memoryBytes;
  assert(held >= before + cache.bytes, `${held} bytes`);
  cache.free();
  assert(engine.memoryBytes < held);
  const left = make();
  await engine.close();
  assertThrows(() => left.append(k, k), Error, "Cannot use an engine after `close()`");
  left.free();
  assertThrows(() => left.append(k, k), Error, "the cache was freed");
});

gpuTest("a cache of a lost device says that it must be made anew", async () => {
  const gpu = (await findGpu())!, devices: GPUDevice[] = [];
  const engine: Engine<GPUBuffer> = await createEngine({
    backend: "webgpu",
    gpu: watched(gpu, devices),
  });
  const k = { data: new Float32Array(160).fill(1), shape: [1, 2, 10, 8] };
  const q = { data: new Float32Array(16), shape: [1, 2, 1, 8] };
  const cache = engine.kvCache({ kvHeads: 2, headDim: 8 });
  cache.append(k, k);
  await cache.attend(q);
  devices[0].destroy();
  for (let time = 0; time < 2; time++) {
    const error = await errorOf(() => cache.attend(q)) as Error;
    assertInstanceOf(error, DeviceLostError);
    assert(error.message.endsWith("make the cache anew"), error.message);
  }
  assertThrows(() => cache.append(k, k), DeviceLostError, "make the cache anew");
  assertInstanceOf(await errorOf(() => cache.save()), DeviceLostError);
  const again = engine.kvCache({ kvHeads: 2, headDim: 8 });
  again.append(k, k);
  assertSameBits((await again.attend(q)).out.data, new Float32Array(16).fill(1));
  cache.free();
  await engine.close();
});

function watched(gpu: GPU, devices: GPUDevice[]): GPU {
  const requestAdapter = async () => {
    const adapter = (await gpu.requestAdapter())!;
    const requestDevice = async (descriptor?: GPUDeviceDescriptor) => {
      devices.push(await adapter.requestDevice(descriptor));
      return devices.at(-1)!;
    };
    const { features, limits, info } = adapter;
    return { features, limits, info, requestDevice };
  };
  return { requestAdapter } as unknown as GPU;
}

gpuTest("what the device refuses of an append, the next call tells", async () => {
  const engine = await createEngine({ backend: "webgpu", device: await sharedDevice() });
  const cache = engine.kvCache({ kvHeads: 1, headDim: 8 }), gone = engine.tensor([1, 1, 4, 8]);
  gone.data.destroy();
  cache.append(gone, gone);
  const error = await errorOf(() =>
    cache.attend({ data: new Float32Array(8), shape: [1, 1, 1, 8] })
  );
  const { message } = error as Error;
  assert(message.startsWith("Cannot attend: the GPU refused tokens of the cache"), message);
  await engine.close();
});

gpuTest(
  "a KV cache works on a device at the default limits, and larger than a pool begins",
  async () => {
    const adapter = await (await findGpu())!.requestAdapter();
    const device = await adapter!.requestDevice();
    const engine = await createEngine({ backend: "webgpu", device });
    const cache = engine.kvCache({ batch: 2, kvHeads: 2, headDim: 64, dtype: "f16" });
    const k = { data: normals(2 * 2 * 1500 * 64, seeded(1)), shape: [2, 2, 1500, 64] };
    cache.append(k, k, { lengths: [1500, 700] });
    const q = { data: normals(2 * 2 * 64, seeded(2)), shape: [2, 2, 1, 64] };
    const plain = await engine.attention(q, k, k, { kvLengths: [1500, 700] });
    const { out } = await cache.attend(q);
    out.data.forEach((x, at) => assert(Math.abs(x - plain.out.data[at]) < 1e-3));
    await engine.close();
    device.destroy();
  },
);

gpuTest("a step is one submission, of arrays and of buffers for shaders alone", async () => {
  const device = await sharedDevice(), { queue } = device, random = seeded(17);
  const engine = await createEngine({ backend: "webgpu", device });
  const sizes = { batch: 2, kvHeads: 2, headDim: 6, valueDim: 4 } as const;
  const [ours, theirs] = [engine.kvCache(sizes), engine.kvCache(sizes)];
  const make = (heads: number, count: number, width: number): Tensor => ({
    data: normals(2 * heads * count * width, random),
    shape: [2, count, heads, width],
  });
  /** Rows in a buffer that can be bound, and nothing else, behind others. */
  const upload = ({ data, shape }: Tensor): Tensor<GPUBuffer> => {
    const size = data.byteLength + 64, descriptor = { size, usage: usages.storage };
    const buffer = device.createBuffer({ ...descriptor, mappedAtCreation: true });
    new Float32Array(buffer.getMappedRange()).set(data, 5);
    buffer.unmap();
    return { data: buffer, dtype: "f32", shape, offset: 5 };
  };
  const options = { causal: true, layout: "bnhd" } as const, rope = { theta: 100, dims: 4 };
  const submit = queue.submit;
  let submits = 0;
  try {
    for (const count of [3, 1, 1, 1]) {
      const [q, k, v] = [make(4, count, 6), make(2, count, 6), make(2, count, 4)];
      const positions = theirs.lengths.flatMap((n) =>
        Array.from({ length: count }, (_, at) => n + at)
      );
      const turned = [q, k].map((one) => ({ ...one, data: one.data.slice() }));
      await engine.rope(turned[0], turned[1], { ...rope, positions, layout: "bnhd" });
      theirs.append(turned[1], v, { layout: "bnhd" });
      const three = await theirs.attend(turned[0], options);
      const isBuffers = ours.lengths[0] === 4,
        given = isBuffers ? [q, k, v].map(upload) : [q, k, v];
      queue.submit = function (...all) {
        submits++;
        return submit.apply(queue, all);
      };
      const [a, b, c] = given as Tensor[], one = await ours.step(a, b, c, { ...options, rope });
      queue.submit = submit;
      if (isBuffers) {
        const out = one.out as unknown as Tensor<GPUBuffer>;
        assertSameBits(await read(device, out), three.out.data);
        out.data.destroy();
        for (const { data } of given as unknown as Tensor<GPUBuffer>[]) data.destroy();
      } else assertSameBits(one.out.data, three.out.data);
    }
  } finally {
    Reflect.deleteProperty(queue, "submit");
    await engine.close();
  }
  // And one that makes the pools.
  assertEquals(submits, 5);
});
