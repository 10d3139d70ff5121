import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { DType, Engine, HostData, HostTensor, Tensor } from "@flashtile/attention";
import { referenceAttention } from "@flashtile/attention/reference";
import {
  type Call,
  calls,
  outOf,
  presentInputs,
  presentOut,
  problemOf,
  runs,
} from "../support/arbitrary.ts";
import { assertSameBits } from "../support/bits.ts";
import { assertWithinBudget, measure } from "../support/budget.ts";
import { naiveAttention } from "../support/naive.ts";
import { once } from "../support/once.ts";
import {
  inputsOf,
  type Meaning,
  type Problem,
  randomProblem,
  shapesOf,
  sizesOf,
} from "../support/problem.ts";
import { residentOf } from "../support/resident.ts";
import { sharedOut } from "../support/share.ts";
import {
  bitsIn,
  halfUlpOf,
  numbersIn,
  rounded,
  type Storage,
  storages,
  stored,
} from "../support/storage.ts";
import { contract } from "./backends.ts";

const dtypes: readonly DType[] = ["f32", "f16", "bf16"];

/** Element types of the tensors of a call. */
interface Dtypes {
  readonly q: DType;
  readonly k: DType;
  readonly v: DType;
}

/** A problem whose numbers are those that the element types have. */
function roundedProblem(problem: Problem, { q, k, v }: Dtypes): Problem {
  return {
    sizes: problem.sizes,
    q: rounded(problem.q, q),
    k: rounded(problem.k, k),
    v: rounded(problem.v, v),
  };
}

const cases: { sizes: Parameters<typeof sizesOf>[0]; meaning: Meaning }[] = [
  { sizes: { Hq: 8, Nq: 128, Nk: 200, D: 64 }, meaning: {} },
  { sizes: { B: 2, Hq: 6, Hkv: 2, Nq: 67, Nk: 101, D: 59, Dv: 37 }, meaning: { causal: true } },
  { sizes: { B: 2, Hq: 16, Hkv: 8, Nq: 2, Nk: 3000, D: 16 }, meaning: { causal: true } },
];

for (const storage of storages) {
  for (const { sizes, meaning } of sharedOut(cases, 1, storage)) {
    const prepare = once(() => {
      const all = { q: storage, k: storage, v: storage };
      const problem = roundedProblem(randomProblem(sizesOf(sizes), 1), all);
      const { q, k, v } = inputsOf(problem);
      const exact = referenceAttention(q, k, v, meaning);
      return { q, k, v, exact, naive: naiveAttention(problem, meaning) };
    });

    contract(
      `attention() stays within the error budget for ${storage}, ${JSON.stringify(sizes)}`,
      async (engine) => {
        const { q, k, v, exact, naive } = prepare();
        const [sq, sk, sv] = [q, k, v].map((tensor) => stored(tensor, storage));
        const ours = await engine.attention(sq, sk, sv, { ...meaning, lse: true });
        const out = numbersIn(ours.out.data, storage);
        const errors = measure(out, rounded(naive.out, storage), exact.out.data);
        assertWithinBudget("out", errors, halfUlpOf(storage, errors.largest));
        assertWithinBudget("lse", measure(ours.lse.data, naive.lse, exact.lse.data));
      },
      { daily: 1 / 3 },
    );
  }
}

contract("attention() takes 16-bit inputs as the numbers they stand for", async (engine) => {
  const problem = randomProblem(sizesOf({ B: 2, Hq: 4, Hkv: 2, Nq: 19, Nk: 70, D: 12, Dv: 7 }), 2);
  for (const q of dtypes) {
    for (const k of dtypes) {
      for (const v of dtypes) {
        const numbers = inputsOf(roundedProblem(problem, { q, k, v }));
        const given = inputsOf(problem);
        const out = { data: new Float32Array(2 * 4 * 19 * 7), shape: [2, 4, 19, 7] };
        const ours = await engine.attention(
          stored(given.q, q),
          stored(given.k, k, true),
          stored(given.v, v),
          { causal: true, lse: true, out },
        );
        const expected = await engine.attention(numbers.q, numbers.k, numbers.v, {
          causal: true,
          lse: true,
        });
        assertSameBits(out.data, expected.out.data, `out of ${q}, ${k}, ${v}`);
        assertSameBits(ours.lse.data, expected.lse.data, `lse of ${q}, ${k}, ${v}`);
      }
    }
  }
});

