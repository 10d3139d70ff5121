import { type Tensor, tensor } from "@flashtile/attention";
import { linformerAttention, linformerAttentionWithGradient } from "@flashtile/attention/linear";
import { assert, assertEquals } from "@std/assert";
import { contract } from "../contract/backends.ts";
import { assertSameBits } from "../support/bits.ts";
import { assertRefused } from "../support/errors.ts";
import { type Functions, madeContract, type MadeRefusal } from "../support/made_contract.ts";
import { normals, seeded } from "../support/random.ts";

const functions: Functions = {
  ...{ kind: "linformer", name: "linformerAttention" },
  plain: linformerAttention as unknown as Functions["plain"],
  twin: linformerAttentionWithGradient as unknown as Functions["twin"],
};

function zeros(...shape: number[]): Tensor<Float32Array> {
  return { data: new Float32Array(shape.reduce((a, b) => a * b, 1)), shape };
}

const right = {
  ...{ q: zeros(2, 4, 3, 8), k: zeros(2, 2, 5, 8), v: zeros(2, 2, 5, 6) },
  options: { projectK: zeros(4, 5) },
};

const projection = zeros(4, 5);

const refusals: readonly MadeRefusal[] = [
  {
    ...{ what: "no projection", options: { projectK: undefined }, error: TypeError },
    message: "`projectK` must be given, a tensor [r, N] or [Hkv, r, N]",
  },
  { what: "no options", options: null, error: TypeError, message: "options must be an object" },
  {
    ...{ what: "a causal call", options: { causal: true }, error: TypeError },
    message:
      "`causal` has no meaning here, since each key that is made is a mixture of keys at all positions",
  },
  {
    ...{ what: "too few columns", options: { projectK: zeros(4, 4) }, error: RangeError },
    message: "`projectK` must have at least Nk = 5 columns, one for each key, got 4",
  },
  {
    ...{
      what: "too few columns for values",
      options: { projectV: zeros(4, 4) },
      error: RangeError,
    },
    message: "`projectV` must have at least Nk = 5 columns, one for each key, got 4",
  },
  {
    ...{ what: "heads of queries", options: { projectK: zeros(4, 4, 5) }, error: RangeError },
    message: "`projectK` must be [r, N] or [Hkv = 2, r, N], got [4,4,5]",
  },
  {
    ...{
      what: "batches of projections",
      options: { projectK: zeros(2, 2, 4, 5) },
      error: RangeError,
    },
    message: "`projectK` must be [r, N] or [Hkv = 2, r, N], got [2,2,4,5]",
  },
  {
    ...{ what: "no mixture", options: { projectK: zeros(0, 5) }, error: RangeError },
    message: "`projectK` must have r of at least 1, got 0",
  },
  {
    ...{ what: "more values than keys", options: { projectV: zeros(5, 5) }, error: RangeError },
    message: "`projectV` must have r = 4 as `projectK` has, got 5",
  },
  {
    ...{ what: "a bare projection", options: { projectK: new Float32Array(20) }, error: TypeError },
    message: "`projectK` is a bare Float32Array",
  },
  {
    ...{ what: "a short projection", error: RangeError, message: "needs 20 elements" },
    options: { projectK: { ...projection, data: new Float32Array(19) } },
  },
  {
    ...{ what: "other keys than values", given: { v: zeros(2, 2, 6, 6) }, error: RangeError },
    message: "`v` must have Nk = 5 as `k` has, got 6",
  },
  {
    ...{ what: "heads that do not divide", given: { q: zeros(2, 3, 3, 8) }, error: RangeError },
    message: "Hq must be a multiple of Hkv",
  },
  {
    ...{ what: "another dimension", given: { q: zeros(2, 4, 3, 7) }, error: RangeError },
    message: "`k` must have D = 7 as `q` has, got 8",
  },
  { what: "no tensor", given: { k: 3 }, error: TypeError, message: "`k` must be { data, shape }" },
  {
    what: "an infinite scale",
    options: { scale: Infinity },
    error: RangeError,
    message: "`scale` must",
  },
  {
    what: "a scale in words",
    options: { scale: "1" },
    error: TypeError,
    message: "`scale` must be a",
  },
  {
    what: "another layout",
    options: { layout: "nbhd" },
    error: TypeError,
    message: "`layout` must be",
  },
  { what: "no signal", options: { signal: 3 }, error: TypeError, message: "`signal` must be an" },
  {
    what: "an unknown option",
    options: { rank: 3 },
    error: TypeError,
    message: "unknown option `rank`",
  },
  {
    what: "no engine",
    options: { engine: {} },
    error: TypeError,
    message: "`engine` must be what",
  },
];

madeContract(functions, right, refusals);

contract(
  "linformerAttention() reads one projection for both where there is one",
  async (engine) => {
    const random = seeded(4),
      draw = (...shape: number[]) => ({
        ...{ data: normals(shape.reduce((a, b) => a * b, 1), random), shape },
      });
    const [q, k, v, projectK] = [draw(3, 20, 8), draw(3, 50, 8), draw(3, 50, 8), draw(6, 50)];
    const both = await linformerAttention(q, k, v, { projectK, projectV: projectK, engine });
    const one = await linformerAttention(q, k, v, { projectK, engine });
    assertSameBits(one.out.data, both.out.data, "shared");
  },
);

contract("linformerAttention() refuses an `out` that does not fit", async (engine) => {
  const { q, k, v, options } = right, out = zeros(2, 4, 3, 8);
  await assertRefused(
    () => linformerAttention(q, k, v, { ...options, engine, out }),
    RangeError,
    "Cannot compute `linformerAttention()`: `out` must have shape [2,4,3,6], got [2,4,3,8]",
  );
}, { daily: 1 });

contract("errors of linformerAttention() do not grow with the number of keys", async (engine) => {
  for (const keys of [4096, 40_000]) {
    // Mixtures are means of equal rows: 0.1, however many they are.
    const rows = tensor(new Float32Array(keys * 4).fill(0.1), [keys, 4]);
    const projectK = tensor(new Float32Array(2 * keys).fill(1 / keys), [2, keys]);
    const q = tensor(new Float32Array(4).fill(1), [1, 4]);
    const { out } = await linformerAttention(q, rows, rows, { projectK, engine });
    const wanted = Math.fround(0.1) * Math.fround(1 / keys) * keys;
    for (const x of out.data) assert(Math.abs(x / wanted - 1) <= 2e-6, `${keys}: ${x}`);
  }
});

contract("a call without keys attends to mixtures of none", async (engine) => {
  const [q, k] = [tensor(new Float32Array(8).fill(1), [2, 4]), tensor(new Float32Array(0), [0, 4])];
  const projectK = tensor(new Float32Array(0), [3, 0]);
  const { out, lse } = await linformerAttention(q, k, k, { projectK, lse: true, engine });
  assertEquals(Array.from(out.data), new Array(8).fill(0));
  for (const x of lse.data) assert(Math.abs(x - Math.log(3)) < 1e-6, `${x}`);
}, { daily: 1 });
