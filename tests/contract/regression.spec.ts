/** What went wrong once. */

import { assert, assertEquals } from "@std/assert";
import type { Engine } from "@flashtile/attention";
import { referenceAttention } from "@flashtile/attention/reference";
import { assertSameBits } from "../support/bits.ts";
import { errorOf } from "../support/errors.ts";
import { inputsOf, randomProblem, sizesOf } from "../support/problem.ts";
import { contract, withEngine } from "./backends.ts";

/** 1 where a number is NaN. */
function whereNaN(data: ArrayLike<number>): number[] {
  return Array.from(data, (x) => Number.isNaN(x) ? 1 : 0);
}

contract("attention() gives NaN for a NaN with payload bits in every kernel", async (engine) => {
  // One row and many, one column and four, keys whole and in parts.
  const all = [
    { Nq: 1, Nk: 1, D: 1 },
    { Hq: 2, Nq: 40, Nk: 300, D: 64 },
    { Hq: 3, Nq: 1, Nk: 5000, D: 6, Dv: 5 },
  ];
  for (const sizes of all) {
    for (const bits of [0x7f800001, 0x7fc0ffff, 0xffbfffff, 0x7fffffff]) {
      for (const name of ["q", "k"] as const) {
        const problem = randomProblem(sizesOf(sizes), 1);
        const { q, k, v } = inputsOf(problem);
        const words = new Uint32Array(problem[name].buffer);
        words[words.length - 1] = bits;
        const { out, lse } = await engine.attention(q, k, v, { causal: true, lse: true });
        const exact = referenceAttention(q, k, v, { causal: true });
        assertSameBits(whereNaN(out.data), whereNaN(exact.out.data), `${bits} in ${name}`);
        assertSameBits(whereNaN(lse.data), whereNaN(exact.lse.data), `${bits} in ${name}`);
      }
    }
  }
}, { daily: 1 / 3 });

contract("attention() keeps resident values of stride 0 with NaN to seen rows", async (engine) => {
  const { q, k } = inputsOf(randomProblem(sizesOf({ Nq: 9, Nk: 5, D: 3 }), 2));
  for (const strides of [[0, 1], [0, 0], [0, 4]]) {
    const memory = engine.tensor([16]);
    memory.data.fill(NaN);
    const v = { data: memory.data, shape: [1, 1, 5, 4], strides: [0, 0, ...strides] };
    const { out } = await engine.attention(q, k, v, { causal: true });
    assertSameBits(out.data, out.data.map((_, at) => at < 16 ? 0 : NaN), `strides ${strides}`);
    memory.free();
  }
}, { needs: "hostTensors" });

/** Makes an engine's memory grow. */
function grow(engine: Engine): void {
  const bytes = engine.memoryBytes;
  engine.tensor([bytes / 4]);
  assert(engine.memoryBytes > bytes);
}

contract("attention() writes in place into a strided view while memory grows", async (engine) => {
  const inputs = inputsOf(randomProblem(sizesOf({ Hq: 3, Nq: 1500, Nk: 24, D: 512 }), 3));
  const expected = (await engine.attention(inputs.q, inputs.k, inputs.v)).out.data;
  const memory = engine.tensor([3, 1500, 520]);
  const rows = (use: (row: Float32Array, at: number) => void) => {
    for (let row = 0; row < 4500; row++) {
      use(memory.data.subarray(row * 520 + 4, row * 520 + 516), row * 512);
    }
  };
  rows((row, at) => row.set(inputs.q.data.subarray(at, at + 512)));
  const strides = [0, 1500 * 520, 520, 1];
  const view = { data: memory.data, shape: inputs.q.shape, strides, offset: 4 };
  let grown = false;
  const onProgress = () => {
    if (!grown) grow(engine);
    grown = true;
  };
  await engine.attention(view, inputs.k, inputs.v, { out: view, onProgress });
  rows((row, at) => assertSameBits(row, expected.subarray(at, at + 512)));
}, { daily: 1 / 3, needs: "hostTensors" });

