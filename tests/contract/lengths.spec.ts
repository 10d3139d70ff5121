import { assert, assertEquals, assertMatch } from "@std/assert";
import {
  alibiSlopes,
  type CacheAttentionOptions,
  type CacheDType,
  type DType,
  type Engine,
  type KvCache,
  type Layout,
  type Tensor,
} from "@flashtile/attention";
import { errorOf } from "../support/errors.ts";
import { normals, seeded } from "../support/random.ts";
import { numbersIn, stored } from "../support/storage.ts";
import { contract } from "./backends.ts";

const needs = { needs: "kvCache" } as const;

/** Four sequences: a long one, one of a few tokens, one that is shorter than the rows, an empty one. */
const held = [40, 21, 3, 0], counted = [6, 4, 2, 0], rows = 6;
const [batch, heads, kvHeads, D] = [held.length, 4, 2, 8];
const longest = Math.max(...held);

const numbers = (shape: readonly number[], seed: number): Tensor => ({
  data: normals(shape.reduce((size, extent) => size * extent, 1), seeded(seed)),
  shape,
});

const keys = numbers([batch, kvHeads, longest, D], 1);
const values = numbers([batch, kvHeads, longest, D], 2);
const queries = numbers([batch, heads, rows, D], 3);
const bias = numbers([batch, heads, rows, longest], 4);
const mask = {
  data: Uint8Array.from({ length: batch * rows * longest }, (_, at) => Number(at % 5 > 0)),
  shape: [batch, 1, rows, longest],
};

/** The part of `[B, H, N, M]` that sequence `b` has: some rows, some columns. */
function part<Data extends Float32Array | Uint8Array>(
  { data, shape }: { data: Data; shape: readonly number[] },
  b: number,
  n: number,
  m: number,
) {
  const [, H, N, M] = shape, taken: number[] = [];
  for (let h = 0; h < H; h++) {
    for (let row = 0; row < n; row++) {
      const at = ((b * H + h) * N + row) * M;
      taken.push(...data.subarray(at, at + m));
    }
  }
  const Kind = data.constructor as unknown as { from(all: number[]): Data };
  return { data: Kind.from(taken), shape: [1, H, n, m] };
}

/** Axes 1 and 2 of a dense tensor exchanged: what a layout has in the other order. */
function swapped(
  { data, shape: [B, H, N, M] }: { data: ArrayLike<number>; shape: readonly number[] },
) {
  const out = new Float32Array(data.length);
  for (let b = 0; b < B; b++) {
    for (let h = 0; h < H; h++) {
      for (let n = 0; n < N; n++) {
        for (let m = 0; m < M; m++) {
          out[((b * N + n) * H + h) * M + m] = data[((b * H + h) * N + n) * M + m];
        }
      }
    }
  }
  return { data: out, shape: [B, N, H, M] };
}

/** Terms that can be asked beside. */
const terms: Readonly<Record<string, (b: number | null) => CacheAttentionOptions>> = {
  nothing: () => ({}),
  window: () => ({ window: [5, 1] }),
  bias: (b) => ({ bias: b === null ? bias : part(bias, b, counted[b], held[b]) }),
  mask: (b) => ({ mask: b === null ? mask : part(mask, b, counted[b], held[b]) }),
  alibi: () => ({ alibi: alibiSlopes(heads) }),
  softcap: () => ({ softcap: 3, scale: 0.9 }),
};

function cacheOf(engine: Engine, dtype: CacheDType, b?: number): KvCache {
  const cache = engine.kvCache({
    ...{ batch: b === undefined ? batch : 1, kvHeads, headDim: D, pageSize: 16, dtype },
  });
  if (b === undefined) cache.append(keys, values, { lengths: held });
  else cache.append(part(keys, b, held[b], D), part(values, b, held[b], D));
  return cache;
}

/** How far the rows of a sequence may be from the same alone: by another order of sums, and storage. */
const tolerance: Readonly<Record<DType | CacheDType, number>> = {
  ...{ f32: 4e-6, f16: 4e-3, bf16: 3e-2, int8: 2e-3, int4: 2e-3 },
};

