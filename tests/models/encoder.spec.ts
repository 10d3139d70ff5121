import { createEngine } from "@flashtile/attention";
import { type Encoder, loadEncoder } from "@flashtile/attention/models";
import type { EncoderSource, LoadEncoderOptions, Modules } from "@flashtile/attention/models";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { readdirSync } from "node:fs";
import { test } from "node:test";
import { readModel } from "../../src/models/architectures/read.ts";
import { openWeights } from "../../src/models/files/open.ts";
import { blocksLeft } from "../support/blocks.ts";
import { type Encoded, floatsOf } from "../support/encoded.ts";
import { withEngines } from "../support/engines.ts";
import { assertRefused } from "../support/errors.ts";
import { randomFile, randomLlama } from "../support/made_model.ts";
import { assertNear, cosine } from "../support/near.ts";
import { seeded } from "../support/random.ts";
import { referenceModel } from "../support/reference_model.ts";
import { varyingSeed } from "../support/seed.ts";
import { inWholeRuns, isWhole, sharedOut } from "../support/share.ts";
import { sharedBytes, sharedJson, withShared } from "../support/shared.ts";

const models = "vectors/models", minilm = "real/minilm";

interface Row {
  readonly ids: number[];
  readonly states: Encoded;
}

/** A decoder whose states are wanted: made, with other numbers in every run. */
function made(): EncoderSource & { config: object; weights: Uint8Array } {
  return randomLlama(seeded(varyingSeed()), { max_position_embeddings: 12 });
}

/** Runs with one, which is freed. */
async function withMade(
  use: (encoder: Encoder) => Promise<void>,
  more: Partial<EncoderSource> = {},
  options?: LoadEncoderOptions,
): Promise<void> {
  const encoder = await loadEncoder({ ...made(), ...more }, options);
  try {
    await use(encoder);
  } finally {
    encoder.free();
  }
}

test(
  "loadEncoder() answers as the transformers package: packed and alone, by both spellings",
  withShared(models),
  async () => {
    const engine = await createEngine({ backend: "wasm", threads: 1 });
    const names = readdirSync(`../shared/${models}`).filter((name) =>
      sharedJson(`${models}/${name}/expected.json`).kind === "encoder"
    ).sort();
    assertEquals(names.length, 8);
    for (const name of sharedOut(names, 2, "encoders")) {
      const { rows } = sharedJson(`${models}/${name}/expected.json`) as { rows: Row[] };
      const weights = sharedBytes(`${models}/${name}/model.safetensors`);
      for (const spelling of sharedOut(["config", "config.older"], 1, name)) {
        const config = sharedJson(`${models}/${name}/${spelling}.json`);
        const encoder = await loadEncoder({ config, weights }, { engine });
        const packed = await encoder.states(rows.map(({ ids }) => ids));
        for (const [at, { ids, states }] of rows.entries()) {
          const what = `${name}, ${spelling}, ${ids.length} tokens`;
          assertEquals(packed[at].shape, [ids.length, encoder.width]);
          assertNear(packed[at].data, floatsOf(states), 2e-5, what);
          assertEquals((await encoder.states([ids]))[0].data, packed[at].data, what);
        }
        encoder.free();
      }
    }
    await engine.close();
  },
);

interface Text {
  readonly ids: number[];
  readonly embedding: number[];
}

/** Each way to keep MiniLM's weights, and the least cosine. */
const ways: [LoadEncoderOptions, number][] = [
  [{}, 0.99999],
  [{ precision: "int16" }, 0.99999],
  [{ dtype: "f32" }, 0.99999],
  [{ dtype: "int8" }, 0.999],
  [{ precision: "int8" }, 0.997],
];

