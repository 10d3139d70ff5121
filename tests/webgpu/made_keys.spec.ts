import type { AnyTensor, DType, Engine, HostData, Tensor } from "@flashtile/attention";
import { linformerAttention, localGlobalAttention } from "@flashtile/attention/linear";
import { assertEquals } from "@std/assert";
import { usages } from "../../src/webgpu/device/buffers.ts";
import { gpuTest, withGpu } from "../support/device.ts";
import { assertRefused } from "../support/errors.ts";
import { assertResults, type DenseResults } from "../support/made_contract.ts";
import {
  denseOf,
  type MadeCall,
  randomCall,
  withSimilar,
  writtenOf,
} from "../support/made_keys.ts";
import { count } from "../support/problem.ts";
import { varyingSeed } from "../support/seed.ts";
import { share } from "../support/share.ts";

const functions = { linformer: linformerAttention, localGlobal: localGlobalAttention };

type Any = AnyTensor & Tensor<GPUBuffer>;

/** A tensor in a buffer of its own. */
function upload(device: GPUDevice, { data, ...rest }: Tensor<HostData>, dtype: DType): Any {
  const bytes = new Uint8Array(Math.max(16, Math.ceil(data.byteLength / 4) * 4));
  bytes.set(new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength));
  const usage = usages.storage | usages.copyTarget | usages.copySource;
  const buffer = device.createBuffer({ size: bytes.byteLength, usage });
  device.queue.writeBuffer(buffer, 0, bytes);
  return { ...rest, data: buffer, dtype };
}

/** A result in an array. */
async function download(device: GPUDevice, { data, shape, dtype }: Any): Promise<Tensor<HostData>> {
  const usage = usages.mapRead | usages.copyTarget;
  const staging = device.createBuffer({ size: data.size, usage });
  const encoder = device.createCommandEncoder();
  encoder.copyBufferToBuffer(data, 0, staging, 0, data.size);
  device.queue.submit([encoder.finish()]);
  await staging.mapAsync(usages.mapRead);
  const bytes = staging.getMappedRange().slice(0), size = count(shape);
  staging.destroy();
  const elements = dtype === "f32"
    ? new Float32Array(bytes, 0, size)
    : new Uint16Array(bytes, 0, size);
  return { shape, dtype: dtype!, data: elements };
}

/** Results of a call whose tensors are in buffers. */
async function ofBuffers(device: GPUDevice, engine: Engine, call: MadeCall): Promise<DenseResults> {
  const { q, k, v, options } = writtenOf(call), { dtypes, kind } = call;
  const own = (name: string, tensor: unknown) =>
    upload(device, tensor as Tensor<HostData>, dtypes[name]);
  const asked = Object.fromEntries(
    Object.entries(options).map((
      [name, value],
    ) => [name, typeof value === "object" ? own(name, value) : value]),
  );
  const attend = functions[kind] as (...given: unknown[]) => Promise<Record<"out" | "lse", Any>>;
  const inputs = [own("q", q), own("k", k), own("v", v)];
  const { out, lse } = await attend(...inputs, { ...asked, lse: true, engine });
  const [results, rows] = [await download(device, out), await download(device, lse)];
  for (const { data } of [...inputs, out, lse]) data.destroy();
  return { call, out: denseOf(call, results), lse: rows.data as Float32Array };
}

async function checkBuffers(device: GPUDevice, engine: Engine, first: MadeCall): Promise<void> {
  const results: DenseResults[] = [];
  for (const call of withSimilar(first)) results.push(await ofBuffers(device, engine, call));
  assertResults(results);
}

for (const kind of ["linformer", "localGlobal"] as const) {
  gpuTest(
    `${kind}: buffers of any storage and strides give what arrays give`,
    () =>
      withGpu(async (engine, device) => {
        for (let run = 0; run < share(60); run++) {
          const call = randomCall(kind, varyingSeed() + run);
          await checkBuffers(device, engine as unknown as Engine, call);
        }
      }),
  );

  gpuTest(
    `${kind}: results go to another buffer than what is read`,
    () =>
      withGpu(async (engine, device) => {
        const zeros = (...shape: number[]) =>
          upload(device, { data: new Float32Array(count(shape)), shape }, "f32");
        const x = zeros(6, 4), projectK = zeros(6, 6);
        const options = kind === "linformer" ? { projectK } : { block: 2 };
        const attend = functions[kind] as (...given: unknown[]) => Promise<{ out: Any }>;
        const cannot = `Cannot compute \`${kind}Attention()\`: `;
        await assertRefused(
          () => attend(x, x, x, { ...options, out: x, engine }),
          RangeError,
          `${cannot}\`out\` must be another GPUBuffer than the inputs, ` +
            "a GPU cannot read and write one in one pass",
        );
        const host = { data: new Float32Array(36), shape: [6, 6] };
        const wrong = kind === "linformer"
          ? { projectK: host }
          : { block: 6, pool: { data: new Float32Array(6), shape: [6] } };
        const name = kind === "linformer" ? "projectK" : "pool";
        await assertRefused(
          () => attend(x, x, x, { ...wrong, engine }),
          TypeError,
          `${cannot}\`${name}\` must be in a GPUBuffer as \`q\` is`,
        );
        const out = zeros(6, 4);
        assertEquals((await attend(x, x, x, { ...options, out, engine })).out, out);
      }),
  );
}
