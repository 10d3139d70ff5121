import {
  assert,
  assertEquals,
  assertMatch,
  assertNotEquals,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { Buffer } from "node:buffer";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { run } from "../../examples/llama/cli.ts";
import type { ReadFile } from "../../examples/llama/files.ts";
import { randomLlama } from "../support/made_model.ts";
import { seeded } from "../support/random.ts";
import { inWholeRuns, longTest } from "../support/share.ts";
import { modelFolder } from "./fixtures.ts";

interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

async function demo(args: string[], read: ReadFile = readFile): Promise<Outcome> {
  let out = "";
  let err = "";
  const code = await run(args, {
    modelFolder,
    readFile: read,
    write: (text) => void (out += text),
    writeError: (text) => void (err += text),
  });
  return { code, out, err };
}

/** Reads the model's files, one of them changed. */
function changed(name: string, change: (bytes: Uint8Array) => Uint8Array): ReadFile {
  return async (path) => {
    const bytes = new Uint8Array(await readFile(path));
    return path.endsWith(name) ? change(bytes) : bytes;
  };
}

/** Changes the text of a file, or of a header; as latin1 every byte is kept. */
function replaced(from: string, to: string): (bytes: Uint8Array) => Uint8Array {
  return (bytes) => {
    const text = Buffer.from(bytes).toString("latin1");
    assertStringIncludes(text, from);
    return new Uint8Array(Buffer.from(text.replace(from, to), "latin1"));
  };
}

async function refuses(args: string[], read: ReadFile, ...parts: string[]): Promise<void> {
  const { code, out, err } = await demo(args, read);
  assertEquals([code, out], [1, ""]);
  assertMatch(err, /^error: [^\n]+\n$/);
  for (const part of parts) assertStringIncludes(err, part);
}

function withoutFile(name: string): ReadFile {
  return async (path) => await readFile(path.endsWith(name) ? `${path}.gone` : path);
}

/** The texts among what was written: behind what is said first, before the figures. */
const textsOf = (out: string) => out.split("\n\n").slice(1, -1);

test("run() says what it does, streams the text, then the figures, and gives 0", async () => {
  const { code, out, err } = await demo(["--tokens", "29", "And it came to pass"]);
  assertEquals([code, err], [0, ""]);
  const [introduction, text, figures] = out.split("\n\n");
  assertMatch(introduction, /^A Llama .* continues a prompt, byte by byte\.\nIt takes /);
  assertEquals(text, "> And it came to pass\n, that the children of Israel");
  const shapes = [
    /^backend {3}(wasm|webgpu): .+$/,
    /^logits {4}within [\d.]+e-\d+ of PyTorch's float64 \(19456 compared, 1e-4 allowed\)$/,
    /^cache {5}f32: \d+ KiB for 47 tokens$/,
    /^prefill {3}\d+ tokens\/s: 19 tokens in [\d.]+ ms$/,
    /^decode {4}\d+ tokens\/s: 28 tokens in [\d.]+ ms$/,
  ];
  const lines = figures.trimEnd().split("\n");
  assertEquals(lines.length, shapes.length);
  for (const [i, shape] of shapes.entries()) assertMatch(lines[i], shape);
});

test("run() repeats a drawn text for the same seed", inWholeRuns, async () => {
  const draw = async (seed: string) =>
    (await demo(["--tokens", "20", "--temperature", "1", "--seed", seed])).out;
  const drawn = async (seed: string) => textsOf(await draw(seed))[0];
  assertEquals(await drawn("5"), await drawn("5"));
  assertNotEquals(await drawn("5"), await drawn("6"));
});

longTest(
  "run() stops at the end of the context and says so",
  async () => {
    const { code, out } = await demo(["x".repeat(255), "--tokens", "5"]);
    assertEquals(code, 0);
    assertStringIncludes(out, "stopped   after 1 bytes: the context of 256 is full");
    assertStringIncludes(out, "decode    nothing to read");
  },
);

test("run() writes every continuation under its prompt, as it is alone", inWholeRuns, async () => {
  const [long, short] = ["And it came to pass", "A"];
  const { code, out } = await demo([long, short, "x".repeat(254), "--tokens", "12"]);
  assertEquals(code, 0);
  const texts = textsOf(out);
  for (const [at, prompt] of [long, short].entries()) {
    const [alone] = textsOf((await demo([prompt, "--tokens", "12"])).out);
    assertEquals([texts[at], alone.startsWith(`> ${prompt}\n`)], [alone, true]);
  }
  assertStringIncludes(out, "stopped   prompt 3 after 2 bytes: the context of 256 is full");
});

test("run() ends at a sentence where no one says how long a text is", inWholeRuns, async () => {
  const { out } = await demo([]);
  const text = textsOf(out).join("\n\n");
  assertMatch(text, /^> In the beginning\n[^]{80,}\.$/);
  assert(!out.includes("stopped"), out);
});

test("run() stores keys and values as it is told", inWholeRuns, async () => {
  const bytes = async (kv: string) => {
    const { out } = await demo(["--kv", kv, "--tokens", "5"]);
    return Number(out.match(new RegExp(`^cache {5}${kv}: (\\d+) KiB for 20 tokens$`, "m"))?.[1]);
  };
  const whole = await bytes("f32");
  assertEquals(await bytes("bf16"), whole / 2);
  assert(await bytes("int8") < 0.3 * whole);
});

test("run() shows its usage and reads nothing", async () => {
  const { code, out } = await demo(["--", "--help"], () => Promise.reject(new Error("read")));
  assertEquals(code, 0);
  assertStringIncludes(out, "Usage: deno task demo -- [options] [prompt...]");
});

test("run() refuses wrong options and an over-long prompt", async () => {
  await refuses(["--tokens", "0"], readFile, "Expected --tokens to be a whole number >= 1");
  await refuses(
    ["é".repeat(128)],
    readFile,
    "The prompt has 256 bytes, but the model's context of 256 takes 255 and the byte that follows",
  );
});

test("run() names a missing file and what to do", async () => {
  for (const name of ["config.json", "model.safetensors"]) {
    const action = "there is no such file; restore it, or name another folder by --model";
    await refuses([], withoutFile(name), `${modelFolder}/${name}: ${action}`);
  }
  await refuses(["--model", "no/such"], readFile, "Cannot read no/such/config.json: there is no");
});

test("run() says that a model without reference.json was not compared", async () => {
  const { code, out } = await demo(["--tokens", "2"], withoutFile("reference.json"));
  assertEquals(code, 0);
  assertStringIncludes(out, "\nlogits    not compared: the model has no reference.json\n");
});

test("run() passes on why a file cannot be read", async () => {
  const denied: ReadFile = () => Promise.reject(new Error("Requires read access"));
  await refuses([], denied, "config.json: Requires read access");
});

test("run() refuses a truncated weight file", async () => {
  const ways: [number, string][] = [
    [5, "the file has 5 bytes, and is no safetensors file"],
    [1000, "is no safetensors file, its head would have 4008 bytes"],
    [3_000_000, "cut off"],
  ];
  for (const [length, words] of ways) {
    const cut = changed("model.safetensors", (bytes) => bytes.subarray(0, length));
    await refuses([], cut, `Cannot use ${modelFolder}: Cannot read the weights: `, words);
  }
});

test("run() names an unknown and a missing tensor", async () => {
  const rename = replaced("layers.3.mlp.up_proj", "layers.9.mlp.up_proj");
  await refuses(
    [],
    changed("model.safetensors", rename),
    "tensors are missing: model.layers.3.mlp.up_proj.weight [512,192]; ",
    "does not have: model.layers.9.mlp.up_proj.weight",
  );
  const shorter = replaced('"num_hidden_layers": 4', '"num_hidden_layers": 3');
  const unknown = "does not have: model.layers.3.input_layernorm.weight, ";
  await refuses([], changed("config.json", shorter), unknown);
});

test("run() refuses a config that is no JSON, and one of another kind", async () => {
  const config = (from: string, to: string) => changed("config.json", replaced(from, to));
  await refuses([], config("{", "["), `Cannot use ${modelFolder}/config.json: it is not JSON: `);
  const kind = config('"model_type": "llama"', '"model_type": "alpaca"');
  await refuses([], kind, "`model_type` must be one of bert, ", 'got "alpaca"');
});

test("run() refuses a model whose tokens are no bytes", async () => {
  const { config, weights } = randomLlama(seeded(1));
  const made: ReadFile = (path) =>
    Promise.resolve(
      path.endsWith(".json") ? new TextEncoder().encode(JSON.stringify(config)) : weights,
    );
  await refuses([], made, "`vocab_size` must be 256, a token of this demo is a byte, got 5");
});

test(
  "run() refuses weights, a config or a reference whose logits are off",
  inWholeRuns,
  async () => {
    const last = (bytes: Uint8Array) => {
      bytes[bytes.length - 1] ^= 0x80;
      return bytes;
    };
    const nan = (bytes: Uint8Array) => bytes.fill(0xff, bytes.length - 2);
    for (
      const read of [
        changed("model.safetensors", last),
        changed("model.safetensors", nan),
        changed("config.json", replaced('"rope_theta": 10000.0', '"rope_theta": 10001.0')),
        changed("reference.json", replaced("And it came to pass", "And it came to pasS")),
      ]
    ) {
      await refuses([], read, "The logits differ from PyTorch's by ", "damaged");
    }
  },
);

test("run() refuses a damaged reference.json", async () => {
  const cut = changed("reference.json", (bytes) => bytes.subarray(0, 5000));
  await refuses([], cut, "Cannot read", "reference.json", "the file is damaged, restore it");
  const other = changed("reference.json", replaced("And it came to pass", "And it"));
  await refuses([], other, "a prompt has 4864 logits, expected 1536");
});

test("run() lets an error of its own code through", async () => {
  const broken = { write: () => Promise.reject(new Error("no paper")), writeError: () => {} };
  await assertRejects(
    () => run(["--help"], { modelFolder, readFile, ...broken }),
    Error,
    "no paper",
  );
});
