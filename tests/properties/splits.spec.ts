import fc from "fast-check";
import type { AttentionOptions } from "@flashtile/attention";
import { contract } from "../contract/backends.ts";
import { meaning, problemOf, runs, sizes } from "../support/arbitrary.ts";
import { assertSameBits } from "../support/bits.ts";
import {
  alignment,
  type Inputs,
  inputsOf,
  type Meaning,
  type Problem,
  shapesOf,
  slice,
} from "../support/problem.ts";

/** Problems with their options. */
const problems = sizes().chain((sizes) =>
  fc.record({
    seed: fc.nat(),
    meaning: meaning(sizes),
    part: fc.double({ min: 0, max: 1, noNaN: true }),
  }).map(({ seed, ...rest }) => ({ ...rest, problem: problemOf(sizes, seed) }))
);

/** Checks something of random problems. */
async function everyProblem(
  numRuns: number,
  check: (given: { problem: Problem; meaning: Meaning; part: number }) => Promise<void>,
): Promise<void> {
  await fc.assert(fc.asyncProperty(problems, check), runs(numRuns));
}

/** The part `from` to `to` of one axis of a problem's inputs. */
function part(problem: Problem, names: string, axis: number, from: number, to: number): Inputs {
  const shapes = shapesOf(problem.sizes);
  const one = (name: "q" | "k" | "v") => {
    const shape = [...shapes[name]];
    if (!names.includes(name)) return { data: problem[name], shape };
    const data = slice(problem[name], shape, axis, from, to);
    shape[axis] = to - from;
    return { data, shape };
  };
  return { q: one("q"), k: one("k"), v: one("v") };
}

contract("attention() gives the same bits for rows in two calls", async (engine) => {
  await everyProblem(50, async ({ problem, meaning, part: share }) => {
    const { Nq } = problem.sizes;
    const { q, k, v } = inputsOf(problem);
    const whole = await engine.attention(q, k, v, { ...meaning, lse: true });
    const offsets = alignment(problem, meaning);
    const cut = Math.floor(share * Nq);
    for (const [from, to] of [[0, cut], [cut, Nq]]) {
      const rows = part(problem, "q", 2, from, to);
      const { out, lse } = await engine.attention(rows.q, rows.k, rows.v, {
        ...meaning,
        offset: offsets.map((offset) => offset + from),
        lse: true,
      });
      assertSameBits(out.data, slice(whole.out.data, whole.out.shape, 2, from, to), "out");
      assertSameBits(lse.data, slice(whole.lse.data, whole.lse.shape, 2, from, to), "lse");
    }
  });
}, { needs: "sameBitsForFewRows" });

contract("attention() gives the same bits for one query head alone", async (engine) => {
  await everyProblem(50, async ({ problem, meaning, part: share }) => {
    const { Hq, Hkv } = problem.sizes;
    const { q, k, v } = inputsOf(problem);
    const whole = await engine.attention(q, k, v, { ...meaning, lse: true });
    const head = Math.min(Hq - 1, Math.floor(share * Hq));
    const keyHead = Math.floor(head * Hkv / Hq);
    const { out, lse } = await engine.attention(
      part(problem, "q", 1, head, head + 1).q,
      part(problem, "k", 1, keyHead, keyHead + 1).k,
      part(problem, "v", 1, keyHead, keyHead + 1).v,
      { ...meaning, lse: true },
    );
    assertSameBits(out.data, slice(whole.out.data, whole.out.shape, 1, head, head + 1), "out");
    assertSameBits(lse.data, slice(whole.lse.data, whole.lse.shape, 1, head, head + 1), "lse");
  });
}, { needs: "sameBitsForFewRows" });

contract("attention() gives the same bits for a batch alone", async (engine) => {
  await everyProblem(50, async ({ problem, meaning, part: share }) => {
    const { B } = problem.sizes;
    if (B === 0) return;
    const { q, k, v } = inputsOf(problem);
    const whole = await engine.attention(q, k, v, { ...meaning, lse: true });
    const b = Math.min(B - 1, Math.floor(share * B));
    const alone = part(problem, "qkv", 0, b, b + 1);
    const { out, lse } = await engine.attention(alone.q, alone.k, alone.v, {
      ...meaning,
      offset: alignment(problem, meaning)[b],
      kvLengths: meaning.kvLengths && [meaning.kvLengths[b]],
      lse: true,
    });
    assertSameBits(out.data, slice(whole.out.data, whole.out.shape, 0, b, b + 1), "out");
    assertSameBits(lse.data, slice(whole.lse.data, whole.lse.shape, 0, b, b + 1), "lse");
  });
});

/** Asserts that two ways to ask for the same give the same bits. */
function sameFor(
  numRuns: number,
  another: (problem: Problem, meaning: Meaning) => AttentionOptions,
): Parameters<typeof contract>[1] {
  return (engine) =>
    everyProblem(numRuns, async ({ problem, meaning }) => {
      const { q, k, v } = inputsOf(problem);
      const first = await engine.attention(q, k, v, { ...meaning, lse: true });
      const again = await engine.attention(q, k, v, { ...another(problem, meaning), lse: true });
      assertSameBits(again.out.data, first.out.data, "out");
      assertSameBits(again.lse.data, first.lse.data, "lse");
    });
}

contract(
  "attention() gives the same bits twice",
  sameFor(30, (_, meaning) => meaning),
);

contract(
  "attention() gives the same bits for causal and for its offset written out",
  sameFor(40, (problem, meaning) => ({
    ...meaning,
    causal: meaning.causal && "top-left",
    offset: alignment(problem, meaning),
  })),
);

contract("attentionSync() gives the same bits as attention()", async (engine) => {
  await everyProblem(50, async ({ problem, meaning }) => {
    const { q, k, v } = inputsOf(problem);
    const one = await engine.attention(q, k, v, { ...meaning, lse: true });
    const sync = engine.attentionSync(q, k, v, { ...meaning, lse: true });
    assertSameBits(sync.out.data, one.out.data, "out");
    assertSameBits(sync.lse.data, one.lse.data, "lse");
  });
}, { needs: "attentionSync" });
