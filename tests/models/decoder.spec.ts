import { BackendUnavailableError, createEngine } from "@flashtile/attention";
import { loadDecoder, sentencePiece } from "@flashtile/attention/models";
import type {
  Decoder,
  GeneratedToken,
  LoadOptions,
  ModelSource,
} from "@flashtile/attention/models";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { readdirSync } from "node:fs";
import { test } from "node:test";
import { readModel } from "../../src/models/architectures/read.ts";
import { openWeights } from "../../src/models/files/open.ts";
import { blocksLeft } from "../support/blocks.ts";
import { type Encoded, floatsOf } from "../support/encoded.ts";
import { withEngines } from "../support/engines.ts";
import { assertRefused } from "../support/errors.ts";
import { fakeDevice } from "../support/fake_gpu.ts";
import { llamaConfig, randomLlama } from "../support/made_model.ts";
import { assertNear } from "../support/near.ts";
import { seeded } from "../support/random.ts";
import { referenceModel } from "../support/reference_model.ts";
import { varyingSeed } from "../support/seed.ts";
import { isWhole, sharedOut } from "../support/share.ts";
import { sharedBytes, sharedJson, withShared } from "../support/shared.ts";

const models = "vectors/models", ggufs = "vectors/gguf", real = "real";

interface Row {
  readonly ids: number[];
  readonly logits: Encoded;
}

/** Logits of tokens that come one after the other. */
async function oneByOne(decoder: Decoder, ids: readonly number[]): Promise<number[]> {
  const session = decoder.session(), logits: number[] = [];
  for (const id of ids) logits.push(...await session.prefill([id]));
  session.free();
  return logits;
}

async function all(tokens: AsyncIterable<GeneratedToken>): Promise<GeneratedToken[]> {
  const list: GeneratedToken[] = [];
  for await (const token of tokens) list.push(token);
  return list;
}

/** A model whose texts go on to the end of its context. */
const endless = { eos_token_id: [], max_position_embeddings: 64 };

/** A made model, whose numbers are others in every run. */
function made(config: object = endless): ModelSource {
  return randomLlama(seeded(varyingSeed()), config);
}

/** Runs with one, which is freed. */
async function withMade(use: (decoder: Decoder) => Promise<void>, config?: object): Promise<void> {
  const decoder = await loadDecoder(made(config));
  try {
    await use(decoder);
  } finally {
    decoder.free();
  }
}

test(
  "loadDecoder() answers as the transformers package: whole, token by token, by both spellings",
  withShared(models),
  async () => {
    const engine = await createEngine({ backend: "wasm", threads: 1 });
    const names = readdirSync(`../shared/${models}`).filter((name) =>
      sharedJson(`${models}/${name}/expected.json`).kind === "decoder"
    ).sort();
    assertEquals(names.length, 13);
    for (const name of sharedOut(names, 2, "decoders")) {
      const { rows } = sharedJson(`${models}/${name}/expected.json`) as { rows: Row[] };
      const weights = sharedBytes(`${models}/${name}/model.safetensors`);
      for (const spelling of sharedOut(["config", "config.older"], 1, name)) {
        const config = sharedJson(`${models}/${name}/${spelling}.json`);
        const decoder = await loadDecoder({ config, weights }, { engine });
        for (const { ids, logits } of rows) {
          const wanted = floatsOf(logits), what = `${name}, ${spelling}, ${ids.length} tokens`;
          assertNear((await decoder.logits(ids)).data, wanted, 2e-5, what);
          assertNear(await oneByOne(decoder, ids), wanted, 2e-5, `${what}, one by one`);
        }
        decoder.free();
      }
    }
    await engine.close();
  },
);

test("loadDecoder() reads GGUF files in five storages", withShared(ggufs), async () => {
  const expected = sharedJson(`${ggufs}/expected.json`) as Record<string, Row[]>;
  for (const name of sharedOut(Object.keys(expected), 2, "decoders of GGUF")) {
    const decoder = await loadDecoder({ weights: sharedBytes(`${ggufs}/${name}`) });
    for (const { ids, logits } of expected[name]) {
      const wanted = floatsOf(logits), what = `${name}, ${ids.length} tokens`;
      assertNear((await decoder.logits(ids)).data, wanted, 3e-5, what);
      assertNear(await oneByOne(decoder, ids), wanted, 3e-5, `${what}, one by one`);
    }
    decoder.free();
  }
});

