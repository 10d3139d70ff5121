import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import type { Engine, Progress } from "@flashtile/attention";
import { assertSameBits } from "../support/bits.ts";
import { assertRefused, errorOf } from "../support/errors.ts";
import { gpuRequired } from "../support/gpu.ts";
import { type Inputs, inputsOf, randomProblem, sizesOf } from "../support/problem.ts";
import { assertGivenBack, contract, withEngine } from "./backends.ts";

/** A call that takes many turns of the event loop, however fast the machine; a GPU's stand-in is not. */
const longest = inputsOf(
  randomProblem(sizesOf({ Hq: gpuRequired ? 4 : 16, Nq: 1024, D: 64 }), 0),
);

/** A call in several pieces, however many threads stage its rows: at most 256 each at once. */
const long = inputsOf(randomProblem(sizesOf({ Hq: 6, Hkv: 3, Nq: 1500, Nk: 24, D: 512 }), 1));

/** A call of no time. */
const short = inputsOf(randomProblem(sizesOf({ Hq: 2, Nq: 5, Nk: 7, D: 8 }), 2));

function run(engine: Engine, { q, k, v }: Inputs, options = {}) {
  return engine.attention(q, k, v, options);
}

contract("attention() rejects with the signal's reason before it starts", async (engine) => {
  const bytes = engine.memoryBytes;
  for (const reason of [new Error("changed my mind"), "a string", 0]) {
    const signal = AbortSignal.abort(reason);
    const onProgress = () => assert(false, "nothing should run");
    assertEquals(await errorOf(() => run(engine, long, { signal, onProgress })), reason);
  }
  assertEquals(engine.memoryBytes, bytes);
  const byDefault = await errorOf(() => run(engine, long, { signal: AbortSignal.abort() }));
  assertEquals((byDefault as Error).name, "AbortError");
});

contract("attention() checks its input before it looks at the signal", async (engine) => {
  await assertRefused(
    () => run(engine, short, { signal: AbortSignal.abort(), scale: NaN }),
    RangeError,
    "Cannot attend: `scale` must be finite in f32, got NaN",
  );
});

contract("attention() stops in the middle where onProgress aborts", async (engine) => {
  const controller = new AbortController(), reason = new Error("enough");
  const seen: Progress[] = [];
  const onProgress = (progress: Progress) => {
    seen.push(progress);
    controller.abort(reason);
  };
  const error = await errorOf(() => run(engine, long, { signal: controller.signal, onProgress }));
  assert(error === reason);
  assertEquals(seen.length, 1);
  assert(seen[0].done < seen[0].total);
});

contract("attention() stops in the middle where a timer aborts", async (engine) => {
  const controller = new AbortController(), reason = new Error("too late");
  let done = 0, total = 1;
  setTimeout(() => controller.abort(reason), 1);
  const error = await errorOf(() =>
    run(engine, longest, {
      signal: controller.signal,
      onProgress: (progress: Progress) => ({ done, total } = progress),
    })
  );
  assert(error === reason);
  assert(done < total);
});

contract(
  "attention() gives its memory back when aborted, and works again",
  async (engine, backend) => {
    const expected = await run(engine, long);
    const bytes = engine.memoryBytes;
    for (let time = 0; time < 5; time++) {
      const controller = new AbortController();
      const onProgress = () => controller.abort();
      await errorOf(() => run(engine, long, { signal: controller.signal, onProgress }));
    }
    assertSameBits((await run(engine, long)).out.data, expected.out.data);
    assertGivenBack(engine, bytes, backend);
  },
);

contract("attention() ignores an abort that comes after its end", async (engine) => {
  const controller = new AbortController(), { signal } = controller;
  const { out } = await run(engine, short, { signal });
  controller.abort();
  assertSameBits(out.data, (await run(engine, short)).out.data);
});

contract("attention() tells its progress in order, up to the whole", async (engine) => {
  for (const inputs of [long, short]) {
    const seen: Progress[] = [];
    await run(engine, inputs, { onProgress: (progress: Progress) => seen.push(progress) });
    const [, H, N] = inputs.q.shape;
    assert(seen.length > 0);
    assertEquals(seen.at(-1), { done: H * N, total: H * N });
    seen.forEach(({ done, total }, at) => {
      assertEquals(total, H * N);
      assert(done > (seen[at - 1]?.done ?? 0));
    });
  }
});

contract("attention() tells its progress in several steps when it is long", async (engine) => {
  let steps = 0;
  await run(engine, long, { onProgress: () => steps++ });
  assert(steps > 2, `${steps} steps`);
});

contract("attention() tells the end where there is no row", async (engine) => {
  const seen: Progress[] = [];
  const none = { data: new Float32Array(0), shape: [0, 4] };
  await run(engine, { q: none, k: none, v: none }, {
    onProgress: (progress: Progress) => seen.push(progress),
  });
  assertEquals(seen, [{ done: 0, total: 0 }]);
});

