import { assertEquals } from "@std/assert";
import type { AttentionOptions, KvCache, NumberList, Tensor } from "@flashtile/attention";
import { referenceAttention } from "@flashtile/attention/reference";
import { assertSameBits } from "../support/bits.ts";
import { errorOf } from "../support/errors.ts";
import { floatForms, type Forms, wholeForms } from "../support/lists.ts";
import { inputsOf, randomProblem, sizesOf } from "../support/problem.ts";
import { sharedOut } from "../support/share.ts";
import { normals, seeded } from "../support/random.ts";
import { contract } from "./backends.ts";

const batches = randomProblem(sizesOf({ B: 3, Hq: 4, Hkv: 2, Nq: 5, Nk: 20, D: 8 }), 1);
const packed = randomProblem(sizesOf({ Hq: 4, Hkv: 2, Nq: 12, Nk: 20, D: 8 }), 2);
const square = randomProblem(sizesOf({ Hq: 4, Hkv: 2, Nq: 20, D: 8 }), 3);

const slopes = [0.5, 0.25, 0.125, 0.0625], scores = [-1, 0.5, 2, -0.25];
const eachSlopes = [1, 2, 3].flatMap((times) => slopes.map((slope) => slope * times));
const queryEnds = [0, 2, 2, 12], keyEnds = [0, 4, 9, 20];

/** An option, the problem that it is tried on, and its forms, the first one being the plain one. */
interface Trial {
  readonly what: string;
  readonly problem: typeof batches;
  readonly options: (list: NumberList) => AttentionOptions;
  readonly forms: Forms;
}

const trials: readonly Trial[] = [
  {
    what: "offset",
    problem: batches,
    options: (offset) => ({ causal: true, offset }),
    forms: wholeForms([3, 0, 17]),
  },
  {
    what: "kvLengths",
    problem: batches,
    options: (kvLengths) => ({ kvLengths }),
    forms: wholeForms([20, 0, 11]),
  },
  {
    what: "alibi",
    problem: batches,
    options: (alibi) => ({ alibi }),
    forms: floatForms(slopes),
  },
  {
    what: "alibi of each batch",
    problem: batches,
    options: (alibi) => ({ alibi }),
    forms: [
      ["a tensor", { data: Float32Array.from(eachSlopes), shape: [3, 4] }],
      ["a tensor of doubles", { data: Float64Array.from(eachSlopes), shape: [3, 4] }],
      ["a tensor with strides", {
        data: Float32Array.from(
          { length: 12 },
          (_, at) => eachSlopes[at % 3 * 4 + Math.floor(at / 3)],
        ),
        ...{ shape: [3, 4], strides: [1, 3] },
      }],
    ],
  },
  {
    what: "sinks",
    problem: batches,
    options: (sinks) => ({ sinks }),
    forms: floatForms(scores),
  },
  {
    what: "cuSeqlens.q",
    problem: packed,
    options: (q) => ({ cuSeqlens: { q, k: keyEnds } }),
    forms: wholeForms(queryEnds),
  },
  {
    what: "cuSeqlens.k",
    problem: packed,
    options: (k) => ({ cuSeqlens: { q: queryEnds, k } }),
    forms: wholeForms(keyEnds),
  },
  {
    what: "cuSeqlens for both",
    problem: square,
    options: (cuSeqlens) => ({ causal: true, cuSeqlens }),
    forms: wholeForms(keyEnds),
  },
  {
    what: "kvLengths of sequences",
    problem: packed,
    options: (kvLengths) => ({ kvLengths, cuSeqlens: { q: queryEnds, k: keyEnds } }),
    forms: wholeForms([4, 2, 7]),
  },
];

