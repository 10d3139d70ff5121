import { assert, assertEquals, assertMatch } from "@std/assert";
import { type Engine, tensor } from "@flashtile/attention";
import { assertSameBits } from "../support/bits.ts";
import { errorOf } from "../support/errors.ts";
import {
  count,
  type Inputs,
  inputsOf,
  randomProblem,
  shapesOf,
  type Sizes,
  sizesOf,
} from "../support/problem.ts";
import { seeded, whole } from "../support/random.ts";
import { assertGivenBack, contract, withEngine } from "./backends.ts";

/** Bytes of a mebibyte. */
const MiB = 2 ** 20;

/** Inputs of zeros: for tests that look at memory alone. */
function zeros(sizes: Sizes): Inputs {
  const shapes = shapesOf(sizes);
  const one = (shape: readonly number[]) => ({ data: new Float32Array(count(shape)), shape });
  return { q: one(shapes.q), k: one(shapes.k), v: one(shapes.v) };
}

function run(engine: Engine, { q, k, v }: Inputs, options = {}) {
  return engine.attention(q, k, v, options);
}

contract(
  "memoryBytes is one packed head and at most 4 MiB a thread, however many keys",
  async (_, backend) => {
    for (const [Nk, D, Dv] of [[1000, 64, 64], [65536, 64, 64], [20000, 128, 40], [9000, 7, 250]]) {
      await withEngine(backend, async (engine) => {
        await run(engine, zeros(sizesOf({ Nq: 8, Nk, D, Dv })));
        const packed = Nk * (D + Math.ceil(Dv / 4) * 4) * 4;
        assert(
          engine.memoryBytes - packed <= 4 * MiB * backend.threads,
          `${engine.memoryBytes} bytes for ${packed}`,
        );
      });
    }
  },
  { daily: 1 / 3, needs: "linearMemory" },
);

contract("memoryBytes does not depend on the number of queries", async (engine, { threads }) => {
  // Each thread has 2048 rows at once.
  await run(engine, zeros(sizesOf({ Nq: 2100 * threads, Nk: 16, D: 64 })));
  const bytes = engine.memoryBytes;
  await run(engine, zeros(sizesOf({ Nq: 30_000 * threads, Nk: 16, D: 64 })));
  assertEquals(engine.memoryBytes, bytes);
  assert(bytes <= 4 * MiB * threads, `${bytes} bytes`);
}, { needs: "linearMemory" });

contract(
  "memoryBytes does not depend on the number of heads and batches",
  async (engine, { threads }) => {
    // Each thread has 1 MiB of packed heads at once, or one head; the next are packed ahead.
    const Hq = threads === 1 ? 1 : 8 * threads;
    await run(engine, zeros(sizesOf({ Hq, Nq: 20, Nk: 500, D: 64 })));
    const bytes = engine.memoryBytes;
    await run(engine, zeros(sizesOf({ B: 3, Hq, Nq: 20, Nk: 500, D: 64 })));
    assertEquals(engine.memoryBytes, bytes);
  },
  { needs: "linearMemory" },
);

/** Fifty shapes, drawn once. */
const mixed = (() => {
  const random = seeded(5);
  return Array.from({ length: 50 }, () => {
    const Hkv = whole(random, 1, 3);
    const sizes = {
      ...{ B: whole(random, 1, 2), Hq: Hkv * whole(random, 1, 3), Hkv, Nq: whole(random, 1, 60) },
      ...{ Nk: whole(random, 1, 900), D: whole(random, 1, 70), Dv: whole(random, 1, 70) },
    };
    return inputsOf(randomProblem(sizes, random));
  });
})();

contract("memoryBytes stays the same over hundreds of mixed calls", async (engine, backend) => {
  const calls = backend.idleBytes === undefined ? 1000 : 150; // tests/webgpu makes a thousand.
  const step = async (inputs: Inputs, time: number) => {
    const held = engine.tensor([whole(seeded(time % 50), 1, 2000)]);
    await run(engine, inputs, { lse: time % 2 === 0 });
    held.free();
  };
  for (const [time, inputs] of mixed.entries()) await step(inputs, time);
  const bytes = engine.memoryBytes;
  for (let time = mixed.length; time < calls; time++) {
    await step(mixed[time % mixed.length], time);
    assertGivenBack(engine, bytes, backend);
  }
}, { daily: 1 / 3 });

contract("memoryBytes stays the same over calls that fail", async (engine, backend) => {
  const call = zeros(sizesOf({ Hq: 4, Nq: 300, Nk: 300, D: 32 }));
  await run(engine, call);
  const bytes = engine.memoryBytes;
  for (let time = 0; time < 50; time++) {
    const onProgress = () => {
      throw new Error("stop");
    };
    await errorOf(() => run(engine, call, { onProgress }));
  }
  await run(engine, call);
  assertGivenBack(engine, bytes, backend);
});

