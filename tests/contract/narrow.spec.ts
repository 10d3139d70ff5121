import {
  alibiSlopes,
  createEngine,
  type Engine,
  type HostTensor,
  type Tensor,
} from "@flashtile/attention";
import { assert, assertEquals } from "@std/assert";
import { test } from "node:test";
import { binaries } from "../support/binaries.ts";
import { assertSameBits } from "../support/bits.ts";
import { errorOf } from "../support/errors.ts";
import { type Inputs, inputsOf, type Meaning, randomProblem, sizesOf } from "../support/problem.ts";
import { normals, seeded } from "../support/random.ts";
import { residentOf } from "../support/resident.ts";
import { stored } from "../support/storage.ts";
import { longTest } from "../support/share.ts";

/** Few queries against so much that their own kernels are loaded. */
const sizes = {
  "one query": { Hq: 8, Nq: 1, Nk: 4500, D: 16 },
  "one of odd dimensions": { Hq: 4, Nq: 1, Nk: 5000, D: 35, Dv: 21 },
  "two that share keys": { Hq: 4, Hkv: 2, Nq: 1, Nk: 9000, D: 32 },
  "three": { B: 2, Hq: 2, Nq: 3, Nk: 3000, D: 48, Dv: 50 },
  "six rows": { Hq: 6, Hkv: 2, Nq: 2, Nk: 5000, D: 64 },
  "nine": { Hq: 2, Nq: 9, Nk: 5000, D: 64, Dv: 62 },
  "sixteen": { Hq: 2, Nq: 16, Nk: 4100, D: 66 },
} as const;

type Sizes = Parameters<typeof sizesOf>[0];

/** Tensors of any storage. */
type Given = { readonly [Name in keyof Inputs]: HostTensor };

function random(shape: readonly number[], seed: number): Tensor<Float32Array> {
  return { data: normals(shape.reduce((a, b) => a * b, 1), seeded(seed)), shape };
}

/** What is asked of a call of these sizes. */
function meaningsOf(given: Sizes): Record<string, Meaning> {
  const { B, Hq, Nq, Nk } = sizesOf(given), data = new Uint8Array(Nq * Nk);
  for (const [at] of data.entries()) data[at] = Number((at * 7919) % 5 > 1);
  return {
    "nothing else": {},
    "causal": { causal: true },
    "a window within a part": { window: [70, 3], offset: 2500 },
    "a window over all parts": { window: [2700, 0], causal: true },
    "lengths": { kvLengths: Array.from({ length: B }, (_, at) => at === 0 ? 2900 : 0) },
    "a softcap and a bias": { softcap: 3, bias: random([1, Hq, Nq, Nk], 2) },
    "a mask and sinks": { mask: { data, shape: [Nq, Nk] }, sinks: random([Hq], 3) },
    "slopes": { alibi: alibiSlopes(Hq), causal: true, scale: 0.7 },
  };
}

/** Asserts that an engine's own kernels give what whole panels give, which one has that never loaded them. */
async function assertSame(engine: Engine, inputs: Given, meaning: Meaning, what = "") {
  const { q, k, v } = inputs, options = { ...meaning, lse: true } as const;
  const plain = await createEngine({ backend: "wasm", threads: 1 });
  try {
    const expected = plain.attentionSync(q, k, v, options);
    const actual = await engine.attention(q, k, v, options);
    assertSameBits(actual.out.data, expected.out.data, `out ${what}`);
    assertSameBits(actual.lse.data, expected.lse.data, `lse ${what}`);
  } finally {
    await plain.close();
  }
}

async function withEngine(threads: number, use: (engine: Engine) => Promise<void>): Promise<void> {
  const engine = await createEngine({ backend: "wasm", threads });
  try {
    await use(engine);
  } finally {
    await engine.close();
  }
}

for (const [name, given] of Object.entries(sizes)) {
  longTest(
    `few queries have the same bits with kernels of their own: ${name}`,
    async () => {
      const inputs = inputsOf(randomProblem(sizesOf(given), 1));
      for (const threads of [1, 2]) {
        await withEngine(threads, async (engine) => {
          for (const [what, meaning] of Object.entries(meaningsOf(given))) {
            await assertSame(engine, inputs, meaning, `with ${what}, ${threads} threads`);
          }
        });
      }
    },
  );
}