interface Story {
  readonly tokens: number[];
  readonly text: string;
  readonly prompt_tokens: number;
}

/** Files that tell the published story, or one of their own. */
function stories(): [path: string, Story][] {
  const [published] = sharedJson(`${real}/stories260K.json`) as Story[];
  const others = sharedJson(`${real}/stories260K-gguf.json`) as Record<string, Story>;
  return [["stories260K.bin", published], ...Object.entries(others)];
}

function storySource(path: string): ModelSource {
  const weights = sharedBytes(`${real}/${path}`);
  if (!path.endsWith(".bin")) return { weights };
  const tokenizer = sentencePiece(sharedBytes(`${real}/tok512.bin`));
  return { weights, format: "llama2.c", tokenizer };
}

test(
  "generate() tells the published stories to the letter",
  withShared(`${real}/stories260K.bin`),
  async () => {
    for (const [path, story] of sharedOut(stories(), 1, "stories")) {
      const count = story.tokens.length - story.prompt_tokens, maxTokens = isWhole ? count : 50;
      const decoder = await loadDecoder(storySource(path));
      const told = await all(decoder.generate("", { maxTokens }));
      const from = story.prompt_tokens, text = told.map(({ text }) => text).join("");
      assertEquals(
        told.map(({ token }) => token),
        story.tokens.slice(from, from + maxTokens),
        path,
      );
      assert(story.text.startsWith(text), `${path}: ${text}`);
      if (isWhole) assertEquals(text, story.text);
      decoder.free();
    }
  },
);

test(
  "a story goes on from a prompt in the middle of it, saved, loaded, forked and in batches",
  withShared(`${real}/stories260K.bin`),
  async () => {
    const [[path, { tokens }]] = stories(), decoder = await loadDecoder(storySource(path));
    const first = decoder.session(), middle = 40;
    await first.prefill(tokens.slice(0, middle));
    const eight = decoder.session({ batch: 8 }), saved = await first.save();
    const one = decoder.session();
    one.load(saved);
    assertEquals(one.lengths, [middle]);
    await eight.prefill(tokens.slice(0, 25), 0);
    await eight.prefill(tokens.slice(25, middle), 0);
    for (let to = 1; to < 8; to++) eight.fork(0, to);
    for (let at = middle; at < middle + (isWhole ? 100 : 8); at++) {
      const alone = await one.prefill([tokens[at]]), wanted = tokens[at + 1];
      assertEquals(alone.indexOf(Math.max(...alone)), wanted);
      const { data, shape } = await eight.step(new Array(8).fill(tokens[at]));
      assertEquals(shape, [8, decoder.vocabulary]);
      for (let row = 0; row < 8; row++) {
        const own = data.subarray(row * decoder.vocabulary, (row + 1) * decoder.vocabulary);
        assertNear(own, alone, 1e-5, `row ${row}`);
      }
    }
    for (const session of [first, eight, one]) session.free();
    decoder.free();
  },
);

test("a decoder gives what its plan says, in pieces of any size", async () => {
  const source = made(), ids = [1, 4, 0, 3, 3, 2, 1, 0, 4];
  const file = await openWeights(source.weights);
  const oracle = await referenceModel(await readModel(source.config, file), file);
  const decoder = await loadDecoder(source), wanted = oracle.logits(ids), { vocabulary } = decoder;
  assertEquals([decoder.architecture, decoder.width, vocabulary], ["llama", 8, 5]);
  assertNear((await decoder.logits(ids)).data, wanted, 1e-5, "whole");
  for (let cut = 1; cut < ids.length; cut++) {
    const session = decoder.session();
    const [, last] = [
      await session.prefill(ids.slice(0, cut)),
      await session.prefill(Int32Array.from(ids.slice(cut))),
    ];
    assertNear(last, wanted.slice(-vocabulary), 1e-5, `after ${cut}`);
    session.free();
  }
  decoder.free();
});

