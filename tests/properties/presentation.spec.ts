import { assertEquals } from "@std/assert";
import fc from "fast-check";
import type { AttentionOptions, AttentionResultWithLse, Engine } from "@flashtile/attention";
import { contract } from "../contract/backends.ts";
import {
  type Call,
  calls,
  outOf,
  presentInputs,
  presentOut,
  runs,
  sizes,
} from "../support/arbitrary.ts";
import { assertSameBits } from "../support/bits.ts";
import {
  gather,
  type Inputs,
  inputsOf,
  placesOf,
  randomProblem,
  shapesOf,
  sizesOf,
} from "../support/problem.ts";
import { normals, seeded } from "../support/random.ts";
import { resident, type ResidentTensor } from "../support/resident.ts";

/** The call with dense tensors of rank 4 in `[B, H, N, D]`: what all others must equal. */
function plainly(engine: Engine, { problem, meaning }: Call): Promise<AttentionResultWithLse> {
  const { q, k, v } = inputsOf(problem);
  return engine.attention(q, k, v, { ...meaning, lse: true });
}

function optionsOf(call: Call): AttentionOptions & { lse: true } {
  return { ...call.meaning, layout: call.layout, lse: true };
}

contract("attention() gives the same bits in any rank, layout and strides", async (engine) => {
  await fc.assert(
    fc.asyncProperty(calls, async (call) => {
      const { q, k, v } = presentInputs(call);
      const { out, lse } = await engine.attention(q, k, v, optionsOf(call));
      const plain = await plainly(engine, call);
      assertSameBits(outOf(call, out), plain.out.data, "out");
      assertSameBits(lse.data, plain.lse.data, "lse");
    }),
    runs(120),
  );
});

contract("attention() leaves its inputs as they are", async (engine) => {
  await fc.assert(
    fc.asyncProperty(calls, async (call) => {
      const { q, k, v } = presentInputs(call);
      const before = [q, k, v].map(({ data }) => data.slice());
      await engine.attention(q, k, v, optionsOf(call));
      [q, k, v].forEach(({ data }, at) => assertSameBits(data, before[at], "qkv"[at]));
    }),
    runs(40),
  );
});

contract("attention() writes into out of any strides, and nothing beside it", async (engine) => {
  await fc.assert(
    fc.asyncProperty(calls, async (call) => {
      const { q, k, v } = presentInputs(call);
      const out = presentOut(call);
      const mark = 12345;
      out.data.fill(mark);
      const result = await engine.attention(q, k, v, { ...optionsOf(call), out });
      assertEquals(result.out === out, true);
      const plain = await plainly(engine, call);
      assertSameBits(outOf(call, out), plain.out.data, "out");
      assertSameBits(result.lse.data, plain.lse.data, "lse");
      const written = new Set(placesOf(out));
      out.data.forEach((x, at) => written.has(at) || assertEquals(x, mark));
    }),
    runs(80),
  );
});

contract("attention() is right where out lies over one of its inputs", async (engine) => {
  const sizes = sizesOf({ B: 2, Hq: 3, Nq: 9, D: 6 });
  const shape = shapesOf(sizes).out, length = 2 * 3 * 9 * 6;
  for (const name of ["q", "k", "v"] as const) {
    for (const [at, outAt] of [[0, 0], [0, 5], [5, 0], [0, 54], [54, 0], [0, 162]]) {
      const inputs = inputsOf(randomProblem(sizes, 1));
      const expected = (await engine.attention(inputs.q, inputs.k, inputs.v)).out.data;
      const data = new Float32Array(length + 162);
      data.set(inputs[name].data, at);
      const { q, k, v }: Inputs = { ...inputs, [name]: { data, shape, offset: at } };
      const out = { data, shape, offset: outAt };
      await engine.attention(q, k, v, { out });
      assertSameBits(gather(out), expected, `${name} at ${at}, out at ${outAt}`);
    }
  }
});

/** A window of one buffer for each tensor, wherever they come to lie. */
const overlapping = sizes().chain((sizes) =>
  fc.record({
    sizes: fc.constant(sizes),
    at: fc.array(fc.nat({ max: 200 }), { minLength: 4, maxLength: 4 }),
    causal: fc.boolean(),
    seed: fc.nat(),
  })
);

contract(
  "attention() is right where its inputs and out lie anywhere in one buffer",
  async (engine) => {
    await fc.assert(
      fc.asyncProperty(overlapping, async ({ sizes, at, causal, seed }) => {
        const shapes = shapesOf(sizes);
        const length = 200 +
          Math.max(...Object.values(shapes).map((s) => s.reduce((a, b) => a * b)));
        const data = normals(length, seeded(seed));
        const [q, k, v, out] = [shapes.q, shapes.k, shapes.v, shapes.out].map((shape, index) => {
          return { data, shape, offset: at[index] };
        });
        const [aq, ak, av] = [q, k, v].map((one) => ({ data: gather(one), shape: one.shape }));
        const apart = await engine.attention(aq, ak, av, { causal });
        await engine.attention(q, k, v, { causal, out });
        assertSameBits(gather(out), apart.out.data);
      }),
      runs(60),
    );
  },
);

contract("attention() gives the same bits for tensors in its own memory", async (engine) => {
  await fc.assert(
    fc.asyncProperty(calls, fc.integer({ min: 1, max: 15 }), async (call, which) => {
      const held: ResidentTensor[] = [];
      const place = (tensor: ReturnType<typeof presentOut>, bit: number) => {
        if ((which & bit) === 0) return tensor;
        held.push(resident(engine, tensor));
        return held.at(-1)!;
      };
      const { q, k, v } = presentInputs(call);
      const inputs: Inputs = { q: place(q, 1), k: place(k, 2), v: place(v, 4) };
      const out = place(presentOut(call), 8);
      const result = await engine.attention(inputs.q, inputs.k, inputs.v, {
        ...optionsOf(call),
        out,
      });
      const plain = await plainly(engine, call);
      assertSameBits(outOf(call, out), plain.out.data, "out");
      assertSameBits(result.lse.data, plain.lse.data, "lse");
      held.forEach((tensor) => tensor.free());
    }),
    runs(120),
  );
}, { needs: "hostTensors" });

contract("attention() gives the same bits in place in its own memory", async (engine) => {
  await fc.assert(
    fc.asyncProperty(calls, async (call) => {
      const { q, k, v } = presentInputs(call);
      if (call.problem.sizes.D !== call.problem.sizes.Dv) return;
      if (call.arrangements.q !== "dense") return;
      const held = resident(engine, q);
      await engine.attention(held, k, v, { ...optionsOf(call), out: held });
      assertSameBits(outOf(call, held), (await plainly(engine, call)).out.data, "out");
      held.free();
    }),
    runs(150),
  );
}, { needs: "hostTensors" });