contract("attention() rounds its f32 result once where it is stored in 16 bits", async (engine) => {
  const sizes = sizesOf({ Hq: 3, Nq: 33, Nk: 50, D: 9, Dv: 11 });
  const { q, k, v } = inputsOf(randomProblem(sizes, 3));
  const { out: { data: numbers, shape } } = await engine.attention(q, k, v);
  for (const dtype of storages) {
    const out = { data: new Uint16Array(numbers.length), shape, dtype };
    const result = await engine.attention(q, k, v, { out });
    assertEquals(Array.from(out.data), Array.from(bitsIn(numbers, dtype)));
    assert(result.out as HostTensor === out);
  }
});

contract("attention() stores its result as q is stored", async (engine) => {
  const problem = inputsOf(randomProblem(sizesOf({ Nq: 5, D: 4 }), 4));
  const kinds: [HostTensor, DType, new (length: number) => HostData][] = [
    [problem.q, "f32", Float32Array],
    [stored(problem.q, "f16"), "f16", Uint16Array],
    [stored(problem.q, "bf16"), "bf16", Uint16Array],
  ];
  if (typeof Float16Array !== "undefined") {
    kinds.push([stored(problem.q, "f16", true), "f16", Float16Array]);
  }
  for (const [q, dtype, kind] of kinds) {
    for (const other of dtypes) {
      const [k, v] = [stored(problem.k, other), stored(problem.v, other)];
      const { out, lse } = await engine.attention(q, k, v, { lse: true });
      assert(out.data.constructor === kind, `${out.data.constructor.name} for ${dtype}`);
      assertEquals([out.dtype, out.shape], [dtype, q.shape]);
      assert(lse.data instanceof Float32Array);
      assertEquals(lse.dtype, "f32");
    }
  }
});

contract("attention() gives the same bits for Float16Array and for its bits", async (engine) => {
  if (typeof Float16Array === "undefined") return;
  const { q, k, v } = inputsOf(randomProblem(sizesOf({ Hq: 2, Nq: 9, Nk: 30, D: 6 }), 5));
  const results = [false, true].map(async (floats) => {
    const [a, b, c] = [q, k, v].map((tensor) => stored(tensor, "f16", floats));
    const { out } = await engine.attention(a, b, c, { causal: true });
    return numbersIn(out.data, "f16");
  });
  assertSameBits(await results[1], await results[0]);
});

contract("attention() gives zero and -Infinity for unseen rows in 16 bits", async (engine) => {
  for (const storage of storages) {
    for (const Nk of [0, 2]) {
      const problem = inputsOf(randomProblem(sizesOf({ Hq: 2, Nq: 4, Nk, D: 3 }), 6));
      const [q, k, v] = [problem.q, problem.k, problem.v].map((one) => stored(one, storage));
      const out = { ...q, data: new Uint16Array(24).fill(0x7fff) };
      const { lse } = await engine.attention(q, k, v, { causal: true, lse: true, out });
      for (let row = 0; row < 8; row++) {
        const unseen = row % 4 < 4 - Nk;
        const bits = out.data.subarray(row * 3, row * 3 + 3);
        assertEquals(bits.every((word) => word === 0), unseen);
        assertEquals(lse.data[row] === -Infinity, unseen);
      }
    }
  }
});

contract("attention() is right where a 16-bit out lies over one of its inputs", async (engine) => {
  for (const storage of storages) {
    for (const name of ["q", "k", "v"] as const) {
      const inputs = inputsOf(randomProblem(sizesOf({ B: 2, Hq: 3, Nq: 70, D: 6 }), 7));
      const given = {
        q: stored(inputs.q, storage),
        k: stored(inputs.k, storage),
        v: stored(inputs.v, storage),
      };
      const apart = await engine.attention(given.q, given.k, given.v, { causal: true });
      const expected = numbersIn(apart.out.data, storage);
      await engine.attention(given.q, given.k, given.v, { causal: true, out: given[name] });
      assertSameBits(numbersIn(given[name].data, storage), expected, `${storage} over ${name}`);
    }
  }
});