for (const { what, problem, options, forms } of trials) {
  contract(`attention() takes ${what} in every form, with the same bits`, async (engine) => {
    const { q, k, v } = inputsOf(problem), [[, plain]] = forms;
    const right = await engine.attention(q, k, v, { ...options(plain), lse: true });
    const none = await engine.attention(q, k, v, { lse: true });
    assertEquals(right.lse.data.some((x, at) => x !== none.lse.data[at]), true, "it does nothing");
    for (const [form, list] of forms) {
      const { out, lse } = await engine.attention(q, k, v, { ...options(list), lse: true });
      assertSameBits(out.data, right.out.data, form);
      assertSameBits(lse.data, right.lse.data, form);
    }
  });

  contract(`attention() reads ${what} as the oracle does, in every form`, async (engine) => {
    const { q, k, v } = inputsOf(problem);
    for (const [form, list] of forms) {
      const exact = referenceAttention(q, k, v, options(list));
      const { out } = await engine.attention(q, k, v, options(list));
      const error = Math.max(...out.data.map((x, at) => Math.abs(x - exact.out.data[at])));
      assertEquals(error < 2 ** -18, true, `${form} is off by ${error}`);
    }
  });
}

contract("attentionWithGradient() takes slopes and sinks in every form", async (engine) => {
  const { q, k, v } = inputsOf(batches);
  const gradientsOf = async (options: AttentionOptions) => {
    const { out, backward } = await engine.attentionWithGradient(q, k, v, options);
    return await backward(out);
  };
  const right = await gradientsOf({ alibi: slopes, sinks: scores });
  assertEquals(right.dSinks?.shape, [4]);
  const sinkForms = floatForms(scores);
  for (const [at, [form, alibi]] of floatForms(slopes).entries()) {
    const { dq, dSinks } = await gradientsOf({ alibi, sinks: sinkForms[at][1] });
    assertSameBits(dq.data, right.dq.data, form);
    assertSameBits(dSinks!.data, right.dSinks!.data, form);
  }
}, { needs: "backward" });

const numbers = (shape: readonly number[], seed: number): Tensor => ({
  data: normals(shape.reduce((size, extent) => size * extent, 1), seeded(seed)),
  shape,
});

contract("a cache takes lengths, offset and sinks in every form", async (engine) => {
  const keys = numbers([3, 2, 6, 8], 4), q = numbers([3, 4, 4, 8], 5);
  const run = async (
    use: (cache: KvCache) => Promise<{ readonly out: { readonly data: Float32Array } }>,
    lengths: NumberList,
  ) => {
    using cache = engine.kvCache({ batch: 3, kvHeads: 2, headDim: 8 });
    cache.append(keys, keys, { lengths });
    return (await use(cache)).out.data;
  };
  const appended = [6, 4, 5], counted = [4, 3, 1], offset = [2, 1, 4];
  const right = await run((cache) => cache.attend(q, { causal: true, lengths: counted }), appended);
  const moved = await run((cache) => cache.attend(q, { causal: true, offset }), appended);
  const sunk = await run((cache) => cache.attend(q, { sinks: scores }), appended);
  for (const [form, lengths] of wholeForms(appended)) {
    const given = await run(
      (cache) => cache.attend(q, { causal: true, lengths: counted }),
      lengths,
    );
    assertSameBits(given, right, `appended as ${form}`);
  }
  for (const [form, lengths] of wholeForms(counted)) {
    const given = await run((cache) => cache.attend(q, { causal: true, lengths }), appended);
    assertSameBits(given, right, `attended as ${form}`);
  }
  for (const [form, list] of wholeForms(offset)) {
    const given = await run((cache) => cache.attend(q, { causal: true, offset: list }), appended);
    assertSameBits(given, moved, `offset as ${form}`);
  }
  for (const [form, sinks] of floatForms(scores)) {
    assertSameBits(await run((cache) => cache.attend(q, { sinks }), appended), sunk, form);
  }
}, { needs: "kvCache" });

contract("a cache takes sequences, bounds, trees and orders in every form", async (engine) => {
  const keys = numbers([1, 2, 9, 8], 4),
    q = numbers([1, 4, 9, 8], 5),
    few = numbers([3, 4, 1, 8], 6);
  const given = { sequences: [2, 0], cuSeqlens: [0, 4, 9], parents: [-1, 0, 1, 0, -1, 0, 0, 1, 2] };
  const ends = { order: [1, 2, 2], indices: [0, 2, 3] };
  const run = async (lists: Readonly<Record<string, NumberList>>) => {
    using cache = engine.kvCache({ batch: 3, kvHeads: 2, headDim: 8 });
    const { parents = given.parents, order = ends.order, indices = ends.indices, ...rows } = lists;
    cache.append(keys, keys, {
      sequences: given.sequences,
      cuSeqlens: given.cuSeqlens,
      ...rows,
    });
    const { out } = await cache.attend(q, { ...given, ...rows, parents });
    cache.keep(0, indices);
    cache.reorder(order);
    return [...out.data, ...(await cache.attend(few)).out.data, ...cache.lengths];
  };
  const right = await run({});
  for (const [name, list] of Object.entries({ ...given, ...ends })) {
    for (const [form, one] of sharedOut(wholeForms(list), 3, name)) {
      // What is -1 has no place in some.
      if (name === "parents" && /Uint|Clamped/.test(form)) continue;
      assertSameBits(await run({ [name]: one }), right, `${name} as ${form}`);
    }
  }
}, { needs: "kvCache" });

