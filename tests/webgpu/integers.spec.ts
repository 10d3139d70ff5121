import { BackendUnavailableError, createEngine, type Precision } from "@flashtile/attention";
import { referenceAttention } from "@flashtile/attention/reference";
import { assert, assertEquals } from "@std/assert";
import { planAttention } from "../../src/operations/attention/plan.ts";
import { viewOf } from "../../src/tensor/tensor.ts";
import { type Bounds, Session } from "../../src/webgpu/device/session.ts";
import { attend } from "../../src/webgpu/integer/runner.ts";
import { assertSameBits } from "../support/bits.ts";
import { gpuTest, noGpu, sharedGpu, withGpu } from "../support/device.ts";
import { assertRefused } from "../support/errors.ts";
import { fakeDevice } from "../support/fake_gpu.ts";
import { eachOfBytes as eachLevel, rms } from "../support/levels.ts";
import { inputsOf, randomProblem, type Sizes, sizesOf } from "../support/problem.ts";
import { leftToOneStack, sharedOnGpu } from "../support/share.ts";
import { test } from "node:test";

function assertNear(actual: Float32Array, exact: ArrayLike<number>, most: number): void {
  const error = rms(actual.map((x, at) => x - exact[at])) / rms(exact);
  assert(error <= most, `${error}`);
}

/** Runs a call in a session that is bounded, or thinks its device slow. */
async function run(sizes: Sizes, options: object, session: Session) {
  const { q, k, v } = inputsOf(randomProblem(sizes, 1)), { B, Hq, Nq, Dv } = sizes;
  const data = new Float32Array(B * Hq * Nq * Dv), rows = new Float32Array(B * Hq * Nq);
  const done: number[] = [];
  await attend(
    session,
    planAttention(q, k, v, options),
    {
      out: viewOf({ data, shape: [B, Hq, Nq, Dv] }, "bhnd"),
      lse: viewOf({ data: rows, shape: [B, Hq, Nq, 1] }, "bhnd"),
    },
    { onProgress: (progress) => done.push(progress.done) },
    () => {},
  );
  session.close();
  return { data, rows, done };
}

const sizes = sizesOf({ B: 2, Hq: 4, Hkv: 2, Nq: 130, Nk: 300, D: 16, Dv: 20 });

gpuTest("attention() by integers gives the same bits however it is cut for time", async () => {
  for (const [precision] of eachLevel) {
    const results = [];
    for (const work of [1e12, 1e4]) {
      const session = new Session(await sharedGpu());
      session.work = work;
      results.push(await run(sizes, { precision, causal: true }, session));
    }
    const [fast, slow] = results;
    assert(slow.done.length > fast.done.length, `${slow.done.length} steps`);
    assertSameBits(slow.data, fast.data);
    assertSameBits(slow.rows, fast.rows);
  }
}, noGpu ?? leftToOneStack);

gpuTest("attention() by integers sees keys in ranges where bindings hold few", async () => {
  const { q, k, v } = inputsOf(randomProblem(sizes, 1));
  const bounds: Partial<Bounds>[] = [{ bindingBytes: 16384 }, {
    bindingBytes: 16384,
    wholeBytes: 64,
  }];
  for (const options of [{}, { causal: true, softcap: 2 }]) {
    const exact = referenceAttention(q, k, v, options);
    for (const bound of bounds) {
      for (const [precision, most] of eachLevel) {
        const session = new Session(await sharedGpu(), bound);
        const { data, rows, done } = await run(sizes, { ...options, precision }, session);
        assert(done.length > 1);
        assertNear(data, exact.out.data, 1.5 * most);
        assertNear(rows, exact.lse.data, most);
      }
    }
  }
}, noGpu ?? leftToOneStack);

gpuTest("attention() by integers tells its progress over parts of a packed call", async () => {
  const packed = sizesOf({ Hq: 2, Nq: 130, Nk: 400, D: 20 });
  const cuSeqlens = { q: [0, 40, 45, 130], k: [0, 150, 200, 400] };
  const session = new Session(await sharedGpu());
  const { done } = await run(packed, { cuSeqlens, precision: "int8" }, session);
  assertEquals(done, [260]);
});

gpuTest(
  "attention() by integers reads and writes buffers, also by a caller's encoder",
  async () => {
    await withGpu(async (engine, device) => {
      const { q, k, v } = inputsOf(randomProblem(sizes, 2));
      const [a, b, c] = [q, k, v].map(({ data, shape }) => {
        const made = engine.tensor(shape);
        device.queue.writeBuffer(made.data, 0, data as Float32Array<ArrayBuffer>);
        return made;
      });
      for (const [precision] of sharedOnGpu(eachLevel, 1, "integers in buffers")) {
        const options = { precision, causal: true, window: [100, 0] } as const;
        const expected = (await engine.attention(q, k, v, options)).out.data as Float32Array;
        const encoder = device.createCommandEncoder();
        const results = [
          (await engine.attention(a, b, c, options)).out,
          (await engine.attention(a, b, c, { ...options, encoder })).out,
        ];
        device.queue.submit([encoder.finish()]);
        for (const { data } of results) {
          assertSameBits(await floatsOf(device, data as GPUBuffer, expected.length), expected);
        }
      }
      for (const one of [a, b, c]) one.free();
    });
  },
);

async function floatsOf(device: GPUDevice, buffer: GPUBuffer, count: number) {
  const size = count * 4, back = device.createBuffer({ size, usage: 0x1 | 0x8 });
  const encoder = device.createCommandEncoder();
  encoder.copyBufferToBuffer(buffer, 0, back, 0, size);
  device.queue.submit([encoder.finish()]);
  await back.mapAsync(0x1);
  const floats = new Float32Array(back.getMappedRange().slice(0));
  back.destroy();
  return floats;
}

/** A device that compiles nothing, and what it says to a precision. */
async function assertUnavailable(precision: Precision, reason: string, modules: number) {
  const { device, calls } = fakeDevice((name) =>
    name === "createShaderModule" ? "validation" : undefined
  );
  const engine = await createEngine({ backend: "webgpu", device });
  const { q, k, v } = inputsOf(randomProblem(sizesOf({ Nq: 20, D: 4 }), 3));
  const made = calls.length;
  for (let time = 0; time < 2; time++) {
    await assertRefused(
      () => engine.attention(q, k, v, { precision }),
      BackendUnavailableError,
      `Cannot use the webgpu backend: \`precision: "${precision}"\` needs the wasm backend, ${reason}, ` +
        'or make the engine with { backend: "wasm" }',
    );
  }
  const more = calls.slice(made);
  assertEquals(more.filter((call) => call.startsWith("createShaderModule")).length, modules);
  assertEquals(more.length, modules); // No buffer.
  await engine.close();
}

test("a device whose WGSL does not multiply bytes is refused for calls by integers, and told so", async () => {
  const reason = "this device's WGSL lacks packed_4x8_integer_dot_product; leave `precision` out";
  await assertUnavailable("int8-qk", reason, 1);
  await assertUnavailable("int8", reason, 1);
});

test("a GPU refuses calls by integers of 16 bits, and says what to do", async () => {
  await assertUnavailable("int16", 'WGSL multiplies bytes alone; take "int8-qk"', 0);
});
