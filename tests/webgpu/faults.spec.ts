import {
  attentionStream,
  type Engine,
  logSumExp,
  softmax,
  type Tensor,
} from "@flashtile/attention";
import {
  createLightweightConvolutionState,
  createLocalGlobalState,
  linformerAttention,
  localGlobalAttention,
} from "@flashtile/attention/linear";
import { embedding, gated, layerNorm, linear, meanRows, packLinear } from "@flashtile/attention/nn";
import { requestGpu } from "../../src/webgpu/device/device.ts";
import { gpuTest, noGpu } from "../support/device.ts";
import {
  assertEndsWithDevice,
  assertRightOrRefused,
  type Operation,
  rows,
} from "../support/faults.ts";
import { findGpu } from "../support/gpu.ts";
import { normals, seeded } from "../support/random.ts";
import { leftToOneStack } from "../support/share.ts";

const [q, k] = [rows(2, 1, 1), rows(1, 20, 2)];

const both = (one: Tensor<Float32Array>): Tensor<Float32Array> => ({
  data: Float32Array.from([...one.data, ...one.data]),
  shape: [2, ...one.shape.slice(1)],
});

/** Everything that a cache asks of a device; whatever it gives back, in order. */
async function useCache(engine: Engine<GPUBuffer>, smoothKeys: boolean): Promise<Uint8Array[]> {
  const dtype = smoothKeys ? "int8" : "f32";
  const options = { batch: 2, kvHeads: 1, headDim: 8, pageSize: 16, dtype, smoothKeys } as const;
  const results: Uint8Array[] = [];
  const cache = engine.kvCache(options), other = engine.kvCache(options);
  const attend = async (one: typeof cache) => {
    const { out } = await one.attend(both(q));
    results.push(new Uint8Array(out.data.buffer));
  };
  cache.append(both(k), both(k), { lengths: [20, 0] });
  cache.fork(0, 1);
  cache.append(both(rows(1, 3, 3)), both(rows(1, 3, 4))); // A shared page is copied.
  cache.evict({ keepFirst: 2, keepLast: 15 });
  cache.free(0);
  cache.append(both(rows(1, 2, 5)), both(rows(1, 2, 6))); // A page is somebody else's.
  await attend(cache);
  const saved = await cache.save();
  results.push(saved);
  other.load(saved);
  await attend(other);
  results.push(await other.save());
  for (const one of [cache, other]) one.free();
  return results;
}

const x = rows(2, 20, 7);

/** Operations by name; each gives its results. */
const operations: Record<string, Operation> = {
  attention: async (engine) => {
    const { out, lse } = await engine.attention(x, x, x, { causal: true, lse: true });
    return [out.data, lse.data];
  },
  "attention with terms": async (engine) => {
    const bias = { data: normals(400, seeded(8)), shape: [20, 20] };
    return [(await engine.attention(x, x, x, { bias, softcap: 3 })).out.data];
  },
  merge: async (engine) => {
    const part = { out: x, lse: { data: new Float32Array(40), shape: [1, 2, 20] } };
    return [(await engine.mergeAttention([part, part])).out.data];
  },
  "a stream of buffers": async (engine) => {
    const q = engine.tensor([1, 2, 3, 8]), kv = engine.tensor([1, 2, 9, 8]);
    const stream = attentionStream(q, { engine });
    for (const one of [x, kv, x]) stream.push(one, one); // Each in a block of its own.
    const { out, lse } = await stream.finish();
    try {
      return [(await engine.attention(x, out, out)).out.data];
    } finally {
      for (const { data } of [out, lse, q, kv]) data.destroy();
    }
  },
  rope: async (engine) => {
    const turned = { ...x, data: x.data.slice() };
    await engine.rope(turned);
    return [turned.data];
  },
  softmax: async (engine) => {
    const mask = { data: Uint8Array.of(1, 1, 0, 1, 1, 1, 0, 1), shape: [8] };
    const { out } = await softmax(x, { engine, mask });
    return [out.data, (await logSumExp(x, { engine, axis: 2, scale: -1 })).out.data];
  },
  "steps of a convolution": async (engine) => {
    const weights = { data: normals(10, seeded(9)), shape: [2, 5] };
    const state = createLightweightConvolutionState(weights, { engine });
    try {
      const first = await state.step(x), { out } = await state.step(x);
      return [first.out.data, out.data];
    } finally {
      state.close();
    }
  },
  linformer: async (engine) => {
    const projectK = { data: normals(80, seeded(10)), shape: [4, 20] };
    return [(await linformerAttention(x, x, x, { projectK, engine })).out.data];
  },
  "blocks and summaries": async (engine) => {
    const { out } = await localGlobalAttention(x, x, x, { block: 6, causal: true, engine });
    return [out.data];
  },
  "a step over a block": async (engine) => {
    const state = createLocalGlobalState({ block: 20, engine });
    try {
      return [(await state.step(x, x, x)).out.data];
    } finally {
      state.close();
    }
  },
  "steps of a cache": async (engine) => {
    const cache = engine.kvCache({ kvHeads: 2, headDim: 8, pageSize: 16 });
    const token = engine.tensor([1, 2, 3, 8]), options = { causal: true, rope: {} };
    try {
      const first = await cache.step(x, x, x, options);
      const { out } = await cache.step(token, token, token, options), { lengths } = cache;
      out.data.destroy();
      return [first.out.data, (await cache.attend(x)).out.data, Float32Array.from(lengths)];
    } finally {
      token.free();
      cache.free();
    }
  },
  layers: async (engine) => {
    const given = { data: x.data, shape: [40, 8] }, residual = { engine, residual: given };
    const weight = await packLinear({ data: normals(72, seeded(11)), shape: [9, 8] }, { engine });
    try {
      const { out: norm, sum } = await layerNorm(given, null, null, residual);
      const { out } = await linear(norm, weight, { activation: "gelu" });
      const { out: means } = await meanRows(out, [0, 13, 40], { engine });
      const rows = await embedding([1, 0], means, { engine });
      return [norm.data, sum!.data, (await gated(rows.out, rows.out, { engine })).out.data];
    } finally {
      weight.free();
    }
  },
  "a cache": (engine) => useCache(engine, false),
  "a cache less means": (engine) => useCache(engine, true),
};

for (const [name, operate] of Object.entries(operations)) {
  const reason = noGpu ?? (name === "layers" ? leftToOneStack : undefined);
  gpuTest(
    `${name}: right or refused, whatever the device refuses`,
    () => assertRightOrRefused(operate),
    reason,
  );
  if (name === "a cache" || name === "steps of a cache") continue; // One of the three is enough.
  gpuTest(
    `${name}: ended by a device lost at any of its calls, done by the next`,
    () => assertEndsWithDevice(operate, ["lose and hang", "lose and go on"]),
    reason,
  );
}

gpuTest("merge: ended by a device destroyed at any of its calls, done by the next", () => {
  const fresh = async () => (await requestGpu(await findGpu())).device;
  return assertEndsWithDevice(operations.merge, ["destroy"], fresh);
});
