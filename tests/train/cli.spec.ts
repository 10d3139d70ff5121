import { test } from "node:test";
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { run as demonstrate } from "../../examples/llama/cli.ts";
import { type Io, run } from "../../examples/train/cli.ts";
import { inWholeRuns } from "../support/share.ts";

const sizes = {
  model_type: "llama",
  hidden_size: 8,
  intermediate_size: 8,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  vocab_size: 256,
  max_position_embeddings: 8,
  tie_word_embeddings: true,
};

const inputs = new Map([
  ["in/config.json", new TextEncoder().encode(JSON.stringify(sizes))],
  ["in/text.txt", new TextEncoder().encode("abcdefgh".repeat(40))],
]);

interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
  /** What was told to the world, in order. */
  readonly events: readonly string[];
  readonly files: ReadonlyMap<string, Uint8Array>;
}

async function train(args: string[], changes: Partial<Io> = {}): Promise<Outcome> {
  const files = new Map<string, Uint8Array>(), events: string[] = [];
  let out = "", err = "";
  const code = await run(args, {
    folder: "in",
    readFile: (path) => fileOf(inputs, path),
    writeFile: (path, content) => {
      events.push(path);
      files.set(path, typeof content === "string" ? new TextEncoder().encode(content) : content);
      return Promise.resolve();
    },
    drawCurve: (steps) => Promise.resolve(`<svg>${steps.length}</svg>`),
    progress: {
      begin: (steps) => void events.push(`begin ${steps}`),
      update: ({ step }) => void events.push(`step ${step}`),
      end: () => void events.push("end"),
    },
    write: (text) => void (out += text),
    writeError: (text) => void (err += text),
    ...changes,
  });
  return { code, out, err, events, files };
}

function fileOf(files: ReadonlyMap<string, Uint8Array>, path: string): Promise<Uint8Array> {
  const bytes = files.get(path);
  if (bytes !== undefined) return Promise.resolve(bytes);
  return Promise.reject(Object.assign(new Error(`no ${path}`), { code: "ENOENT" }));
}

async function refuses(args: string[], message: string, changes?: Partial<Io>): Promise<Outcome> {
  const outcome = await train(args, changes);
  assertEquals(outcome.code, 1);
  assertEquals(outcome.out.replace(/^backend [^]*\nstopped\? .*\n$/, ""), ""); // What was planned.
  assertMatch(outcome.err, /^error: [^\n]+\n$/);
  assertStringIncludes(outcome.err, message);
  return outcome;
}

test("run() says what it is about to do before the first step", async () => {
  let out = "", before = "";
  await train(["--steps", "1"], {
    write: (text) => void (out += text),
    progress: { begin: () => void (before = out), update() {}, end() {} },
  });
  assertMatch(before, /^backend .*\nweights .*\nplan .*\nthen .*\nstopped\? .*\n$/);
});

test("run() trains, shows how far it is, saves, and ends with the figures", async () => {
  const { code, out, err, events, files } = await train(["--steps", "2", "--out", "made"]);
  assertEquals([code, err], [0, ""]);
  assertEquals(events, [
    ...["made/config.json", "begin 2", "step 1", "step 2", "made/checkpoint.safetensors", "end"],
    ...["made/model.safetensors", "made/loss.svg"],
  ]);
  assertEquals(new TextDecoder().decode(files.get("made/loss.svg")), "<svg>2</svg>");
  const shapes = [
    /^backend {3}wasm: .+$/,
    /^weights {3}2456, drawn by the seed$/,
    /^plan {6}2 steps of 4 windows of 8 bytes, drawn of 320$/,
    /^then {6}weights and curve go to made, and a checkpoint every 50 steps$/,
    /^stopped\? {2}deno task train -- --steps 2 --out made --resume$/,
    /^loss {6}from 5\.\d{3} to 5\.\d{3} nats per byte$/,
    /^held out {2}5\.\d{3} nats per byte$/,
    /^time {6}[\d.]+ s: 2 steps of 32 bytes, \d+ bytes\/s, [\d.]+ % of it in attention$/,
    /^saved {5}made: model\.safetensors, config\.json, loss\.svg$/,
    /^try it {4}deno task demo -- --model made$/,
  ];
  const lines = out.trimEnd().split("\n");
  assertEquals(lines.length, shapes.length);
  for (const [i, shape] of shapes.entries()) assertMatch(lines[i], shape);
});

test("run() saves what the demo loads and continues a text with", async () => {
  const { files } = await train(["--steps=1"]);
  let out = "";
  const code = await demonstrate(["--model", "in/model", "--tokens", "3", "abc"], {
    modelFolder: "elsewhere",
    readFile: (path) => fileOf(files, path),
    write: (text) => void (out += text),
    writeError: (text) => void (out += text),
  });
  assertStringIncludes(out, "not compared: the model has no reference.json");
  assertEquals(code, 0);
});

