import type {
  BooleanTensor,
  CacheAttentionOptions,
  CacheDType,
  Engine,
  KvCache,
  Tensor,
} from "@flashtile/attention";
import { referenceAttention } from "@flashtile/attention/reference";
import { assert, assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import { backends, contract } from "../contract/backends.ts";
import { CacheModel, cacheOptions, cacheSizes, type Step, steps } from "../support/cache_model.ts";
import { gpuRequired } from "../support/gpu.ts";
import { inputsOf } from "../support/problem.ts";
import { varyingSeed } from "../support/seed.ts";
import { share } from "../support/share.ts";

/** Programs over all CPU backends together, and on a GPU. */
const programs = 500;

const cpuBackends =
  backends.filter(({ name, unavailable }) => name !== "webgpu" && unavailable === undefined).length;

const numRuns = gpuRequired ? programs : share(Math.ceil(programs / cpuBackends));

/**
 * How far results may be off: by the rounding of keys of some three to the storage, and with it of
 * scores. What is held to the last bit is in tests/contract/cache.
 */
const tolerance: Readonly<Record<CacheDType, number>> = {
  f32: 2e-6,
  f16: 4e-3,
  bf16: 4e-2,
  int8: 8e-2,
  int4: 0.8,
};

function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let largest = 0;
  for (let at = 0; at < a.length; at++) {
    if (Object.is(a[at], b[at])) continue;
    const difference = Math.abs(a[at] - b[at]);
    largest = Math.max(largest, Number.isNaN(difference) ? Infinity : difference);
  }
  return largest;
}

/** A call whose sequences are packed: rows of the same numbers, one sequence after the other. */
function packed(q: Tensor, options: CacheAttentionOptions & { readonly lse: true }) {
  const [B, H, N, D] = q.shape, { mask } = options;
  const data = new Float32Array(q.data.length);
  for (let row = 0; row < B * H * N; row++) {
    const [b, h, n] = [Math.floor(row / (H * N)), Math.floor(row / N) % H, row % N];
    data.set(q.data.subarray(row * D, (row + 1) * D), ((h * B + b) * N + n) * D);
  }
  const rows = (given: BooleanTensor): BooleanTensor => {
    const { data, shape } = given as { data: Uint8Array; shape: readonly number[] };
    const all = new Uint8Array(B * data.length);
    for (let b = 0; b < B; b++) all.set(data, b * data.length);
    return { data: all, shape: [B * shape[0], shape[1]] };
  };
  const cuSeqlens = Array.from({ length: B + 1 }, (_, b) => b * N);
  return [
    { data, shape: [1, H, B * N, D] },
    { ...options, cuSeqlens, ...(mask && { mask: rows(mask) }) },
  ] as const;
}

/** What it gives, as one that is not packed does. */
function unpacked({ out, lse }: { out: Tensor; lse: Tensor }, [B, H, N]: readonly number[]) {
  const apart = ({ data }: Tensor) => {
    const width = data.length / (B * H * N), rows = new Float32Array(data.length);
    for (let row = 0; row < B * H * N; row++) {
      const [b, h, n] = [Math.floor(row / (H * N)), Math.floor(row / N) % H, row % N];
      const at = ((h * B + b) * N + n) * width;
      rows.set(data.subarray(at, at + width), row * width);
    }
    return { data: rows };
  };
  return { out: apart(out), lse: apart(lse) };
}

async function assertAttends(
  model: CacheModel,
  cache: KvCache,
  step: Step & { do: "attend" },
): Promise<void> {
  const { problem, q } = model.problem(step.queries, step.group), { lengths } = model;
  const options = model.options(step);
  const offset = lengths.map((length) => length - step.queries);
  const isShort = lengths.some((length) => length > 0 && length < step.queries);
  if (options.causal && isShort) {
    await assertRejects(() => cache.attend(q, options), RangeError, "`lengths` or `offset`");
  }
  const asked = { ...options, ...(isShort && { offset }), lse: true } as const;
  const ours = step.packed
    ? unpacked(await cache.attend(...packed(q, asked)), q.shape)
    : await cache.attend(q, asked);
  const { k, v } = inputsOf(problem);
  const exact = referenceAttention(q, k, v, {
    ...options,
    kvLengths: lengths,
    offset,
  });
  const limit = tolerance[model.sizes.dtype];
  assert(largestDifference(ours.out.data, exact.out.data) <= limit, "out");
  assert(largestDifference(ours.lse.data, exact.lse.data) <= limit, "lse");
}

async function runProgram(
  engine: Engine,
  model: CacheModel,
  program: readonly Step[],
): Promise<void> {
  let cache = engine.kvCache(cacheOptions(model.sizes));
  for (const step of program) {
    if (step.do === "attend") await assertAttends(model, cache, step);
    else if (step.do === "reload") {
      const bytes = await cache.save();
      cache.free();
      cache = engine.kvCache(cacheOptions(model.sizes));
      cache.load(bytes);
    } else model.run(step, cache);
    assertEquals(cache.lengths, model.lengths);
    const { pageSize } = model.sizes;
    const most = model.lengths.reduce((sum, length) => sum + Math.ceil(length / pageSize), 0);
    assert(cache.pages <= most, `${cache.pages} pages`);
  }
  const last = {
    ...{ do: "attend", queries: 1, group: 1 } as const,
    ...{ terms: ["causal"] as const, left: null, packed: false },
  };
  await assertAttends(model, cache, last);
  cache.free();
}

contract(
  "a KV cache holds what a plain model of it holds, whatever is done to it",
  async (engine, { lacks }) => {
    const four = lacks?.int4Cache === undefined ? ["int4"] as const : [];
    const cases = cacheSizes(["f32", "f16", "bf16", "int8", ...four]).chain((sizes) =>
      fc.record({ sizes: fc.constant(sizes), seed: fc.nat(), program: steps(sizes.batch) })
    );
    await fc.assert(
      fc.asyncProperty(
        cases,
        ({ sizes, seed, program }) => runProgram(engine, new CacheModel(sizes, seed), program),
      ),
      { seed: varyingSeed(), numRuns },
    );
  },
  { needs: "kvCache" },
);
