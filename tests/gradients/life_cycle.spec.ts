import { assert, assertEquals } from "@std/assert";
import type { Engine, Progress, Tensor } from "@flashtile/attention";
import { assertSameBits } from "../support/bits.ts";
import { assertRefused, errorOf } from "../support/errors.ts";
import {
  assertSameGradients,
  cotangentTensors,
  eachGradient,
  type GradientCall,
  gradientCall,
  type Gradients,
  gradientsOf,
} from "../support/gradients.ts";
import { gpuRequired } from "../support/gpu.ts";
import { inputsOf, randomProblem, sizesOf } from "../support/problem.ts";
import { assertGivenBack, contract } from "../contract/backends.ts";

const needs = "backward";

/** A call that takes many turns of the event loop, however fast the machine; a GPU's stand-in is not. */
const longest = gradientCall(
  randomProblem(sizesOf({ Hq: gpuRequired ? 4 : 12, Nq: 800, D: 64 }), 0),
);

/** A call in several pieces, also on three threads. */
const long = gradientCall(
  randomProblem(
    sizesOf({
      Hq: 8,
      Hkv: 4,
      ...(gpuRequired ? { Nq: 700, Nk: 600 } : { Nq: 1500, Nk: 1300 }),
      D: 32,
    }),
    1,
  ),
  { causal: true },
);

/** A call of no time. */
const short = gradientCall(randomProblem(sizesOf({ Hq: 2, Nq: 5, Nk: 7, D: 8 }), 2));

/** A forward pass, and its backward pass for whoever wants to run it. */
async function begin(engine: Engine, { problem, meaning, cotangents }: GradientCall) {
  const { q, k, v } = inputsOf(problem), { dOut, dLse } = cotangentTensors(problem, cotangents);
  const { out, lse } = await engine.attention(q, k, v, { ...meaning, lse: true });
  return async (options = {}) => {
    const all = { ...meaning, out, lse, dLse, ...options };
    const gradients: Gradients<Tensor> = await engine.attentionBackward(dOut, q, k, v, all);
    return eachGradient(gradients, ({ data }) => data);
  };
}

contract(
  "attentionBackward() rejects with the signal's reason before it starts",
  async (engine) => {
    const run = await begin(engine, long), bytes = engine.memoryBytes;
    for (const reason of [new Error("changed my mind"), "a string", 0]) {
      const onProgress = () => assert(false, "nothing should run");
      const call = () => run({ signal: AbortSignal.abort(reason), onProgress });
      assertEquals(await errorOf(call), reason);
    }
    assertEquals(engine.memoryBytes, bytes);
  },
  { needs },
);

contract("attentionBackward() checks its input before it looks at the signal", async (engine) => {
  const run = await begin(engine, short);
  await assertRefused(
    () => run({ signal: AbortSignal.abort(), lse: { data: new Float32Array(4), shape: [4] } }),
    RangeError,
    "Cannot differentiate: `lse` must have shape [1,2,5], got [4]",
  );
}, { needs });

contract("attentionBackward() stops in the middle where onProgress aborts", async (engine) => {
  const run = await begin(engine, long), controller = new AbortController(), seen: Progress[] = [];
  const reason = new Error("enough");
  const onProgress = (progress: Progress) => {
    seen.push(progress);
    controller.abort(reason);
  };
  assert(await errorOf(() => run({ signal: controller.signal, onProgress })) === reason);
  assertEquals(seen.length, 1);
  assert(seen[0].done < seen[0].total);
}, { needs });

contract("attentionBackward() stops in the middle where a timer aborts", async (engine) => {
  const run = await begin(engine, longest), controller = new AbortController();
  let done = 0, total = 1;
  setTimeout(() => controller.abort("too late"), 1);
  const onProgress = (progress: Progress) => ({ done, total } = progress);
  assertEquals(await errorOf(() => run({ signal: controller.signal, onProgress })), "too late");
  assert(done < total);
}, { needs });

contract(
  "attentionBackward() gives its memory back when aborted, and works again",
  async (engine, at) => {
    const run = await begin(engine, long);
    const expected = await run(), bytes = engine.memoryBytes;
    for (let time = 0; time < 3; time++) {
      const controller = new AbortController(), onProgress = () => controller.abort();
      await errorOf(() => run({ signal: controller.signal, onProgress }));
      assertGivenBack(engine, bytes, at);
    }
    assertSameGradients(await run(), expected);
    assertGivenBack(engine, bytes, at);
  },
  { daily: 1 / 3, needs },
);