test("a prompt of several chunks is as one of single tokens", async () => {
  await withMade(async (decoder) => {
    const ids = Array.from({ length: 600 }, (_, at) => at * at % 5), whole = decoder.session();
    const chunks = await whole.prefill(ids), pieces = decoder.session();
    for (let at = 0; at < ids.length; at += 100) await pieces.prefill(ids.slice(at, at + 100));
    pieces.truncate(0, 599);
    assertNear(await pieces.prefill(ids.slice(599)), chunks, 1e-5, "the last");
    const { data, shape } = await decoder.logits(ids);
    assertEquals(shape, [600, 5]);
    assertNear(data.subarray(-5), chunks, 1e-5, "the last of all");
  }, { ...endless, max_position_embeddings: 700 });
});

test("sequences of a session are apart: each its own length, those that stay have no logits", async () => {
  await withMade(async (decoder) => {
    const batch = decoder.session({ batch: 3, dtype: "f32" }), alone = decoder.session();
    await batch.prefill([1, 2, 3], 1);
    await batch.prefill([4, 4], 0);
    await alone.prefill([1, 2, 3]);
    assertEquals(batch.lengths, [2, 3, 0]);
    const { data } = await batch.step([null, 4, 2]);
    assertEquals(batch.lengths, [2, 4, 1]);
    assertEquals([...data.subarray(0, 5)], [0, 0, 0, 0, 0]);
    assertNear(data.subarray(5, 10), await alone.prefill([4]), 1e-5, "the second");
    const first = decoder.session();
    assertNear(data.subarray(10), await first.prefill([2]), 1e-5, "the third");
    assert(batch.bytes > 0);
  });
});

test("a session keeps still while a pass of it runs, and loads what was saved or nothing", async () => {
  await withMade(async (decoder) => {
    const session = decoder.session(), running = session.prefill([1, 2, 3]);
    const acts = {
      fork: () => session.fork(0, 0),
      truncate: () => session.truncate(0, 0),
      save: () => session.save(),
      load: () => session.load(new Uint8Array(0)),
    };
    await Promise.all(
      Object.entries(acts).map(([name, act]) => {
        const message = `Cannot ${name}: a pass of the session runs, wait for it first`;
        return assertRefused(act, Error, message);
      }),
    );
    await running;
    const saved = await session.save(), next = await session.prefill([4]);
    session.load(saved);
    assertEquals(session.lengths, [3]);
    assertEquals(await session.prefill([4]), next);
    for (const at of [40, saved.length - 2]) {
      const damaged = saved.slice();
      damaged[at] ^= 1;
      assertThrows(() => session.load(damaged), RangeError, "Cannot load a cache: ");
      assertEquals(session.lengths, [4]);
    }
    for (const bytes of [new Uint8Array(12), saved.subarray(1), saved.subarray(0, -1)]) {
      assertThrows(() => session.load(bytes), RangeError, "Cannot load a cache: ");
    }
    const shorter = decoder.session();
    await shorter.prefill([1, 2]);
    const other = await shorter.save(),
      layers = (bytes: Uint8Array<ArrayBuffer>) => {
        const [, , first] = new Uint32Array(bytes.buffer, 0, 3);
        return { first: bytes.subarray(16, 16 + first), second: bytes.subarray(16 + first) };
      };
    // What is said of each layer's bytes is right.
    const sizes = [...saved.subarray(0, 12), ...other.subarray(12, 16)];
    const mixed = new Uint8Array([...sizes, ...layers(saved).first, ...layers(other).second]);
    await assertRefused(
      () => shorter.load(mixed),
      RangeError,
      "Cannot load a cache: layer 1 has 2 tokens where layer 0 has 3",
    );
    assertEquals(shorter.lengths, [2]);
  });
});

test("a session's only sequence stays as it is in a step without an id for it", async () => {
  await withMade(async (decoder) => {
    const session = decoder.session(), other = decoder.session();
    for (const one of [session, other]) await one.prefill([1, 2, 3]);
    const { data } = await session.step([null]);
    assert(data.every((logit) => logit === 0));
    assertEquals(session.lengths, [3]);
    assertEquals(await session.step([4]), await other.step([4]));
  });
});