contract("attention() says that an input was detached while the call ran", async (engine) => {
  const inputs = inputsOf(randomProblem(sizesOf({ Hq: 3, Nq: 1500, Nk: 24, D: 512 }), 4));
  for (const name of ["q", "k", "v"] as const) {
    const given = { ...inputs, [name]: { ...inputs[name], data: inputs[name].data.slice() } };
    const bytes = engine.memoryBytes;
    let times = 0;
    const onProgress = () => {
      const { buffer } = given[name].data;
      if (times++ === 0) structuredClone(buffer, { transfer: [buffer as ArrayBuffer] });
    };
    const error = await errorOf(() =>
      engine.attention(given.q, given.k, given.v, { onProgress })
    ) as Error;
    assert(error instanceof TypeError, `${name}: ${error}`);
    assertEquals(
      error.message,
      "Cannot attend: an input's buffer was detached while the call ran",
      name,
    );
    assert(engine.memoryBytes >= bytes);
  }
  const { out } = await engine.attention(inputs.q, inputs.k, inputs.v);
  assertEquals(out.shape, inputs.q.shape);
}, { daily: 1 / 3, needs: "readsWhileRunning" });

contract("attention() says that out was detached while the call ran", async (engine) => {
  const { q, k, v } = inputsOf(randomProblem(sizesOf({ Hq: 3, Nq: 1500, Nk: 24, D: 512 }), 5));
  for (const strides of [[0, 1500 * 512, 512, 1], [0, 1, 3 * 512, 3]]) {
    const out = { data: new Float32Array(3 * 1500 * 512), shape: q.shape, strides };
    let times = 0;
    const onProgress = () => {
      if (times++ === 0) structuredClone(out.data.buffer, { transfer: [out.data.buffer] });
    };
    const error = await errorOf(() => engine.attention(q, k, v, { out, onProgress }));
    assert(error instanceof TypeError, `strides ${strides}: ${error}`);
  }
});

contract(
  "attention() reads another engine's tensor where it is, also when that engine's memory grows",
  async (engine, backend) => {
    const inputs = inputsOf(randomProblem(sizesOf({ Hq: 3, Nq: 1500, Nk: 24, D: 512 }), 6));
    const expected = (await engine.attention(inputs.q, inputs.k, inputs.v)).out.data;
    await withEngine(backend, async (other) => {
      const q = other.tensor(inputs.q.shape);
      q.data.set(inputs.q.data);
      let grown = false;
      const onProgress = () => {
        if (!grown) grow(other);
        grown = true;
      };
      const call = engine.attention(q, inputs.k, inputs.v, { onProgress });
      assertSameBits((await call).out.data, expected);
    });
  },
  { daily: 1 / 3, needs: "hostTensors" },
);

contract(
  "attention() sums the keys of a row alike, wherever the rows beside begin to see",
  async (engine) => {
    // More keys than are summed at once; with other heads beside, panels begin with other rows.
    const { q, k, v } = inputsOf(
      randomProblem(sizesOf({ Hq: 6, Hkv: 2, Nq: 65, Nk: 250, D: 4 }), 1),
    );
    for (const left of [29, 180, 200]) {
      const options = { window: [left, null] as const, lse: true };
      const whole = await engine.attention(q, k, v, options);
      const rows = 65 * 4, keys = 250 * 4;
      for (const head of [0, 4]) {
        const keyHead = Math.floor(head / 3);
        const one = (data: Float32Array, at: number, size: number, shape: number[]) => ({
          data: data.subarray(at * size, (at + 1) * size),
          shape,
        });
        const alone = await engine.attention(
          one(q.data as Float32Array, head, rows, [1, 65, 4]),
          one(k.data as Float32Array, keyHead, keys, [1, 250, 4]),
          one(v.data as Float32Array, keyHead, keys, [1, 250, 4]),
          options,
        );
        assertSameBits(alone.out.data, whole.out.data.subarray(head * rows, (head + 1) * rows));
        assertSameBits(alone.lse!.data, whole.lse!.data.subarray(head * 65, (head + 1) * 65));
      }
    }
  },
  { needs: "sameBitsForFewRows" },
);