function assertNear(got: ArrayLike<number>, right: ArrayLike<number>, most: number, what: string) {
  assertEquals(got.length, right.length, what);
  for (let at = 0; at < got.length; at++) {
    const off = Math.abs(got[at] - right[at]);
    assert(Object.is(got[at], right[at]) || off <= most, `${what}: ${got[at]}, not ${right[at]}`);
  }
}

/** What a call is asked. */
interface Trial {
  readonly storage: DType;
  readonly layout: Layout;
  readonly dtype: CacheDType;
  readonly term: string;
  readonly causal: boolean;
  readonly sync: boolean;
}

async function attend(
  cache: KvCache,
  q: Tensor,
  { storage, layout, causal, sync }: Trial,
  more: CacheAttentionOptions,
) {
  const given = stored((layout === "bnhd" ? swapped(q) : q) as Tensor, storage);
  const asked = { ...more, causal, layout, lse: true } as const;
  const { out, lse } = sync ? cache.attendSync(given, asked) : await cache.attend(given, asked);
  const plain = { data: numbersIn(out.data, storage), shape: out.shape };
  return { out: layout === "bnhd" ? swapped(plain) : plain, lse };
}

/** Asserts that a padded call gives each sequence what it gets alone, and nothing behind its rows. */
async function assertPadded(engine: Engine, trial: Trial): Promise<void> {
  const { storage, dtype, term } = trial, what = JSON.stringify(trial);
  const cache = cacheOf(engine, dtype);
  const { out, lse } = await attend(cache, queries, trial, {
    ...terms[term](null),
    lengths: counted,
  });
  const most = Math.max(tolerance[storage], dtype.startsWith("int") ? tolerance[dtype] : 0);
  for (const b of held.keys()) {
    const n = counted[b];
    const ours = part(out as Tensor, b, rows, D).data;
    const ourLse = part({ data: lse.data, shape: [batch, heads, rows, 1] }, b, rows, 1).data;
    for (let h = 0; h < heads; h++) {
      const behind = ours.subarray((h * rows + n) * D, (h + 1) * rows * D);
      assertEquals([...behind], new Array(behind.length).fill(0), `${what}, behind ${b}`);
      const lseBehind = [...ourLse.subarray(h * rows + n, (h + 1) * rows)];
      assertEquals(lseBehind, new Array(rows - n).fill(-Infinity), `${what}, lse behind ${b}`);
    }
    if (n === 0) continue;
    const one = cacheOf(engine, dtype, b);
    const alone = await attend(one, part(queries, b, n, D) as Tensor, trial, terms[term](b));
    const padded = part(out as Tensor, b, n, D).data;
    assertNear(padded, alone.out.data, most, `${what}, sequence ${b}`);
    const counts = part({ data: lse.data, shape: [batch, heads, rows, 1] }, b, n, 1).data;
    assertNear(counts, alone.lse.data, Math.max(most, 1e-5), `${what}, lse of ${b}`);
    one.free();
  }
  cache.free();
}

const plain = {
  storage: "f32",
  layout: "bhnd",
  dtype: "f32",
  term: "nothing",
  causal: true,
  sync: false,
} as const;

contract(
  "attend() with lengths gives each sequence what it gets alone, with every term",
  async (engine) => {
    for (const term of Object.keys(terms)) {
      for (const causal of [true, false]) await assertPadded(engine, { ...plain, term, causal });
    }
  },
  needs,
);

contract(
  "attend() with lengths gives each sequence what it gets alone, in every storage",
  async (engine, { lacks }) => {
    const caches = [
      "f32",
      "f16",
      "bf16",
      "int8",
      ...lacks?.int4Cache ? [] : ["int4" as const],
    ] as const;
    for (const layout of ["bhnd", "bnhd"] as const) {
      for (const storage of ["f32", "f16", "bf16"] as const) {
        await assertPadded(engine, { ...plain, layout, storage, term: "window" });
      }
      for (const dtype of caches) {
        await assertPadded(engine, {
          ...plain,
          layout,
          dtype,
          term: "bias",
        });
      }
    }
  },
  needs,
);