test("generate() samples the same of a seed, and the likeliest of topK 1", async () => {
  await withMade(async (decoder) => {
    const tell = async (sampling: object | "greedy") =>
      (await all(decoder.generate([1, 2], { maxTokens: 9, sampling }))).map(({ token }) => token);
    assertEquals(await tell({ topK: 1 }), await tell("greedy"));
    assertEquals(await tell({ temperature: 0 }), await tell("greedy"));
    const first = await tell({ seed: 5, temperature: 3 });
    assertEquals(await tell({ seed: 5, temperature: 3 }), first);
    assertEquals(first.length, 9);
  });
});

test("generate() ends at the end token, at maxTokens, and where the context ends", async () => {
  await withMade(async (decoder) => {
    assertEquals((await all(decoder.generate([1], { maxTokens: 0 }))).length, 0);
    assertEquals((await all(decoder.generate([1], { maxTokens: 7 }))).length, 7);
    const told: GeneratedToken[] = [];
    const given = await all(decoder.generate([1, 2, 3], { onToken: (token) => told.push(token) }));
    assertEquals(given.length, 61);
    assertEquals(told, given);
    assertEquals(given[0].text, "");
  });
  await withMade(async (decoder) => {
    assertEquals(await all(decoder.generate([1])), []);
  }, { eos_token_id: [0, 1, 2, 3, 4] });
});

test("pieces of text join to the continuation, also where characters are spread over tokens", async () => {
  // Tokens are bytes: "a", and the three of a euro sign; what never becomes whole is U+FFFD.
  const bytes = [0x61, 0xe2, 0x82, 0xac, 0x62];
  const tokenizer = {
    encode: (text: string) => [...new TextEncoder().encode(text)].map((one) => bytes.indexOf(one)),
    decode: (ids: number[]) => new TextDecoder().decode(Uint8Array.from(ids, (id) => bytes[id])),
  };
  const source = { ...made(), tokenizer }, decoder = await loadDecoder(source);
  for (let maxTokens = 1; maxTokens < (isWhole ? 40 : 12); maxTokens++) {
    const sampling = { seed: varyingSeed() + maxTokens, temperature: 5 };
    const told = await all(decoder.generate("a\u20acb", { maxTokens, sampling }));
    const ids = told.map(({ token }) => token), text = told.map(({ text }) => text).join("");
    assertEquals(text, tokenizer.decode([0, 1, 2, 3, 4, ...ids]).slice(3), `${ids}`);
  }
  decoder.free();
});

test("loadDecoder() keeps weights as is asked, and gives the same of each kind of file", async () => {
  const source = made(), ids = [1, 2, 3, 4], { weights } = source as { weights: Uint8Array };
  const plain = await loadDecoder(source), exact = (await plain.logits(ids)).data;
  const index = {
    weight_map: Object.fromEntries(
      [...(await openWeights(weights)).entries.keys()].map((name) => [name, "a.safetensors"]),
    ),
  };
  const others = [
    new Blob([weights as Uint8Array<ArrayBuffer>]),
    (offset: number, length: number) => Promise.resolve(weights.slice(offset, offset + length)),
    { index, files: { "a.safetensors": weights } },
  ];
  for (const weights of others) {
    const other = await loadDecoder({ ...source, weights });
    assertEquals((await other.logits(ids)).data, exact);
    other.free();
  }
  plain.free();
  const fixed = randomLlama(seeded(1)),
    of = async (options: LoadOptions) => {
      const decoder = await loadDecoder(fixed, options), { data } = await decoder.logits(ids);
      decoder.free();
      return data;
    };
  // Of so small a model; the worst of 400 others was no worse.
  const errors: [LoadOptions, number][] = [
    [{ dtype: "f16" }, 6e-3],
    [{ dtype: "bf16" }, 4e-2],
    [{ dtype: "int16" }, 6e-4],
    [{ precision: "int16" }, 8e-4],
    [{ dtype: "int8" }, 0.1],
    [{ precision: "int16", dtype: "int8" }, 0.1],
    [{ precision: "int8" }, 0.2],
  ];
  const right = await of({}), seen = new Set([right.join()]);
  for (const [options, most] of errors) {
    const got = await of(options), what = JSON.stringify(options);
    assertNear(got, right, most, what);
    assert(!seen.has(got.join()), `${what} is as others`);
    seen.add(got.join());
  }
});