longTest(
  "few queries have the same bits with kernels of their own, however tensors are stored",
  async () => {
    await withEngine(1, async (engine) => {
      for (const given of [sizes["one query"], sizes["six rows"]]) {
        const { q, k, v } = inputsOf(randomProblem(sizesOf(given), 2));
        for (const dtype of ["f32", "f16", "bf16"] as const) {
          const [ofK, ofV] = [stored(k, dtype), stored(v, dtype)];
          await assertSame(engine, { q, k: ofK, v: ofV }, { causal: true }, dtype);
          const own = [residentOf(engine, ofK), residentOf(engine, ofV)];
          const [expected, actual] = [
            await engine.attention(q, ofK, ofV),
            await engine.attention(q, own[0], own[1]),
          ];
          assertSameBits(actual.out.data, expected.out.data, `${dtype} in the engine's memory`);
          for (const tensor of own) tensor.free();
        }
        const turned = ({ data, shape: [B, H, N, D] }: HostTensor) => ({
          ...{ data, shape: [B, H, N, D], strides: [H * N * D, 1, H, H * N] },
        });
        await assertSame(engine, { q, k: turned(k), v: turned(v) }, {}, "of odd strides");
      }
    });
  },
);

test("packed sequences of few queries each have the same bits with kernels of their own", async () => {
  const { q, k, v } = inputsOf(
    randomProblem(sizesOf({ Hq: 4, Hkv: 2, Nq: 9, Nk: 9000, D: 32 }), 3),
  );
  const cuSeqlens = { q: [0, 1, 1, 7, 9], k: [0, 4000, 4100, 8900, 9000] };
  await withEngine(1, async (engine) => {
    await assertSame(engine, { q, k, v }, { cuSeqlens, causal: true });
    await assertSame(engine, { q, k, v }, { cuSeqlens, kvLengths: [3000, 100, 4000, 0] });
  });
});

test("few queries have the bits of the binary that was passed in", async () => {
  const inputs = inputsOf(randomProblem(sizesOf(sizes["six rows"]), 5));
  for (const bytes of Object.values(binaries)) {
    if (!WebAssembly.validate(bytes)) continue;
    const engine = await createEngine({ module: await WebAssembly.compile(bytes) });
    try {
      const { q, k, v } = inputs, expected = engine.attentionSync(q, k, v);
      assertSameBits((await engine.attention(q, k, v)).out.data, expected.out.data);
    } finally {
      await engine.close();
    }
  }
});

longTest(
  "few queries leave no trace of what they do not see, and take no memory for what they do",
  async () => {
    const seen = 25_000, all = 30_000, width = 64;
    const { q, k, v } = inputsOf(randomProblem(sizesOf({ Nq: 2, Nk: all, D: width }), 4));
    const [spoiltK, spoiltV] = [k, v].map(({ data, shape }) => {
      const copy = Float32Array.from(data);
      copy.fill(NaN, seen * width);
      return { data: copy, shape };
    });
    const mask = { data: new Uint8Array(all).fill(1, 0, seen), shape: [1, all] };
    await withEngine(1, async (engine) => {
      const expected = await engine.attention(q, k, v, { mask }), bytes = engine.memoryBytes;
      // 15 MB of keys and values pass through.
      assert(bytes < 4 * 2 ** 20, `${bytes} bytes`);
      const { out } = await engine.attention(q, spoiltK, spoiltV, { mask });
      assertSameBits(out.data, expected.out.data);
      for (const length of [seen, seen - 1]) {
        await assertSame(engine, { q, k: spoiltK, v: spoiltV }, { kvLengths: [length] });
      }
      const controller = new AbortController();
      const aborted = errorOf(() => engine.attention(q, k, v, { signal: controller.signal }));
      controller.abort("no more");
      await aborted;
      assertSameBits((await engine.attention(q, k, v, { mask })).out.data, expected.out.data);
      assertEquals(engine.memoryBytes, bytes);
    });
  },
);