test(
  "texts have the embeddings of all-MiniLM-L6-v2, the same bits alone and together",
  withShared(`${minilm}/model.safetensors`),
  async () => {
    const config = sharedJson(`${minilm}/config.json`), engine = await createEngine({ threads: 1 });
    const weights = sharedBytes(`${minilm}/model.safetensors`);
    const { texts: all } = sharedJson(`${minilm}/embeddings.json`) as { texts: Text[] };
    const short = all.filter(({ ids }) => ids.length < 24).slice(0, 4),
      texts = isWhole ? all : short;
    for (const [options, least] of sharedOut(ways, 1, "ways to keep MiniLM")) {
      const encoder = await loadEncoder({ config, weights }, { engine, ...options });
      const vectors = await encoder.embed(texts.map(({ ids }) => ids));
      const what = JSON.stringify(options);
      for (const [at, { ids, embedding }] of texts.entries()) {
        const got = cosine(vectors[at], embedding);
        assert(got >= least, `${what}, ${ids.length} tokens: ${got}`);
        assert(Math.abs(Math.hypot(...vectors[at]) - 1) < 1e-6);
        assertEquals((await encoder.embed([ids]))[0], vectors[at], what);
      }
      const parts = await encoder.embed(texts.map(({ ids }) => ids), { batchTokens: 100 });
      assertEquals(parts, vectors);
      encoder.free();
    }
    await engine.close();
  },
);

test(
  "an encoder's bits do not depend on threads",
  { ...withShared(`${minilm}/model.safetensors`), ...inWholeRuns },
  async () => {
    const config = sharedJson(`${minilm}/config.json`);
    const weights = sharedBytes(`${minilm}/model.safetensors`);
    const { texts } = sharedJson(`${minilm}/embeddings.json`) as { texts: Text[] };
    await withEngines(async (alone, teams) => {
      const embed = async (engine: typeof alone, options: LoadEncoderOptions) => {
        const encoder = await loadEncoder({ config, weights }, { engine, ...options });
        const vectors = await encoder.embed(texts.slice(0, 12).map(({ ids }) => ids));
        encoder.free();
        return vectors;
      };
      for (const options of [{}, { precision: "int16" }] as const) {
        const wanted = await embed(alone, options);
        for (const team of teams) assertEquals(await embed(team, options), wanted);
      }
    });
  },
);

test("a decoder's states are those of its plan, and pooled in three ways", async () => {
  const source = made(), texts = [[1, 2, 3], [4], [0, 0, 3, 1, 2, 2]];
  const file = await openWeights(source.weights), plan = await readModel(source.config, file);
  const oracle = await referenceModel(plan, file), encoder = await loadEncoder(source);
  assertEquals([encoder.dimensions, encoder.width, encoder.maxTokens], [8, 8, 12]);
  const states = await encoder.states(texts);
  for (const [at, ids] of texts.entries()) {
    assertNear(states[at].data, oracle.states(ids), 1e-5, `${ids}`);
  }
  const rows = (at: number) =>
    Array.from(texts[at], (_, row) => [...states[at].data.subarray(row * 8, row * 8 + 8)]);
  const ways = {
    mean: (rows: number[][]) =>
      rows[0].map((_, i) => rows.reduce((sum, row) => sum + row[i], 0) / rows.length),
    cls: ([first]: number[][]) => first,
    last: (rows: number[][]) => rows.at(-1)!,
  } as const;
  for (const pooling of ["mean", "cls", "last"] as const) {
    const plain = await encoder.embed(texts, { pooling, normalize: false });
    const unit = await encoder.embed(texts, { pooling });
    for (const at of texts.keys()) {
      const wanted = ways[pooling](rows(at)), length = Math.hypot(...wanted);
      assertNear(plain[at], wanted, 1e-6, pooling);
      assertNear(unit[at], wanted.map((one) => one / length), 1e-6, pooling);
    }
  }
  assertEquals(await encoder.embed(texts), await encoder.embed(texts, { pooling: "mean" }));
  assertEquals(await encoder.embed([]), []);
  encoder.free();
});