test("loadDecoder() tells how much is in place", async () => {
  const told: [number, number][] = [];
  const onProgress = ({ done, total }: { done: number; total: number }) => told.push([done, total]);
  (await loadDecoder(made(), { onProgress })).free();
  assert(told.every(([done, total], at) => done <= total && (at === 0 || done > told[at - 1][0])));
  const [done, total] = told.at(-1)!;
  assertEquals([done, told[0][1]], [total, total]);
});

test(
  "a decoder's bits do not depend on threads",
  withShared(`${real}/stories260K.bin`),
  async () => {
    await withEngines(async (alone, teams) => {
      const ids = sharedJson(`${real}/stories260K.json`)[0].tokens.slice(0, isWhole ? 257 : 130);
      const logits = async (engine: typeof alone) => {
        const decoder = await loadDecoder(storySource("stories260K.bin"), { engine });
        const { data } = await decoder.logits(ids);
        decoder.free();
        return data;
      };
      const wanted = await logits(alone);
      for (const team of teams) assertEquals(await logits(team), wanted);
    });
  },
);

test("free() gives all memory back, also in the middle of a text, and ends what runs", async () => {
  const engine = await createEngine({ backend: "wasm", threads: 1 }), source = made();
  await (await loadDecoder(source, { engine })).logits([1]); // Kernels have memory of their own.
  const left = await blocksLeft(async () => {
    const decoder = await loadDecoder(source, { engine });
    await decoder.logits([1, 2, 3]);
    const session = decoder.session({ batch: 2 });
    await session.prefill([1], 1);
    const tokens = decoder.generate([1, 2]);
    await tokens.next();
    decoder.free();
    await assertRejects(() => tokens.next(), Error, "Cannot run the model: it was freed");
    await assertRejects(() => session.prefill([1]), Error, "freed");
    assertThrows(() => session.fork(1, 0), Error, "Cannot fork: it was freed");
    await assertRejects(() => decoder.logits([1]), Error, "Cannot give logits: it was freed");
    assertThrows(() => decoder.generate([1]), Error, "Cannot generate: it was freed");
    assertThrows(() => decoder.session(), Error, "Cannot begin a session: it was freed");
    decoder.free();
    decoder[Symbol.dispose]();
  });
  assertEquals(left, 0);
  await engine.close();
});

test("a decoder may be freed within a pass, which ends", async () => {
  const engine = await createEngine({ backend: "wasm", threads: 1 }), source = made();
  await (await loadDecoder(source, { engine })).logits([1]);
  const left = await blocksLeft(async () => {
    const decoder = await loadDecoder(source, { engine }), session = decoder.session();
    let looks = 0;
    const signal = {
      get aborted() {
        if (++looks === 5) decoder.free();
        return false;
      },
    };
    const message = "Cannot run the model: it was freed";
    await assertRejects(() => session.prefill([1, 2, 3], 0, { signal }), Error, message);
    assertEquals(looks, 5);
  });
  assertEquals(left, 0);
  await engine.close();
});

test("a generation that is left early, or is aborted, keeps nothing", async () => {
  const engine = await createEngine({ backend: "wasm", threads: 1 });
  const decoder = await loadDecoder(made(), { engine });
  await decoder.logits([1, 2, 3]);
  const left = await blocksLeft(async () => {
    for await (const _ of decoder.generate([1, 2])) break;
    const stop = new AbortController();
    const { signal } = stop;
    await assertRejects(
      async () => {
        for await (const _ of decoder.generate([1, 2], { signal })) stop.abort(new Error("enough"));
      },
      Error,
      "enough",
    );
    const session = decoder.session();
    await session.prefill([1, 2]);
    const aborted = AbortSignal.abort(new Error("no"));
    await assertRejects(() => session.prefill([1], 0, { signal: aborted }), Error, "no");
    assertEquals(session.lengths, [2]);
    session.free();
  });
  assertEquals(left, 0);
  await engine.close();
  await assertRejects(() => decoder.logits([1]), Error, "Cannot use an engine after `close()`");
  decoder.free();
});