contract("rope() takes positions in every form", async (engine) => {
  const rotated = async (positions: NumberList) => {
    const q = numbers([2, 2, 3, 8], 6);
    await engine.rope(q, null, { positions });
    return q.data;
  };
  for (const list of [[4, 9, 2], [4, 9, 2, 1, 0, 7]]) {
    const right = await rotated(list);
    for (const [form, positions] of wholeForms(list)) {
      assertSameBits(await rotated(positions), right, form);
    }
  }
  const each = await rotated([4, 9, 2, 1, 0, 7]);
  const table = { data: Int32Array.of(4, 9, 2, 1, 0, 7), shape: [2, 3] };
  assertSameBits(await rotated(table), each, "[B, N]");
  const turned = { data: Int32Array.of(4, 1, 9, 0, 2, 7), shape: [2, 3], strides: [1, 2] };
  assertSameBits(await rotated(turned), each, "[B, N] with strides");
  const one = { data: Int32Array.of(4, 9, 2), shape: [1, 3] };
  assertSameBits(await rotated(one), await rotated([4, 9, 2]), "[1, N]");
  const across = { data: Int32Array.of(4, 9, 2, 1, 0, 7), shape: [3, 2] };
  assertEquals(await errorOf(() => rotated(across)) instanceof RangeError, true);
}, { needs: "rope" });

contract("cascadeAttention() takes sinks in every form", async (engine) => {
  const prefix = numbers([1, 2, 6, 8], 7), suffix = numbers([2, 2, 5, 8], 8);
  const q = numbers([2, 4, 1, 8], 9);
  const run = async (sinks: NumberList) => {
    const parts = [prefix, suffix].map((kv) => ({ k: kv, v: kv }));
    return (await engine.cascadeAttention(q, parts[0], parts[1], { sinks })).out.data;
  };
  const right = await run(scores);
  for (const [form, sinks] of floatForms(scores)) assertSameBits(await run(sinks), right, form);
}, { needs: ["kvCache", "mergeAttention"] });

contract("a signal of null is as none", async (engine) => {
  const { q, k, v } = inputsOf(batches), signal = null;
  const { out, lse } = await engine.attention(q, k, v, { lse: true });
  const same = await engine.attention(q, k, v, { signal });
  assertSameBits(same.out.data, out.data);
  const { backward } = await engine.attentionWithGradient(q, k, v, { signal });
  const { dq } = await backward(out, { signal });
  const again = await engine.attentionBackward(out, q, k, v, { out, lse, signal });
  assertEquals(again.dq.shape, dq.shape);
  const part = { k: numbers([1, 2, 6, 8], 7), v: numbers([1, 2, 6, 8], 8) };
  const rows = numbers([1, 4, 1, 8], 9);
  await engine.cascadeAttention(rows, part, part, { signal });
  using cache = engine.kvCache({ kvHeads: 2, headDim: 8 });
  cache.append(part.k, part.v);
  await cache.attend(rows, { signal });
}, { needs: ["backward", "kvCache"] });

contract("attentionSync() takes a signal of null", (engine) => {
  const { q, k, v } = inputsOf(batches);
  const { out } = engine.attentionSync(q, k, v, { signal: null });
  assertSameBits(out.data, engine.attentionSync(q, k, v).out.data);
  using cache = engine.kvCache({ kvHeads: 2, headDim: 8 });
  cache.append(numbers([1, 2, 6, 8], 7), numbers([1, 2, 6, 8], 8));
  cache.attendSync(numbers([1, 4, 1, 8], 9), { signal: null });
}, { needs: ["attentionSync", "kvCache"] });
