import { createEngine, DeviceLostError, type Engine } from "@flashtile/attention";
import { type Decoder, loadDecoder, loadEncoder } from "@flashtile/attention/models";
import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import { readdirSync } from "node:fs";
import { readModel } from "../../src/models/architectures/read.ts";
import { openWeights } from "../../src/models/files/open.ts";
import { requestGpu } from "../../src/webgpu/device/device.ts";
import { gpuTest, noGpu, withGpu } from "../support/device.ts";
import { type Encoded, floatsOf } from "../support/encoded.ts";
import { errorOf } from "../support/errors.ts";
import { assertEndsWithDevice, assertRightOrRefused, type Operation } from "../support/faults.ts";
import { findGpu } from "../support/gpu.ts";
import { llamaConfig, llamaShapes, randomFile, randomLlama } from "../support/made_model.ts";
import { assertNear, cosine } from "../support/near.ts";
import { seeded } from "../support/random.ts";
import { referenceModel } from "../support/reference_model.ts";
import { varyingSeed } from "../support/seed.ts";
import { isWhole, leftToOneStack, sharedOut } from "../support/share.ts";
import { sharedBytes, sharedJson, withShared } from "../support/shared.ts";

const models = "vectors/models", ggufs = "vectors/gguf", minilm = "real/minilm";

interface Row {
  readonly ids: number[];
  readonly states?: Encoded;
  readonly logits?: Encoded;
}

/** Why a test with many shaders waits; `undefined` where it runs. */
function reasonFor(path?: string): string | undefined {
  return noGpu ?? leftToOneStack ?? (path && withShared(path).skip);
}

/** Models of a kind. */
function namesOf(kind: string): string[] {
  return readdirSync(`../shared/${models}`).filter((name) =>
    sharedJson(`${models}/${name}/expected.json`).kind === kind
  ).sort();
}

function sourceOf(name: string) {
  return {
    config: sharedJson(`${models}/${name}/config.json`),
    weights: sharedBytes(`${models}/${name}/model.safetensors`),
  };
}

/** A made decoder, with other numbers in every run, and a prompt. */
function made() {
  const endless = { eos_token_id: [], max_position_embeddings: 64 };
  return randomLlama(seeded(varyingSeed()), endless);
}

const prompt = [1, 4, 2, 2, 0, 3, 1];

/** Logits of tokens that come one after the other. */
async function oneByOne(decoder: Decoder, ids: readonly number[]): Promise<number[]> {
  const session = decoder.session(), logits: number[] = [];
  for (const id of ids) logits.push(...await session.prefill([id]));
  session.free();
  return logits;
}

gpuTest(
  "loadEncoder() answers on a GPU as the transformers package: packed and alone",
  async () => {
    await withGpu(async (engine) => {
      for (const name of sharedOut(namesOf("encoder"), 3, "encoders on a GPU")) {
        const { rows } = sharedJson(`${models}/${name}/expected.json`) as { rows: Row[] };
        const encoder = await loadEncoder(sourceOf(name), { engine });
        const packed = await encoder.states(rows.map(({ ids }) => ids));
        for (const [at, { ids, states }] of rows.entries()) {
          const wanted = floatsOf(states!), what = `${name}, ${ids.length} tokens`;
          assertNear(packed[at].data, wanted, 2e-5, what);
          assertNear((await encoder.states([ids]))[0].data, wanted, 2e-5, `${what}, alone`);
        }
        encoder.free();
      }
    });
  },
  reasonFor(models),
);

gpuTest(
  "loadDecoder() answers on a GPU as the transformers package: whole and token by token",
  async () => {
    await withGpu(async (engine) => {
      for (const name of sharedOut(namesOf("decoder"), 3, "decoders on a GPU")) {
        const { rows } = sharedJson(`${models}/${name}/expected.json`) as { rows: Row[] };
        const decoder = await loadDecoder(sourceOf(name), { engine });
        for (const { ids, logits } of rows) {
          const wanted = floatsOf(logits!), what = `${name}, ${ids.length} tokens`;
          assertNear((await decoder.logits(ids)).data, wanted, 2e-5, what);
          assertNear(await oneByOne(decoder, ids), wanted, 2e-5, `${what}, one by one`);
        }
        decoder.free();
      }
    });
  },
  reasonFor(models),
);

gpuTest("loadDecoder() reads GGUF files on a GPU", async () => {
  const expected = sharedJson(`${ggufs}/expected.json`) as Record<string, Row[]>;
  await withGpu(async (engine) => {
    for (const name of sharedOut(Object.keys(expected), 1, "GGUF on a GPU")) {
      const decoder = await loadDecoder({ weights: sharedBytes(`${ggufs}/${name}`) }, { engine });
      for (const { ids, logits } of expected[name]) {
        assertNear((await decoder.logits(ids)).data, floatsOf(logits!), 3e-5, name);
      }
      decoder.free();
    }
  });
}, reasonFor(ggufs));

interface Text {
  readonly ids: number[];
  readonly embedding: number[];
}