contract("attendSync() with lengths gives each sequence what it gets alone", async (engine) => {
  for (const term of Object.keys(terms)) await assertPadded(engine, { ...plain, term, sync: true });
}, { needs: ["kvCache", "attentionSync"] });

contract("attend() takes lengths in any array, and reads them once", async (engine) => {
  const cache = cacheOf(engine, "f32"), asked = { causal: true, lse: true } as const;
  const right = await cache.attend(queries, { ...asked, lengths: counted });
  for (
    const lengths of [Int32Array.from(counted), Uint8Array.from(counted), { ...counted, length: 4 }]
  ) {
    const call = cache.attend(queries, { ...asked, lengths });
    (lengths as number[])[0] = 0;
    const { out, lse } = await call;
    assertEquals(out.data, right.out.data);
    assertEquals(lse.data, right.lse.data);
  }
  const all = { ...asked, lengths: [6, 6, 3, 0] };
  assertEquals((await cache.attend(queries, all)).out.shape, queries.shape);
}, needs);

contract("attend() refuses lengths that are none", async (engine) => {
  const cache = cacheOf(engine, "f32");
  const wrong = [[1, 2, 3], [1, 2, 3, 4, 5], [7, 0, 0, 0], [-1, 0, 0, 0], [0.5, 0, 0, 0], [
    NaN,
    0,
    0,
    0,
  ]];
  for (const lengths of wrong) {
    const error = await errorOf(() => cache.attend(queries, { causal: true, lengths })) as Error;
    assert(error instanceof RangeError, `${lengths}: ${error.message}`);
    assertMatch(error.message, /^Cannot attend: `lengths` must /);
  }
  for (const lengths of [null, 3, "1234", {}]) {
    const error = await errorOf(() => cache.attend(queries, { lengths } as never)) as Error;
    assert(error instanceof TypeError || error instanceof RangeError);
    assertMatch(error.message, /^Cannot attend: `lengths` must /);
  }
  const x = numbers([1, 2, 3, 8], 9);
  const error = await errorOf(() => engine.attention(x, x, x, { lengths: [3] } as never)) as Error;
  assertMatch(error.message, /^Cannot attend: unknown option `lengths`/);
}, needs);

contract(
  "attend() refuses causal rows before the first token of a sequence, and names both",
  async (engine) => {
    const cache = cacheOf(engine, "f32");
    const error = await errorOf(() => cache.attend(queries, { causal: true })) as Error;
    assert(error instanceof RangeError);
    assertMatch(error.message, /^Cannot attend: /);
    assertMatch(error.message, /\b6\b/); // Nq
    assertMatch(error.message, /\b3\b/); // what sequence 2 holds
    // Whoever says where rows stand may: `offset: 0` is right for a prompt.
    const offset = await cache.attend(queries, { causal: true, offset: 0 });
    assertEquals(offset.out.shape, queries.shape);
    await cache.attend(queries, {});
    cache.truncate(2, 0); // Empty sequences are zeros as ever.
    const { out } = await cache.attend(queries, { causal: true });
    const zeros = part(out as Tensor, 2, rows, D).data;
    assertEquals([...zeros], new Array(zeros.length).fill(0));
  },
  needs,
);

contract("attend() after a padded append gives no zeros in silence", async (engine) => {
  const cache = engine.kvCache({ batch: 2, kvHeads: 1, headDim: 4 });
  const tokens = numbers([2, 1, 100, 4], 5);
  cache.append(tokens, tokens, { lengths: [100, 37] });
  const { out } = await cache.attend(tokens, { causal: true, lengths: [100, 37] });
  const fromZero = await cache.attend(tokens, { causal: true, offset: 0 });
  assertNear(
    out.data.subarray(400, 400 + 37 * 4),
    fromZero.out.data.subarray(400, 400 + 37 * 4),
    4e-6,
    "rows",
  );
  assertEquals([...out.data.subarray(400 + 37 * 4)], new Array(63 * 4).fill(0));
  const error = await errorOf(() => cache.attend(tokens, { causal: true })) as Error;
  assert(error instanceof RangeError);
  assertMatch(error.message, /\b100\b.*\b37\b|\b37\b.*\b100\b/);
}, needs);