test("what happens at the same time happens one after the other", async () => {
  await withMade(async (decoder) => {
    const ids = [[1, 2, 3], [4, 4, 4, 4], [2]];
    const wanted: Float32Array[] = [];
    for (const each of ids) wanted.push((await decoder.logits(each)).data);
    const got = await Promise.all(ids.map((each) => decoder.logits(each)));
    assertEquals(got.map(({ data }) => data), wanted);
  });
});

test("loadDecoder() that is aborted or refused keeps nothing", async () => {
  const engine = await createEngine({ backend: "wasm", threads: 1 }), source = made();
  (await loadDecoder(source, { engine })).free();
  const left = await blocksLeft(async () => {
    const stop = new AbortController(), { signal } = stop;
    const onProgress = () => stop.abort(new Error("stop"));
    await assertRejects(() => loadDecoder(source, { engine, signal, onProgress }), Error, "stop");
    await assertRejects(() => loadDecoder(source, { engine, signal }), Error, "stop");
    const config = { ...llamaConfig, hidden_size: 16 };
    await assertRejects(() => loadDecoder({ ...source, config }, { engine }), RangeError);
  });
  assertEquals(left, 0);
  await engine.close();
});

const cannotLoad = "Cannot load the decoder", cannotGenerate = "Cannot generate";

test("loadDecoder() refuses what it does not know, before anything is read", async () => {
  const source = made(),
    refused = async (
      options: object,
      kind: typeof TypeError | typeof RangeError,
      message: string,
      from: object = source,
    ) =>
      await assertRefused(
        () => loadDecoder(from as never, options),
        kind,
        `${cannotLoad}: ${message}`,
      );
  await refused(
    { threads: 2 },
    TypeError,
    "unknown option `threads`, known are engine, dtype, precision, maxTokens, onProgress, signal",
  );
  await refused(
    { dtype: "q8_0" },
    TypeError,
    '`dtype` must be one of "f32", "f16", "bf16", "int16", "int8", got "q8_0"',
  );
  await refused(
    { precision: "f16" },
    TypeError,
    '`precision` must be one of "f32", "int16", "int8", got "f16"',
  );
  await refused(
    { precision: "int16", dtype: "f16" },
    RangeError,
    '`precision: "int16"` needs `dtype` "int16" or "int8", or none, got "f16"',
  );
  await refused(
    { precision: "int8", dtype: "int16" },
    RangeError,
    '`precision: "int8"` needs `dtype` "int8", or none, got "int16"',
  );
  for (const maxTokens of [0, 1.5, "8"]) {
    const told = JSON.stringify(maxTokens);
    await refused(
      { maxTokens },
      RangeError,
      `\`maxTokens\` must be a whole number of at least 1, got ${told}`,
    );
  }
  await refused(
    { maxTokens: 65 },
    RangeError,
    "`maxTokens` must be at most 64, the model's positions, got 65",
  );
  await refused({ onProgress: 1 }, TypeError, "`onProgress` must be a function, got 1");
  await refused({ signal: 1 }, TypeError, "`signal` must be an AbortSignal, got 1");
  const engine = {};
  await refused(
    { engine },
    TypeError,
    "`engine` must be what `createEngine()` of this copy of the library gave, got Object",
  );
  await refused(
    {},
    TypeError,
    "unknown option `url`, known are config, weights, tokenizer, format",
    { ...source, url: "" },
  );
  await refused(
    {},
    TypeError,
    "`tokenizer` must have `encode(text)` and `decode(ids)`, got Object",
    { ...source, tokenizer: {} },
  );
});

