import { type Engine, type Tensor, tensor } from "@flashtile/attention";
import {
  add,
  gated,
  layerNorm,
  linear,
  type LinearOptions,
  packLinear,
  rmsNorm,
} from "@flashtile/attention/nn";
import { contract } from "../contract/backends.ts";
import { assertSameBits } from "../support/bits.ts";
import { elementsOf, oneOf, seeded } from "../support/layers.ts";
import { normals, type Random } from "../support/random.ts";

/** Columns of rows among more of them, from some on. */
interface Columns {
  readonly step: number;
  readonly from: number;
}

/** The same rows in the engine's memory, apart or within longer ones, and in an array. */
function twice(
  engine: Engine,
  shape: readonly [rows: number, columns: number],
  random: Random,
  { step, from }: Columns = { step: shape[1], from: 0 },
): { here: Tensor; there: Tensor } {
  const [rows, columns] = shape, own = engine.tensor([rows, step]);
  own.data.set(normals(rows * step, random));
  const here = {
    // Memory that grows has other arrays.
    get data() {
      return own.data;
    },
    ...{ shape, strides: [step, 1], offset: from },
  };
  const data = Float32Array.from(
    { length: rows * columns },
    (_, at) => own.data[Math.floor(at / columns) * step + from + at % columns],
  );
  return { here, there: tensor(data, shape) };
}

/** The same of a row without an axis of rows. */
function rowOf(engine: Engine, columns: number, random: Random): { here: Tensor; there: Tensor } {
  const here = engine.tensor([columns]), data = normals(columns, random);
  here.data.set(data);
  return { here, there: tensor(data, [columns]) };
}

contract(
  "layers on rows in the engine's memory have the bits of those in arrays",
  async (engine) => {
    const random = seeded(31), inputs = 72, outputs = 40;
    const weight = tensor(normals(inputs * outputs, random), [outputs, inputs]);
    const packed = await packLinear(weight, { engine });
    const ofBias = rowOf(engine, outputs, random), scale = rowOf(engine, inputs, random);
    // As one job, as several, and as what a wave is staged for.
    for (const rows of [1, 6, 128, 300, oneOf(random, [17, 129, 257])]) {
      const x = twice(engine, [rows, inputs], random, { step: 3 * inputs, from: inputs });
      const y = twice(engine, [rows, outputs], random);
      const out = twice(engine, [rows, outputs], random, { step: 2 * outputs, from: 5 }).here;
      const options = (place: "here" | "there"): LinearOptions => ({
        ...{ bias: ofBias[place], residual: y[place], activation: "gelu" },
      });
      await linear(x.here, packed, { ...options("here"), out });
      const expected = (await linear(x.there, packed, options("there"))).out;
      assertSameBits(elementsOf(out), expected.data, `linear, ${rows} rows`);

      const z = twice(engine, [rows, inputs], random);
      for (const norm of [layerNorm, rmsNorm] as const) {
        const to = engine.tensor([rows, inputs]), sum = engine.tensor([rows, inputs]);
        const given = (place: "here" | "there") =>
          norm === layerNorm
            ? layerNorm(x[place], scale[place], scale[place], {
              ...{ engine, residual: z[place] },
              ...(place === "here" && { out: to, sum }),
            })
            : rmsNorm(x[place], scale[place], {
              ...{ engine, residual: z[place] },
              ...(place === "here" && { out: to, sum }),
            });
        await given("here");
        const made = await given("there");
        assertSameBits(to.data, made.out.data, `norm, ${rows} rows`);
        assertSameBits(sum.data, made.sum!.data, `sum, ${rows} rows`);
      }

      const gate = (await gated(x.there, z.there, { engine, activation: "silu" })).out.data;
      await gated(x.here, z.here, { engine, activation: "silu", out: z.here });
      assertSameBits(elementsOf(z.here), gate, `gated, ${rows} rows`);
      await add(x.here, z.here, { engine, out: x.here });
      const total = (await add(x.there, tensor(gate, [rows, inputs]), { engine })).out.data;
      assertSameBits(elementsOf(x.here), total, `add, ${rows} rows`);
    }
  },
  { needs: ["layers", "hostTensors"] },
);
