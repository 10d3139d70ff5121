import { createEngine, type KeySums, tensor, type WeightsOptions } from "@flashtile/attention";
import { referenceAttentionWeights } from "@flashtile/attention/reference";
import { assert, assertEquals } from "@std/assert";
import { test } from "node:test";
import { measure } from "../support/budget.ts";
import { noGpu, sharedDevice } from "../support/device.ts";
import { read, upload } from "../support/gpu_buffers.ts";
import { normals, seeded } from "../support/random.ts";

test("weights and their sums of buffers are in buffers (webgpu)", { skip: noGpu }, async () => {
  const device = await sharedDevice(), engine = await createEngine({ backend: "webgpu", device });
  const random = seeded(3), shape = [4, 37, 8], of = [2, 50, 8];
  const q = tensor(normals(4 * 37 * 8, random), shape), k = tensor(normals(2 * 50 * 8, random), of);
  const onGpu = { q: upload(device, q, 4), k: upload(device, k) };
  const v = upload(device, tensor(new Float32Array(2 * 50 * 4), [2, 50, 4]));
  const { lse, out } = await engine.attention(onGpu.q, onGpu.k, v, { causal: true, lse: true });
  const all: WeightsOptions[] = [
    { rows: [3, 4, 5, 20], heads: [1, 3] },
    { rows: [36], lse },
    { keySums: true, lse },
    { keySums: "kv", rows: [7, 9] },
  ];
  for (const options of all) {
    const asked: WeightsOptions = { ...options, causal: true };
    const result = await engine.attentionWeights<GPUBuffer, KeySums | undefined>(
      ...[onGpu.q, onGpu.k, asked] as const,
    );
    const ours = "weights" in result ? result.weights : result.keySums;
    const exact = referenceAttentionWeights(q, k, asked);
    assertEquals(ours.shape, exact.shape);
    const got = (await read(device, ours)).subarray(0, exact.data.length);
    const { ours: error, largest } = measure(got, exact.data, exact.data);
    assert(error <= 2e-6 * Math.max(1, largest), `${error} of ${largest}`);
    ours.data.destroy();
  }
  for (const { data } of [lse, out, onGpu.q, onGpu.k, v]) data.destroy();
  await engine.close();
});