test("layers behind pooling are those of modules, which decide", async () => {
  const kind = (name: string, path: string) => ({
    type: `sentence_transformers.models.${name}`,
    path,
  });
  const random = seeded(varyingSeed());
  const weights = randomFile({ "linear.weight": [3, 8], "linear.bias": [3] }, random);
  const modules: Modules = {
    list: [kind("Transformer", ""), kind("Pooling", "1"), kind("Dense", "2")],
    files: {
      "1/config.json": { pooling_mode_lasttoken: true },
      "2/config.json": {
        ...{ in_features: 8, out_features: 3, bias: true },
        activation_function: "torch.nn.modules.activation.Tanh",
      },
      "2/model.safetensors": weights,
    },
  };
  const file = await openWeights(weights), numbers = new Map<string, Float32Array>();
  for (const name of file.entries.keys()) {
    numbers.set(name, (await file.read(name)).data as Float32Array);
  }
  await withMade(async (encoder) => {
    assertEquals([encoder.dimensions, encoder.width], [3, 8]);
    const [vector, other] = await encoder.embed([[1, 2, 3], [2]]);
    const [{ data }] = await encoder.states([[1, 2, 3]]), last = data.subarray(-8);
    const w = numbers.get("linear.weight")!, b = numbers.get("linear.bias")!;
    const wanted = Array.from(
      b,
      (bias, o) => Math.tanh(last.reduce((sum, one, i) => sum + one * w[o * 8 + i], bias)),
    );
    assertNear(vector, wanted, 1e-5, "dense");
    assertEquals((await encoder.embed([[2]]))[0], other);
    await assertRefused(
      () => encoder.embed([[1]], { pooling: "cls" }),
      TypeError,
      "Cannot embed: `pooling` and `normalize` are decided by `modules`, leave them out",
    );
  }, { modules });
});

/** A tokenizer of letters from "a" on, with 0 in front and 4 behind. */
const tokenizer = {
  encode: (text: string) => ({ ids: [0, ...[...text].map((one) => "abc".indexOf(one) + 1), 4] }),
  decode: (ids: number[]) => ids.join(),
};

test("texts that are too long are cut, their end kept, and it is told", async () => {
  await withMade(async (encoder) => {
    const told: number[] = [], onTruncate = (texts: number) => told.push(texts);
    const long = "abcabcabcabcabc", ids = tokenizer.encode(long).ids;
    const [short, cut, plain] = await encoder.embed(["ab", long, ids], { onTruncate });
    assertEquals(told, [2]);
    assertEquals((await encoder.embed([[...ids.slice(0, 11), 4]], { onTruncate }))[0], cut);
    assertEquals((await encoder.embed([ids.slice(0, 12)], { onTruncate }))[0], plain);
    assertEquals((await encoder.embed([[0, 1, 2, 4]], { onTruncate }))[0], short);
    assertEquals(told, [2]);
    const [{ shape }] = await encoder.states([""]);
    assertEquals(shape, [2, 8]);
  }, { tokenizer });
  await withMade(
    async (encoder) => {
      await assertRefused(
        () => encoder.embed(["ab", "aaaaaaa"]),
        RangeError,
        "Cannot embed: `texts[1]` has 9 tokens, at most 8 are possible",
      );
      assertEquals((await encoder.embed(["abcabc"])).length, 1);
    },
    { tokenizer },
    { truncate: false, maxTokens: 8 },
  );
});