contract(
  "attention() names the bytes that it cannot have, and works afterwards",
  async (engine) => {
    const small = inputsOf(randomProblem(sizesOf({ Nq: 8, Nk: 100, D: 16 }), 1));
    const expected = await run(engine, small);
    const held = engine.tensor([1000]);
    held.data.fill(7);
    const bytes = engine.memoryBytes;
    const large = zeros(sizesOf({ Nq: 20, Nk: 65536, D: 64 }));
    for (let time = 0; time < 3; time++) {
      const error = await errorOf(() => run(engine, large)) as Error;
      assert(error instanceof RangeError);
      const pattern =
        /^Cannot allocate (\d+) bytes of Wasm memory: \d+ are in use, the memory may have 2000000$/;
      assertMatch(error.message, pattern);
      const wanted = Number(error.message.match(pattern)![1]);
      const packed = 2 * 65536 * 64 * 4;
      assert(wanted >= packed && wanted <= packed + 4 * MiB, error.message);
      assertEquals(engine.memoryBytes, bytes);
    }
    assertSameBits(held.data, new Float32Array(1000).fill(7));
    assertSameBits((await run(engine, small)).out.data, expected.out.data);
  },
  { needs: "maxMemoryBytes", maxMemoryBytes: 2_000_000 },
);

contract("attention() names the bytes that a result cannot have", async (engine) => {
  const one = new Float32Array(1), bytes = engine.memoryBytes;
  const q = { data: one, shape: [2 ** 40, 1], strides: [0, 0] };
  const k = { data: one, shape: [1, 1] };
  const error = await errorOf(() => engine.attention(q, k, k)) as Error;
  assert(error instanceof RangeError);
  assertEquals(
    error.message,
    "Cannot attend: no 4398046511104 bytes for a result of shape [1099511627776,1]",
  );
  assertEquals(engine.memoryBytes, bytes);
  assertSameBits((await engine.attention(k, k, k)).out.data, [0]);
}, { daily: 1 / 3 });

contract("engine.tensor() names the bytes that it cannot have", async (engine) => {
  const error = await errorOf(() => engine.tensor([2 ** 20])) as Error;
  assert(error instanceof RangeError);
  assertMatch(error.message, /^Cannot allocate 4194304 bytes of Wasm memory: /);
  for (const shape of [[2 ** 31], [2 ** 40], [2 ** 30, 2 ** 30]]) {
    assert(await errorOf(() => engine.tensor(shape)) instanceof RangeError);
  }
  assertEquals(engine.tensor([1000]).data.length, 1000);
}, { needs: "maxMemoryBytes", maxMemoryBytes: 2_000_000 });

contract("maxMemoryBytes is never exceeded, and all of it can be had", (engine) => {
  const tensors = [];
  let full = false;
  while (!full) {
    try {
      tensors.push(engine.tensor([10_000]));
    } catch {
      full = true;
    }
    assert(engine.memoryBytes <= 2_000_000);
  }
  // All but the binary's own data, and less than one tensor at the end.
  assert(tensors.length * 40_000 > 2_000_000 - 65_536 - 2 * 41_000, `${tensors.length} tensors`);
}, { needs: "maxMemoryBytes", maxMemoryBytes: 2_000_000 });

contract("attention() runs in the least memory that an engine can have", async (engine) => {
  const small = inputsOf(randomProblem(sizesOf({ Nq: 30, Nk: 200, D: 32 }), 1));
  assertEquals((await run(engine, small)).out.shape, [1, 1, 30, 32]);
  assertEquals(engine.memoryBytes, MiB);
}, { needs: "maxMemoryBytes", maxMemoryBytes: MiB });

contract("engine.tensor() is zero, also where memory was used before", async (engine) => {
  for (let time = 0; time < 3; time++) {
    const tensor = engine.tensor([3, 500]);
    assertSameBits(tensor.data, new Float32Array(1500));
    tensor.data.fill(NaN);
    tensor.free();
    await run(engine, mixed[time]);
  }
}, { daily: 1 / 3, needs: "hostTensors" });

contract("engine.tensor() has the shape and dtype that were asked for", (engine) => {
  for (const shape of [[2, 3, 4, 5], [7], [0, 4], []]) {
    const tensor = engine.tensor(shape, "f32");
    assertEquals(tensor.shape, shape);
    assertEquals(tensor.dtype, "f32");
    assertEquals(tensor.data.length, count(shape));
  }
}, { needs: "hostTensors" });

contract("engine.tensor() keeps its elements while memory grows", async (engine) => {
  const tensor = engine.tensor([4, 4]);
  tensor.data.set(Array.from({ length: 16 }, (_, at) => at));
  const bytes = engine.memoryBytes;
  await run(engine, zeros(sizesOf({ Nq: 20, Nk: 20_000, D: 64 })));
  assert(engine.memoryBytes > bytes);
  assertSameBits(tensor.data, Array.from({ length: 16 }, (_, at) => at));
}, { needs: "hostTensors" });

