import { assertEquals } from "@std/assert";
import type { CacheDType, DType } from "@flashtile/attention";
import { pipelineOf } from "../../src/webgpu/pipelines.ts";
import { appendCode } from "../../src/webgpu/variants.ts";
import { gpuTest, sharedGpu } from "../support/device.ts";

gpuTest("the shader that writes pages compiles for every way to store", async () => {
  const gpu = await sharedGpu();
  for (const dtype of ["f32", "f16", "bf16"] as const satisfies DType[]) {
    for (const pages of ["f32", "f16", "bf16", "int8"] as const satisfies CacheDType[]) {
      const code = appendCode({ dtype, vectors: pages === "f32" }, { dtype: pages, vectors: true });
      await pipelineOf(gpu, code, "append");
    }
  }
});