test("encoders refuse texts and options that are wrong", async () => {
  const refusedToLoad = (options: object, message: string, from: object = {}) =>
    assertRefused(
      () => loadEncoder({ ...made(), ...from } as never, options),
      TypeError,
      `Cannot load the encoder: ${message}`,
    );
  await refusedToLoad({ truncate: 1 }, "`truncate` must be one of true, false, got 1");
  await refusedToLoad(
    { pooling: "cls" },
    "unknown option `pooling`, known are engine, dtype, precision, maxTokens, onProgress, signal, truncate",
  );
  await refusedToLoad(
    {},
    "unknown option `pooling`, known are config, weights, tokenizer, format, modules",
    { pooling: "cls" },
  );
  await withMade(async (encoder) => {
    const refused = (
      texts: unknown,
      options: unknown,
      kind: typeof TypeError | typeof RangeError,
      message: string,
    ) =>
      assertRefused(
        () => encoder.embed(texts as never, options as never),
        kind,
        `Cannot embed: ${message}`,
      );
    await refused("a", {}, TypeError, '`texts` must be an array of texts, got "a"');
    await refused(
      ["a"],
      {},
      TypeError,
      "`texts[0]` is a text, which needs a `tokenizer` when the model is loaded; ids need none",
    );
    await refused([[1], []], {}, RangeError, "`texts[1]` has no tokens");
    await refused([1, 2], {}, TypeError, "`texts[0]` must be a text or a list of ids, got 1");
    await refused([[5]], {}, RangeError, "`texts[0]` must be whole numbers from 0 to 4, got 5");
    await refused(
      [[1]],
      { pooling: "max" },
      TypeError,
      '`pooling` must be one of "mean", "cls", "last", got "max"',
    );
    await refused(
      [[1]],
      { normalize: 2 },
      TypeError,
      "`normalize` must be one of true, false, got 2",
    );
    await refused(
      [[1]],
      { batchTokens: 0 },
      RangeError,
      "`batchTokens` must be a whole number of at least 1, got 0",
    );
    await refused([[1]], { onTruncate: 1 }, TypeError, "`onTruncate` must be a function, got 1");
    await refused(
      [[1]],
      { batch: 1 },
      TypeError,
      "unknown option `batch`, known are pooling, normalize, batchTokens, onTruncate, signal; did you mean `batchTokens`?",
    );
    await assertRefused(
      () => encoder.states([[1]], { pooling: "cls" } as never),
      TypeError,
      "Cannot give states: unknown option `pooling`, known are batchTokens, onTruncate, signal",
    );
    const signal = AbortSignal.abort(new Error("stop"));
    await assertRejects(() => encoder.embed([[1]], { signal }), Error, "stop");
  });
});

test("a thousand texts may be aborted on the way", async () => {
  await withMade(async (encoder) => {
    const stop = new AbortController(), texts = Array.from({ length: 1000 }, () => [1, 2, 3, 4]);
    setTimeout(() => stop.abort(new Error("stop")), 1);
    const { signal } = stop;
    await assertRejects(() => encoder.embed(texts, { signal, batchTokens: 4 }), Error, "stop");
    assertEquals((await encoder.embed(texts)).length, 1000);
  });
});

test("an encoder gives all memory back, and is refused after that", async () => {
  const engine = await createEngine({ backend: "wasm", threads: 1 }), source = made();
  await (await loadEncoder(source, { engine })).embed([[1]]); // Kernels have memory of their own.
  const left = await blocksLeft(async () => {
    const encoder = await loadEncoder(source, { engine }), running = encoder.embed([[1, 2]]);
    await running;
    const late = encoder.states([[1]]);
    encoder[Symbol.dispose]();
    await assertRejects(() => late, Error, "Cannot run the model: it was freed");
    await assertRejects(() => encoder.embed([[1]]), Error, "Cannot embed: it was freed");
  });
  assertEquals(left, 0);
  const encoder = await loadEncoder(source, { engine });
  await engine.close();
  await assertRejects(() => encoder.embed([]), Error, "Cannot use an engine after `close()`");
  encoder.free();
});

test(
  "an encoder with biases by distance gives their memory back",
  withShared(models),
  async () => {
    const engine = await createEngine({ backend: "wasm", threads: 1 });
    const config = sharedJson(`${models}/mpnet/config.json`);
    const source = { config, weights: sharedBytes(`${models}/mpnet/model.safetensors`) };
    const use = async () => {
      const encoder = await loadEncoder(source, { engine });
      await encoder.states([[5, 6], [5, 6, 7, 8]]);
      encoder.free();
    };
    await use();
    assertEquals(await blocksLeft(use), 0);
    await engine.close();
  },
);
