import type { CacheDType, Engine, KvCache } from "@flashtile/attention";
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
  const ours = await cache.attend(q, { ...options, ...(isShort && { offset }), lse: true });
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
  const last = { do: "attend", queries: 1, group: 1, terms: ["causal"], left: null } as const;
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