contract("attention() rejects with what onProgress throws, and works again", async (engine, at) => {
  const expected = await run(engine, long);
  const bytes = engine.memoryBytes, mistake = new Error("my mistake");
  for (const inputs of [long, short]) {
    const onProgress = () => {
      throw mistake;
    };
    assert(await errorOf(() => run(engine, inputs, { onProgress })) === mistake);
  }
  assertSameBits((await run(engine, long)).out.data, expected.out.data);
  assertGivenBack(engine, bytes, at);
}, { daily: 1 / 3 });

contract("attention() lets timers have their turn", async (engine) => {
  let turns = 0;
  const timer = setInterval(() => turns++, 1);
  await run(engine, longest);
  clearInterval(timer);
  assert(turns > 0);
}, { daily: 1 / 3 });

contract("attention() gives right answers to calls that run at the same time", async (engine) => {
  const calls = [
    long,
    short,
    long,
    short,
    inputsOf(
      randomProblem(sizesOf({ B: 2, Hq: 2, Nq: 300, Nk: 400, D: 96, Dv: 32 }), 3),
    ),
  ];
  const together = await Promise.all(calls.map((inputs) => run(engine, inputs, { lse: true })));
  for (const [at, inputs] of calls.entries()) {
    const alone = await run(engine, inputs, { lse: true });
    assertSameBits(together[at].out.data, alone.out.data, `call ${at}`);
    assertSameBits(together[at].lse!.data, alone.lse!.data, `call ${at}`);
  }
}, { daily: 1 / 3 });

contract("attention() goes on where a call beside it is aborted", async (engine) => {
  const controller = new AbortController();
  const aborted = run(engine, long, {
    signal: controller.signal,
    onProgress: () => controller.abort("stop"),
  });
  const going = run(engine, long);
  assertEquals(await errorOf(() => aborted), "stop");
  assertSameBits((await going).out.data, (await run(engine, long)).out.data);
});

contract("attentionSync() runs between the pieces of another call", async (engine) => {
  const { q, k, v } = short;
  const expected = engine.attentionSync(q, k, v).out.data;
  let times = 0;
  const onProgress = () => {
    times++;
    assertSameBits(engine.attentionSync(q, k, v).out.data, expected);
  };
  const { out } = await run(engine, long, { onProgress });
  assert(times > 1);
  assertSameBits(out.data, (await run(engine, long)).out.data);
}, { needs: "attentionSync" });

contract("attentionSync() throws the signal's reason", async (engine) => {
  const controller = new AbortController();
  const { q, k, v } = long;
  const stop = () => controller.abort("stop");
  const call = (signal: AbortSignal) => engine.attentionSync(q, k, v, { signal, onProgress: stop });
  assertEquals(await errorOf(() => call(controller.signal)), "stop");
  assertEquals(await errorOf(() => call(AbortSignal.abort("early"))), "early");
  assertEquals(engine.attentionSync(q, k, v).out.shape, q.shape);
}, { needs: "attentionSync" });

contract("warmup() makes the engine ready and changes nothing", async (engine) => {
  await engine.warmup();
  await engine.warmup({ dim: 40, valueDim: 24, dtype: "bf16" });
  assertEquals((await run(engine, short)).out.shape, short.q.shape);
});

const closed = "Cannot use an engine after `close()`";

contract("close() makes later calls fail", async (engine) => {
  await run(engine, short);
  await engine.close();
  assertEquals(engine.memoryBytes, 0);
  await assertRefused(() => run(engine, short), Error, closed);
  await assertRefused(() => engine.tensor([4]), Error, closed);
  await assertRefused(() => engine.warmup(), Error, closed);
  await engine.close(); // Twice is once.
});

contract("close() makes attentionSync() fail", async (engine) => {
  await engine.close();
  const { q, k, v } = short;
  await assertRefused(() => engine.attentionSync(q, k, v), Error, closed);
}, { needs: "attentionSync" });

contract("close() makes running calls reject", async (engine) => {
  const calls = [run(engine, longest), run(engine, longest)];
  const errors = calls.map((call) => errorOf(() => call));
  await engine.close();
  for (const error of await Promise.all(errors)) {
    assertInstanceOf(error, Error);
    assertEquals((error as Error).message, closed);
  }
});

contract("close() is what `await using` calls", async (engine) => {
  await engine[Symbol.asyncDispose]();
  await assertRefused(() => run(engine, short), Error, closed);
});

contract("close() leaves other engines alone", async (engine, backend) => {
  const expected = (await run(engine, short)).out.data;
  await withEngine(backend, async (other) => {
    assertSameBits((await run(other, short)).out.data, expected);
  });
  assertSameBits((await run(engine, short)).out.data, expected);
});

contract("engines do not see each other's tensors as their own", async (engine, backend) => {
  await withEngine(backend, async (other) => {
    const q = other.tensor(short.q.shape);
    q.data.set(short.q.data);
    const { out } = await run(engine, { ...short, q });
    assertSameBits(out.data, (await run(engine, short)).out.data);
  });
}, { needs: "hostTensors" });