gpuTest("texts have the embeddings of all-MiniLM-L6-v2 on a GPU", async () => {
  const { texts: all } = sharedJson(`${minilm}/embeddings.json`) as { texts: Text[] };
  const short = all.filter(({ ids }) => ids.length < 24).slice(0, 3), texts = isWhole ? all : short;
  await withGpu(async (engine) => {
    const config = sharedJson(`${minilm}/config.json`),
      source = {
        config,
        weights: sharedBytes(`${minilm}/model.safetensors`),
      };
    const encoder = await loadEncoder(source, { engine });
    const vectors = await encoder.embed(texts.map(({ ids }) => ids));
    for (const [at, { ids, embedding }] of texts.entries()) {
      const got = cosine(vectors[at], embedding);
      assert(got >= 0.99999, `${ids.length} tokens: ${got}`);
    }
    encoder.free();
  });
}, reasonFor(`${minilm}/model.safetensors`));

gpuTest("a decoder's sessions do on a GPU what they do on the CPU", async () => {
  const source = made(), host = await createEngine({ backend: "wasm", threads: 1 });
  /** Everything that sessions do, and what they give. */
  const use = async (engine: Engine | Engine<GPUBuffer>): Promise<Float32Array> => {
    const decoder = await loadDecoder(source, { engine }), logits: number[] = [];
    const session = decoder.session({ batch: 3 });
    logits.push(...await session.prefill(prompt, 1), ...await session.prefill([3, 4], 0));
    session.fork(1, 2);
    logits.push(
      ...(await session.step([1, 2, 3])).data,
      ...(await session.step([null, 4, 0])).data,
    );
    session.truncate(1, 4);
    assertEquals(session.lengths, [3, 4, 9]);
    const saved = await session.save(), other = decoder.session({ batch: 3 });
    other.load(saved);
    logits.push(...(await other.step([0, 1, null])).data);
    for (const one of [session, other]) one.free();
    decoder.free();
    return Float32Array.from(logits);
  };
  const wanted = await use(host);
  await withGpu(async (engine) => assertNear(await use(engine), wanted, 2e-5, "sessions"));
  await host.close();
}, reasonFor());

gpuTest(
  "a decoder on a GPU gives its memory back, also where it is freed while it runs",
  async () => {
    await withGpu(async (engine) => {
      const source = made(), file = await openWeights(source.weights);
      const oracle = await referenceModel(await readModel(source.config, file), file);
      const load = () => loadDecoder(source, { engine });
      await load().then((decoder) => decoder.logits(prompt).then(() => decoder.free()));
      const before = engine.memoryBytes, decoder = await load(), session = decoder.session();
      const wanted = oracle.logits(prompt).slice(-5);
      for (let wait = 0; wait < 12; wait++) {
        const controller = new AbortController(), reason = new Error("enough");
        const running = session.prefill(prompt, 0, controller);
        for (let turn = 0; turn < wait; turn++) await Promise.resolve();
        controller.abort(reason);
        const error = await errorOf(() => running);
        if (error !== undefined) assertEquals([error, session.lengths], [reason, [0]]);
        else session.truncate(0, 0);
      }
      assertNear(await session.prefill(prompt), wanted, 2e-5, "after aborts");
      const running = errorOf(() => decoder.logits(prompt));
      await Promise.resolve();
      decoder.free();
      assertEquals((await running as Error).message, "Cannot run the model: it was freed");
      assert(engine.memoryBytes - before <= 0, `${engine.memoryBytes - before} bytes more`);
      const again = await load();
      assertNear((await again.logits(prompt)).data.subarray(-5), wanted, 2e-5, "after all");
      again.free();
    });
  },
  reasonFor(),
);

gpuTest("a decoder whose device was lost says so, and another can be loaded", async () => {
  const { device } = await requestGpu(await findGpu());
  const engine = await createEngine({ backend: "webgpu", device });
  const decoder = await loadDecoder(made(), { engine });
  const running = errorOf(() => decoder.logits(prompt));
  device.destroy();
  assertInstanceOf(await running, DeviceLostError);
  assertInstanceOf(await errorOf(() => decoder.logits(prompt)), DeviceLostError);
  decoder.free();
  await engine.close();
}, reasonFor());

/** A model of one layer: what fails is tried at each call of its. */
const one = {
  config: { ...llamaConfig, num_hidden_layers: 1 },
  weights: randomFile(
    Object.fromEntries(
      Object.entries(llamaShapes()).filter(([name]) => !name.includes("layers.1.")),
    ),
    seeded(varyingSeed()),
  ),
};

/** It is loaded and asked. */
const decode: Operation = async (engine) => {
  const decoder = await loadDecoder(one, { engine });
  try {
    return [(await decoder.logits([1, 4])).data];
  } finally {
    decoder.free();
  }
};

/** What goes wrong, of which a run that is not whole tries one. */
const faults = ["refuses", "is lost"] as const;

gpuTest("a decoder is right or says what its device did, at whatever call that fails", async () => {
  for (const fault of sharedOut(faults, 1, "faults of a decoder")) {
    if (fault === "refuses") await assertRightOrRefused(decode);
    else await assertEndsWithDevice(decode, ["lose and hang"]);
  }
}, reasonFor());