contract(
  "attentionBackward() rejects with what onProgress throws, and works again",
  async (engine, at) => {
    for (const call of [long, short]) {
      const run = await begin(engine, call), expected = await run();
      const bytes = engine.memoryBytes, mistake = new Error("my mistake");
      const onProgress = () => {
        throw mistake;
      };
      assert(await errorOf(() => run({ onProgress })) === mistake);
      assertSameGradients(await run(), expected);
      assertGivenBack(engine, bytes, at);
    }
  },
  { daily: 1 / 3, needs },
);

contract("attentionBackward() tells its progress in order, up to the whole", async (engine) => {
  for (const call of [long, short]) {
    const seen: Progress[] = [], run = await begin(engine, call);
    await run({ onProgress: (progress: Progress) => seen.push(progress) });
    const { done, total } = seen.at(-1)!;
    assertEquals(done, total);
    assert(total > 0);
    seen.forEach((progress, at) => {
      assertEquals(progress.total, total);
      assert(progress.done > (seen[at - 1]?.done ?? 0));
    });
    if (call === long) assert(seen.length > 1, `${seen.length} steps`);
  }
}, { daily: 1 / 3, needs });

contract("attentionBackward() lets timers have their turn", async (engine) => {
  const run = await begin(engine, longest);
  let turns = 0;
  const timer = setInterval(() => turns++, 1);
  await run();
  clearInterval(timer);
  assert(turns > 0);
}, { daily: 1 / 3, needs });

contract("attentionBackward() gives right answers beside calls of any kind", async (engine) => {
  const [first, second] = [await begin(engine, long), await begin(engine, short)];
  const { q, k, v } = inputsOf(long.problem);
  const forward = () => engine.attention(q, k, v, long.meaning);
  const expected = [await first(), await second()], { out } = await forward();
  const [a, b, c, d] = await Promise.all([first(), second(), forward(), first()]);
  assertSameGradients(a, expected[0], "of the first");
  assertSameGradients(b, expected[1], "of the second");
  assertSameBits(c.out.data, out.data, "of the forward call");
  assertSameGradients(d, expected[0], "of the last");
}, { daily: 1 / 3, needs });

contract("attentionBackward() gives its memory back", async (engine, backend) => {
  for (const call of [long, short]) await gradientsOf(engine, call);
  const bytes = engine.memoryBytes;
  for (const call of [short, long, short]) {
    await gradientsOf(engine, call);
    assertGivenBack(engine, bytes, backend);
  }
}, { daily: 1 / 3, needs });

contract(
  "attentionWithGradient() asks its own signal and onProgress for each pass",
  async (engine) => {
    const { problem, meaning, cotangents } = long, { q, k, v } = inputsOf(problem);
    const forward = new AbortController(), seen = { forward: 0, backward: 0 };
    const { backward } = await engine.attentionWithGradient(q, k, v, {
      ...meaning,
      signal: forward.signal,
      onProgress: () => seen.forward++,
    });
    const told = seen.forward, { dOut, dLse } = cotangentTensors(problem, cotangents);
    forward.abort("over already");
    const gradients: Gradients<Tensor> = await backward(dOut, {
      dLse,
      onProgress: () => seen.backward++,
    });
    const again = await engine.attentionWithGradient(q, k, v, meaning);
    const expected: Gradients<Tensor> = await again.backward(dOut, { dLse });
    assertSameGradients(
      eachGradient(gradients, ({ data }) => data),
      eachGradient(expected, ({ data }) => data),
    );
    assertEquals(seen.forward, told);
    assert(told > 0 && seen.backward > 0);
    const signal = AbortSignal.abort("not now");
    assertEquals(await errorOf(() => backward(dOut, { signal })), "not now");
  },
  { daily: 1 / 3, needs },
);

const closed = "Cannot use an engine after `close()`";

contract("close() makes attentionBackward() reject, running or not", async (engine) => {
  const run = await begin(engine, longest), running = errorOf(() => run());
  await engine.close();
  assertEquals((await running as Error).message, closed);
  await assertRefused(() => run(), Error, closed);
  assertEquals(engine.memoryBytes, 0);
}, { needs });