test("decoders refuse ids and options that are wrong", async () => {
  await withMade(async (decoder) => {
    const ids = (given: unknown, kind: typeof TypeError | typeof RangeError, message: string) =>
      assertRefused(() => decoder.logits(given as never), kind, `Cannot give logits: ${message}`);
    await ids([], RangeError, "`ids` has no tokens");
    await ids([1, 2.5], RangeError, "`ids` must be whole numbers from 0 to 4, got 2.5");
    await ids([-1], RangeError, "`ids` must be whole numbers from 0 to 4, got -1");
    await ids([1, 5], RangeError, "`ids` must be whole numbers from 0 to 4, got 5");
    await ids(["1"], RangeError, '`ids` must be whole numbers from 0 to 4, got "1"');
    await ids(null, TypeError, "`ids` must be a text or a list of ids, got null");
    await ids(3, TypeError, "`ids` must be a text or a list of ids, got 3");
    const long = new Array(65).fill(1);
    await ids(long, RangeError, "`ids` has 65 tokens, at most 64 are possible");
    const refused = (
      options: unknown,
      kind: typeof TypeError | typeof RangeError,
      message: string,
      prompt: unknown = [1],
    ) =>
      assertRefused(
        () => decoder.generate(prompt as never, options as never),
        kind,
        `${cannotGenerate}: ${message}`,
      );
    await refused(
      { temperature: 1 },
      TypeError,
      "unknown option `temperature`, known are " +
        "maxTokens, sampling, onToken, signal",
    );
    await refused(
      { sampling: "beam" },
      TypeError,
      '`sampling` must be "greedy" or options of `sample()`, got "beam"',
    );
    await refused(
      { sampling: { beams: 4 } },
      TypeError,
      "unknown option `beams`, known are temperature, topK, topP, minP, seed",
    );
    await refused(
      { sampling: { topP: 2 } },
      RangeError,
      "`topP` must be above 0 and at most 1, got 2",
    );
    await refused(
      { maxTokens: -1 },
      RangeError,
      "`maxTokens` must be a whole number of at least 0, got -1",
    );
    await refused({ onToken: 1 }, TypeError, "`onToken` must be a function, got 1");
    await refused({}, RangeError, "`prompt` has no tokens", []);
    await refused({}, RangeError, "`prompt` has 65 tokens, at most 64 are possible", long);
    await refused(
      {},
      TypeError,
      "`prompt` is a text, which needs a `tokenizer` when the model is loaded; ids need none",
      "Once",
    );
    const session = decoder.session({ batch: 2 });
    await assertRefused(
      () => session.step([1]),
      RangeError,
      "Cannot continue: `ids` must be 2, one for each sequence, or null, got 1",
    );
    for (const sequence of [2, -1, 0.5]) {
      const message =
        `Cannot continue: the sequence must be a whole number from 0 to 1, got ${sequence}`;
      await assertRefused(() => session.prefill([1], sequence), RangeError, message);
      await assertRefused(() => session.fork(0, sequence), RangeError, message);
      await assertRefused(() => session.fork(sequence, 0), RangeError, message);
      await assertRefused(() => session.truncate(sequence, 0), RangeError, message);
    }
    await session.prefill(new Array(64).fill(1), 1);
    await assertRefused(
      () => session.step([1, 1]),
      RangeError,
      "Cannot continue: `ids` has 65 tokens, at most 64 are possible",
    );
    await assertRefused(
      () => session.prefill([1, 2], 1),
      RangeError,
      "Cannot continue: `ids` has 66 tokens, at most 64 are possible",
    );
    assertEquals(session.lengths, [0, 64]);
    await assertRefused(
      () => session.step(null as never),
      RangeError,
      "Cannot continue: `ids` must be 2, one for each sequence, or null, got null",
    );
    await assertRefused(
      () => session.load(new Uint8Array(3)),
      RangeError,
      "Cannot load a cache: the bytes are no saved cache of layers",
    );
    await assertRejects(
      () => Promise.resolve().then(() => decoder.session({ batch: 0 })),
      RangeError,
    );
  });
});

test("an encoder is no decoder, and a GPU runs no models by integers", async () => {
  const both = { use_bidirectional_attention: true, tie_word_embeddings: true };
  await assertRefused(
    () => loadDecoder(made(both)),
    RangeError,
    `${cannotLoad}: llama is an encoder, load it with \`loadEncoder()\``,
  );
  const { device } = fakeDevice(), engine = await createEngine({ backend: "webgpu", device });
  const asked: [LoadOptions, string][] = [
    [{ precision: "int8" }, 'precision: "int8"'],
    [{ precision: "int16" }, 'precision: "int16"'],
    [{ dtype: "int16" }, 'dtype: "int16"'],
  ];
  for (const [options, what] of asked) {
    await assertRefused(
      () => loadDecoder(made(), { engine, ...options }),
      BackendUnavailableError,
      `Cannot use the webgpu backend: it runs no models with \`${what}\`; leave that out, or make the ` +
        'engine with { backend: "wasm" }',
    );
  }
  await engine.close();
});