contract("engine.tensor() gives its memory back, once", (engine) => {
  const shape = [100_000];
  const tensor = engine.tensor(shape);
  tensor.free();
  const other = engine.tensor(shape);
  tensor.free(); // Twice is once: the memory is the other's by now.
  const third = engine.tensor([10]);
  other.data.fill(1);
  third.data.fill(2);
  assertSameBits(other.data, new Float32Array(100_000).fill(1));
  other.free();
  const bytes = engine.memoryBytes;
  for (let time = 0; time < 100; time++) engine.tensor(shape)[Symbol.dispose]();
  assertEquals(engine.memoryBytes, bytes);
}, { needs: "hostTensors" });

contract("engine.tensor() cannot be used after free()", async (engine) => {
  const q = engine.tensor([2, 3]), k = engine.tensor([2, 3]);
  q.free();
  k[Symbol.dispose]();
  const message = "Cannot use a tensor of shape [2,3] after `free()`";
  const bytes = engine.memoryBytes;
  for (const use of [() => q.data, () => k.data, () => run(engine, { q, k, v: k })]) {
    const error = await errorOf(use) as Error;
    assert(error instanceof TypeError);
    assertEquals(error.message, message);
  }
  assertEquals(engine.memoryBytes, bytes);
}, { needs: "hostTensors" });

/** Values `[H, Nk, Dv]` stored as `[H, Dv, Nk]` in an engine's memory, as some write them. */
function transposedValues(engine: Engine, { k, v }: Inputs) {
  const [, H, Nk, Dv] = v.shape;
  const memory = engine.tensor([H, Dv, Nk]);
  memory.data.forEach((_, at) => {
    const j = at % Nk, d = Math.floor(at / Nk) % Dv, h = Math.floor(at / (Nk * Dv));
    memory.data[at] = v.data[(h * Nk + j) * Dv + d];
  });
  return {
    shape: v.shape,
    strides: [H * Dv * Nk, Dv * Nk, 1, Nk],
    get data() {
      return memory.data;
    },
    keys: k,
  };
}

contract("attention() is right where its own need makes memory grow", async (engine, backend) => {
  const inputs = inputsOf(randomProblem(sizesOf({ Hq: 2, Nq: 20, Nk: 3000, D: 64 }), 3));
  let expected = new Float32Array();
  await withEngine(backend, async (other) => {
    expected = (await run(other, inputs)).out.data as typeof expected;
  });
  const v = transposedValues(engine, inputs);
  const bytes = engine.memoryBytes;
  assertSameBits((await run(engine, { ...inputs, v })).out.data, expected);
  assert(engine.memoryBytes > bytes);
}, { daily: 1 / 3, needs: "hostTensors" });

contract("attention() is right where another call makes memory grow", async (engine) => {
  const inputs = inputsOf(randomProblem(sizesOf({ Hq: 3, Nq: 1500, Nk: 24, D: 512 }), 4));
  const expected = await run(engine, inputs);
  const v = transposedValues(engine, inputs);
  let times = 0;
  const onProgress = () => {
    const bytes = engine.memoryBytes;
    if (times++ === 0) engine.tensor([MiB]);
    assert(times > 1 || engine.memoryBytes > bytes);
  };
  const { out } = await run(engine, { ...inputs, v }, { onProgress });
  assert(times > 1);
  assertSameBits(out.data, expected.out.data);
}, { daily: 1 / 3, needs: "hostTensors" });

contract("attention() writes in place where its own need makes memory grow", async (engine) => {
  const inputs = inputsOf(randomProblem(sizesOf({ Hq: 2, Nq: 40, Nk: 4000, D: 64 }), 5));
  const memory = engine.tensor(inputs.q.shape);
  memory.data.set(inputs.q.data);
  const view = { data: memory.data, shape: inputs.q.shape };
  const bytes = engine.memoryBytes;
  await run(engine, { ...inputs, q: view }, { out: view });
  assert(engine.memoryBytes > bytes);
  assertSameBits(memory.data, (await run(engine, inputs)).out.data);
}, { daily: 1 / 3, needs: "hostTensors" });

contract(
  "attentionBackward() takes at most 8 MiB a thread, and no more for more queries and keys",
  async (engine, { threads }) => {
    const memoryOf = async (n: number) => {
      const rows = (width: number) => tensor(new Float32Array(n * width), [n, width]);
      const x = rows(64), lse = tensor(new Float32Array(n), [n]);
      await engine.attentionBackward(x, x, x, x, { causal: true, out: x, lse });
      return engine.memoryBytes;
    };
    const bytes = await memoryOf(4100);
    assert(bytes <= 8 * MiB * threads, `${bytes} bytes`);
    assertEquals(await memoryOf(8200), bytes);
  },
  { daily: 1 / 3, needs: ["backward", "linearMemory"] },
);