contract("attention() keeps 16-bit NaN in masked keys from leaving a trace", async (engine) => {
  for (const storage of storages) {
    const problem = randomProblem(sizesOf({ Hq: 2, Nq: 9, Nk: 13, D: 5, Dv: 6 }), 8);
    const { q, k, v } = inputsOf(problem);
    const run = async (poison: number | undefined) => {
      const [a, b, c] = [q, k, v].map((tensor) => stored(tensor, storage));
      for (const [{ data }, width] of [[b, 5], [c, 6]] as const) {
        if (poison === undefined) continue;
        data.forEach((_, at) => Math.floor(at / width) % 13 > 6 && (data[at] = poison));
      }
      const { out } = await engine.attention(a, b, c, { causal: true, offset: -2 });
      return numbersIn(out.data, storage);
    };
    const expected = await run(undefined);
    for (const poison of [0x7fff, 0xffff, 0x7f81, 0x7c01, 0x7c00, 0xff80]) {
      assertSameBits(await run(poison), expected, `0x${poison.toString(16)} in ${storage}`);
    }
  }
});

contract("engine.tensor() keeps 16-bit numbers, zero at first", (engine) => {
  for (const storage of storages) {
    const half = storage === "f16" && typeof Float16Array !== "undefined";
    for (let time = 0; time < 2; time++) {
      const tensor = engine.tensor([3, 50], storage);
      assertEquals([tensor.shape, tensor.dtype, tensor.data.length], [[3, 50], storage, 150]);
      assert(tensor.data.constructor === (half ? Float16Array : Uint16Array));
      assert(tensor.data.every((x: number) => x === 0));
      tensor.data.fill(7);
      tensor.free();
    }
  }
}, { needs: "hostTensors" });

/** Element types for the tensors of a random call, and which of them live in the engine's memory. */
const storedCalls = fc.record({
  call: calls,
  q: fc.constantFrom(...dtypes),
  k: fc.constantFrom(...dtypes),
  v: fc.constantFrom(...dtypes),
  out: fc.constantFrom(...dtypes),
  floats: fc.boolean(),
  which: fc.integer({ min: 0, max: 15 }),
});

/** What a call with 16-bit tensors must give: the f32 call on rounded numbers, rounded. */
async function plainly(engine: Engine, { problem, meaning }: Call, dtypes: Dtypes, out: DType) {
  const { q, k, v } = inputsOf(roundedProblem(problem, dtypes));
  const result = await engine.attention(q, k, v, { ...meaning, lse: true });
  return { out: rounded(result.out.data, out), lse: result.lse.data };
}

contract("attention() gives the same bits for 16-bit tensors anywhere", async (engine) => {
  await fc.assert(
    fc.asyncProperty(storedCalls, async ({ call, out, floats, which, ...kinds }) => {
      const held: { free(): void }[] = [];
      const place = (tensor: Tensor, dtype: DType, bit: number): HostTensor => {
        const one = stored(tensor, dtype, floats);
        if ((which & bit) === 0) return one;
        const there = residentOf(engine, one);
        held.push(there);
        return there;
      };
      const inputs = presentInputs(call);
      const q = place(inputs.q, kinds.q, 1), k = place(inputs.k, kinds.k, 2);
      const v = place(inputs.v, kinds.v, 4), target = place(presentOut(call), out, 8);
      const options = { ...call.meaning, layout: call.layout, lse: true, out: target } as const;
      const result = await engine.attention(q, k, v, options);
      const expected = await plainly(engine, call, kinds, out);
      const numbers = { ...target, data: numbersIn(target.data, out) };
      assertSameBits(outOf(call, numbers as Tensor), expected.out, "out");
      assertSameBits(result.lse.data, expected.lse, "lse");
      held.forEach((tensor) => tensor.free());
    }),
    runs(80),
  );
}, { daily: 1 / 3, needs: "hostTensors" });

contract("attentionSync() gives the bits of attention() in 16 bits", async (engine) => {
  const problem = problemOf(sizesOf({ Hq: 4, Hkv: 2, Nq: 65, Nk: 130, D: 31 }), 9);
  const { q, k, v } = inputsOf(problem);
  for (const storage of storages) {
    const [a, b, c] = [q, k, v].map((tensor) => stored(tensor, storage));
    const one = await engine.attention(a, b, c);
    const sync = engine.attentionSync(a, b, c);
    assertEquals(sync.out.shape, shapesOf(problem.sizes).out as readonly number[]);
    assertSameBits(
      numbersIn(sync.out.data, storage as Storage),
      numbersIn(one.out.data, storage as Storage),
    );
  }
}, { needs: "attentionSync" });
