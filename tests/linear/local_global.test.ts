import { type Tensor, tensor } from "@flashtile/attention";
import {
  localGlobalAttention,
  localGlobalAttentionWithGradient,
} from "@flashtile/attention/linear";
import { referenceLocalGlobalAttentionBackward } from "@flashtile/attention/reference";
import { assert, assertEquals } from "@std/assert";
import { contract } from "../contract/backends.ts";
import { measure } from "../support/budget.ts";
import { type Functions, madeContract, type MadeRefusal } from "../support/made_contract.ts";
import { normals, seeded } from "../support/random.ts";

const functions: Functions = {
  ...{ kind: "localGlobal", name: "localGlobalAttention" },
  plain: localGlobalAttention as unknown as Functions["plain"],
  twin: localGlobalAttentionWithGradient as unknown as Functions["twin"],
};

function zeros(...shape: number[]): Tensor<Float32Array> {
  return { data: new Float32Array(shape.reduce((a, b) => a * b, 1)), shape };
}

const right = {
  ...{ q: zeros(2, 4, 5, 8), k: zeros(2, 2, 5, 8), v: zeros(2, 2, 5, 6) },
  options: { block: 2 },
};

const refusals: readonly MadeRefusal[] = [
  { what: "no options", options: 3, error: TypeError, message: "options must be an object, got 3" },
  {
    ...{ what: "no block", options: { block: undefined }, error: TypeError },
    message: "`block` must be a whole number of at least 1, got undefined",
  },
  ...[0, -1, 1.5, NaN].map((block) => ({
    ...{ what: `a block of ${block}`, options: { block }, error: RangeError },
    message: `\`block\` must be a whole number of at least 1, got ${block}`,
  })),
  { what: "a block in words", options: { block: "2" }, error: TypeError, message: 'got "2"' },
  {
    ...{ what: "fewer queries than keys", given: { q: zeros(2, 4, 4, 8) }, error: RangeError },
    message:
      "`k` must have Nk = 4 rows as `q` has, since each query stands on the key of its position, got 5",
  },
  {
    ...{ what: "causal in words", options: { causal: "top-left" }, error: TypeError },
    message: '`causal` must be true or false, got "top-left"',
  },
  {
    ...{ what: "a pool of another block", options: { pool: zeros(3) }, error: RangeError },
    message: "`pool` must be [block = 2] or [Hkv = 2, block], got [3]",
  },
  {
    ...{ what: "a pool for heads of queries", options: { pool: zeros(4, 2) }, error: RangeError },
    message: "`pool` must be [block = 2] or [Hkv = 2, block], got [4,2]",
  },
  {
    ...{ what: "a pool of more axes", options: { pool: zeros(1, 2, 2) }, error: RangeError },
    message: "got [1,2,2]",
  },
  {
    ...{ what: "a bare pool", options: { pool: new Float32Array(2) }, error: TypeError },
    message: "`pool` is a bare Float32Array",
  },
  {
    ...{ what: "other keys than values", given: { v: zeros(2, 2, 6, 6) }, error: RangeError },
    message: "`v` must have Nk = 5 as `k` has, got 6",
  },
  {
    what: "no tensor",
    given: { v: null },
    error: TypeError,
    message: "`v` must be { data, shape }",
  },
  {
    what: "an infinite scale",
    options: { scale: Infinity },
    error: RangeError,
    message: "`scale` must",
  },
  { what: "another layout", options: { layout: 1 }, error: TypeError, message: "`layout` must be" },
  { what: "no signal", options: { signal: {} }, error: TypeError, message: "`signal` must be an" },
  {
    what: "an unknown option",
    options: { window: 3 },
    error: TypeError,
    message: "unknown option `window`",
  },
];

madeContract(functions, right, refusals);

contract("a block that holds all rows is exact attention, and its summary", async (engine) => {
  const x = tensor(Float32Array.of(0, 0, 0), [3, 1]), v = tensor(Float32Array.of(2, 4, 9), [3, 1]);
  for (const block of [3, 100, 2 ** 40]) {
    const plain = await localGlobalAttention(x, x, v, { block, engine });
    assertEquals(Array.from(plain.out.data), [5, 5, 5]);
    const causal = await localGlobalAttention(x, x, v, { block, causal: true, engine });
    assertEquals(Array.from(causal.out.data), [2, 3, 5]);
  }
});

contract(
  "blocks of one row are attention to the rows, each seen twice by itself",
  async (engine) => {
    const x = tensor(Float32Array.of(0, 0, 0), [3, 1]),
      v = tensor(Float32Array.of(2, 4, 9), [3, 1]);
    const { out } = await localGlobalAttention(x, x, v, { block: 1, engine });
    assertEquals(Array.from(out.data), [17 / 4, 19 / 4, 24 / 4]);
    const causal = await localGlobalAttention(x, x, v, { block: 1, causal: true, engine });
    assertEquals(Array.from(causal.out.data), [2, 3, 5]);
  },
  { daily: 1 },
);

contract("a block that is not seen leaves no trace, whatever it holds", async (engine) => {
  const data = Float32Array.from({ length: 12 }, (_, at) => at < 8 ? at : NaN);
  const v = tensor(data, [12, 1]), x = tensor(new Float32Array(12), [12, 1]);
  const { out } = await localGlobalAttention(x, x, v, { block: 4, causal: true, engine });
  assert(Array.from(out.data).slice(0, 8).every(Number.isFinite));
  assert(Array.from(out.data).slice(8).every(Number.isNaN));
});

contract("summaries of long blocks are as exact as of short ones", async (engine, { name }) => {
  const n = name === "webgpu" ? 3000 : 30_000, rows = tensor(new Float32Array(n).fill(0.1), [n, 1]);
  const q = tensor(new Float32Array(n), [n, 1]);
  for (const block of [100, n]) {
    const { out } = await localGlobalAttention(q, rows, rows, { block, causal: true, engine });
    const most = name === "webgpu" ? 1e-5 : 1e-6;
    const wrong = out.data.find((x) => Math.abs(x / Math.fround(0.1) - 1) > most);
    assertEquals(wrong, undefined, `${block}`);
  }
}, { daily: 1 / 3 });

contract("no rows are no work", async (engine) => {
  const none = tensor(new Float32Array(0), [0, 4]);
  const { out, lse } = await localGlobalAttention(none, none, none, {
    block: 3,
    lse: true,
    engine,
  });
  assertEquals([out.shape, lse.shape], [[0, 4], [0]]);
}, { daily: 1 });

contract(
  "gradients are right where keys pass by in ranges, each for the rows that see it",
  async (engine) => {
    const n = 900, dim = 256, random = seeded(8), shape = [n, dim]; // A range has 512 keys.
    const draw = () => tensor(normals(n * dim, random), shape),
      [q, k, v, dOut] = [1, 2, 3, 4].map(draw);
    for (const causal of [false, true]) {
      const options = { block: 60, causal, scale: 0.02 };
      const { backward } = await localGlobalAttentionWithGradient(q, k, v, { ...options, engine });
      const { dq, dk, dv } = await backward(dOut);
      const wanted = referenceLocalGlobalAttentionBackward(q, k, v, dOut, options);
      for (const [got, { data }] of [[dq, wanted.dq], [dk, wanted.dk], [dv, wanted.dv]] as const) {
        const { ours, largest } = measure(got.data, got.data, data);
        assert(ours <= 2e-6 * largest, `${ours} of ${largest}`);
      }
    }
  },
  { needs: "rowGradients", daily: 1 / 3 },
);
