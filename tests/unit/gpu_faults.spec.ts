import { DeviceLostError } from "@flashtile/attention";
import { assert, assertEquals, assertInstanceOf, assertMatch } from "@std/assert";
import { test } from "node:test";
import type { PageLayout } from "../../src/contract/pages.ts";
import { viewOf } from "../../src/tensor/tensor.ts";
import { roles } from "../../src/webgpu/device/buffers.ts";
import { watch } from "../../src/webgpu/device/device.ts";
import { pipelineNow, pipelineOf } from "../../src/webgpu/device/pipelines.ts";
import { Session } from "../../src/webgpu/device/session.ts";
import { Loan } from "../../src/webgpu/device/submission.ts";
import { WebGpuPages } from "../../src/webgpu/pages/pages.ts";
import { errorOf } from "../support/errors.ts";
import { fakeDevice, type Refuse } from "../support/fake_gpu.ts";

const layout: PageLayout = {
  kvHeads: 1,
  headDim: 4,
  valueDim: 4,
  dtype: "f32",
  pageSize: 16,
  smoothKeys: false,
};

const rows = viewOf({ data: new Float32Array(64), shape: [1, 1, 16, 4] }, "bhnd");
const tokens = { k: rows, v: rows, batch: 0, from: 0, to: 16 };

function pagesOn(session: Session, given: Partial<PageLayout> = {}): WebGpuPages {
  return new WebGpuPages(session, { ...layout, ...given }, Infinity, () => {});
}

/** Uses pages in every way that asks the device for something. */
function usePages(pages: WebGpuPages): void {
  const one = pages.take(), other = pages.take();
  pages.write(one, 0, tokens);
  pages.flush();
  pages.copyPage(one, other);
  pages.copyTokens(one, 3, other, 1, 4);
  pages.give(one);
  pages.restore(pages.take(), new Uint8Array(pages.bytesPerPage));
  pages.flush();
}

test("WebGpuPages tells of every kind of thing that a device refuses", async () => {
  const kinds: [string, RegExp][] = [
    ["createBuffer", /^FlashTile pages$/],
    ["createBuffer", /^FlashTile pages on their way$/],
    ["createBuffer", /^FlashTile uploads$/],
    ["createCommandEncoder", /./],
    ["createBindGroup", /^$/],
    ["createShaderModule", /./],
    ["createComputePipeline", /./],
  ];
  for (const [refused, labels] of kinds) {
    for (const filter of ["out-of-memory", "validation", "internal"] as const) {
      const refuse: Refuse = (name, label) =>
        name === refused && labels.test(label) ? filter : undefined;
      const session = new Session(watch(fakeDevice(refuse).device)), pages = pagesOn(session);
      usePages(pages);
      const { message } = await errorOf(() => pages.finish()) as Error;
      assertMatch(
        message,
        /^Cannot attend: the GPU refused tokens of the cache, make it anew: no /,
      );
      // It stays so, without a word from the device.
      assertEquals((await errorOf(() => Promise.resolve(pages.take())) as Error).message, message);
      pages.free();
      session.close();
    }
  }
});

test("WebGpuPages tells of a refused copy of means, though nothing follows it", async () => {
  const { device } = fakeDevice((_, label) =>
    label === "FlashTile pages on their way" ? "out-of-memory" : undefined
  );
  const pages = pagesOn(new Session(watch(device)), { dtype: "int8", smoothKeys: true });
  pages.inherit(pages.take(), pages.take());
  const { message } = await errorOf(() => pages.finish()) as Error;
  assertMatch(message, /make it anew: no FlashTile pages on their way$/);
});

test("what failed to be made is not kept: the next cache is made anew", async () => {
  for (const refused of ["FlashTile append", "FlashTile uploads", "FlashTile uniforms"]) {
    let isRefusing = true;
    const { device, calls } = fakeDevice((_, label) =>
      isRefusing && label.startsWith(refused) ? "validation" : undefined
    );
    const made = () => calls.filter((call) => call.includes(refused)).length;
    const session = new Session(watch(device)), first = pagesOn(session);
    usePages(first);
    await first.finish().catch(() => {});
    isRefusing = false;
    const before = made();
    for (let time = 0; time < 2; time++) {
      const next = pagesOn(session);
      usePages(next);
      await next.finish();
      assert(made() > before, refused);
    }
  }
});

test("pipelineNow() keeps a pipeline that is one, and none that is not", async () => {
  let isRefusing = true;
  const fake = fakeDevice((name) =>
    isRefusing && name === "createComputePipeline" ? "internal" : undefined
  );
  const gpu = watch(fake.device), made = () => gpu.attempt(() => pipelineNow(gpu, "a", () => ""));
  const [bad, refusal] = made();
  assertEquals((await refusal)?.message, "no FlashTile a");
  isRefusing = false;
  const [good, accepted] = made();
  assertEquals([bad === good, await accepted], [false, null]);
  assertEquals(made()[0] === good, true);
});

test("a wait that begins after its device is lost rejects", async () => {
  const { device, lose } = fakeDevice(), gpu = watch(device);
  lose("gone");
  await device.lost;
  for (const promise of [new Promise(() => {}), Promise.resolve(1), Promise.reject(new Error())]) {
    assertInstanceOf(await errorOf(() => gpu.guard(promise)), DeviceLostError);
  }
  assertInstanceOf(await errorOf(() => pipelineOf(gpu, "", "late")), DeviceLostError);
});

test("a device whose `lost` rejects is lost", async () => {
  const { device } = fakeDevice(undefined, Promise.reject(new Error("its driver left")));
  const error = await errorOf(() => watch(device).guard(new Promise(() => {})));
  assertEquals((error as Error).message, "Lost the GPU device: its driver left");
});

test("pipelineOf() ends with its device while a compiler is asked what is wrong", async () => {
  const fake = fakeDevice((name) => name === "createShaderModule" ? "validation" : undefined);
  const refused = fake.device.createShaderModule.bind(fake.device);
  const createShaderModule = (descriptor: GPUShaderModuleDescriptor) => {
    refused(descriptor);
    return { getCompilationInfo: () => (fake.lose("gone"), new Promise(() => {})) };
  };
  Object.assign(fake.device, { createShaderModule });
  assertInstanceOf(
    await errorOf(() => pipelineOf(watch(fake.device), "", "wrong")),
    DeviceLostError,
  );
});

test("a buffer that comes when its call is over goes back at once", async () => {
  const { device } = fakeDevice(), session = new Session(watch(device)), loan = new Loan(session);
  const taken = errorOf(() => loan.take(64, roles.storage, "late"));
  loan.end();
  assertEquals((await taken as Error).message, "Cannot attend: the call is over");
  const bytes = session.pool.bytes;
  await new Loan(session).take(64, roles.storage, "the same");
  assertEquals(session.pool.bytes, bytes);
});