test("run() reads the text and the sizes that it is told", async () => {
  const files = new Map([["a", inputs.get("in/config.json")!], ["b", inputs.get("in/text.txt")!]]);
  const { code } = await train(["--config=a", "--text=b", "--steps=1"], {
    readFile: (path) => fileOf(files, path),
  });
  assertEquals(code, 0);
});

test("run() shows its usage and reads nothing", async () => {
  const { code, out } = await train(["--", "--help"], {
    readFile: () => Promise.reject(new Error("read")),
  });
  assertEquals(code, 0);
  assertStringIncludes(out, "Usage: deno task train -- [options]");
});

test("run() refuses wrong options, missing files and wrong sizes", async () => {
  await refuses(["--steps", "0"], "Expected --steps to be a whole number >= 1");
  await refuses(["--text", "no/such"], "Cannot read no/such: no no/such");
  await refuses(["--config", "no/such"], "Cannot read no/such: no no/such");
  await refuses(["--config", "in/text.txt"], "Cannot use in/text.txt: it is not JSON");
  await refuses(["--text", "in/config.json"], "bytes, but 266 are needed");
});

test("run() does not begin what it could not save", async () => {
  const { events } = await refuses([], "Cannot write in/model/config.json: it is full; name", {
    writeFile: () => Promise.reject(new Error("it is full")),
  });
  assertEquals(events, []);
});

test("run() ends its progress and saves no weights when the loss has no value", async () => {
  const { events, files } = await refuses(
    ["--rate", "1e30", "--steps", "20"],
    ": choose a smaller --rate",
  );
  assertEquals(events.at(-1), "end");
  assertEquals([...files.keys()], ["in/model/config.json"]);
});

/** The world with files in it that a training has left. */
function withFiles(files: ReadonlyMap<string, Uint8Array>): Partial<Io> {
  return { readFile: (path) => fileOf(new Map([...inputs, ...files]), path) };
}

test(
  "run() goes on where it was stopped, with the same weights and curve to the bit",
  inWholeRuns,
  async () => {
    const args = ["--steps", "52", "--batch", "1", "--out", "made"];
    const whole = await train(args);
    let stopped = new Map<string, Uint8Array>();
    const { code } = await train(args, {
      writeFile: (path, content) => {
        if (path.endsWith(".svg")) return Promise.reject(new Error("stopped"));
        if (!stopped.has(path)) stopped.set(path, content as Uint8Array);
        return Promise.resolve();
      },
    });
    assertEquals(code, 1);
    stopped = new Map([[
      "made/checkpoint.safetensors",
      stopped.get("made/checkpoint.safetensors")!,
    ]]);
    const resumed = await train([...args, "--resume"], withFiles(stopped));
    assertMatch(resumed.out, /^weights .*, of the checkpoint after 50 steps$/m);
    assertMatch(resumed.out, /^time .*: 2 steps of 8 bytes/m);
    assertEquals(resumed.events.slice(0, 3), ["made/config.json", "begin 52", "step 51"]);
    for (const [path, content] of whole.files) assertEquals(resumed.files.get(path), content, path);
  },
);

test("run() goes on from nothing that is damaged, done, or of another training", async () => {
  const args = ["--steps", "1", "--batch", "1"], path = "in/model/checkpoint.safetensors";
  const { files } = await train(args), bytes = files.get(path)!;
  const refused: [string[], string, Uint8Array?][] = [
    [[], `Cannot go on from ${path}: all 1 steps are done`],
    [["--steps", "3"], `Cannot go on from ${path}: its --steps is 1, here it is 3`],
    [["--seed", "2"], `Cannot go on from ${path}: its --seed is 1, here it is 2`],
    [["--rate", "0.1"], "its --rate is 0.003, here it is 0.1"],
    [["--text", path], "its text is 320 bytes of checksum"],
    [[], `Cannot use ${path}: it is no checkpoint, or not the whole of one`, bytes.slice(0, -4)],
    [[], `Cannot use ${path}: it is no checkpoint`, new Uint8Array(3)],
    [[], `Cannot use ${path}: it is no checkpoint`, files.get("in/model/model.safetensors")],
  ];
  for (const [changed, message, content] of refused) {
    await refuses(
      [...args, ...changed, "--resume"],
      message,
      withFiles(new Map([[path, content ?? bytes]])),
    );
  }
  await refuses(["--resume"], `Cannot read ${path}: no ${path}`);
});

test("run() tells how to go on as a shell reads it", async () => {
  const { out } = await train(["--", "--steps=1", "--out", "it's here"]);
  assertMatch(out, /^stopped\? {2}deno task train -- --steps=1 --out 'it'\\''s here' --resume$/m);
});
