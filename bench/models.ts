/**
 * `deno task bench:models FOLDER [--graph FILE] [--seconds N] [--json FILE]`: all-MiniLM-L6-v2 whole, one text of 16, 128 and
 * 512 tokens, on one thread. The folder has its `config.json` and `model.safetensors`. With `--graph`, an ONNX file of the same
 * weights (those in a file beside it, `FILE_data`), onnxruntime-web takes its turns in the same process. All take turns of some
 * 60 ms, so that what disturbs one disturbs all.
 *
 * @module
 */

import { createEngine } from "@flashtile/attention";
import { loadEncoder, type LoadEncoderOptions } from "@flashtile/attention/models";
import { readFile, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { basename, join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { machine } from "./machine.ts";
import { installPeers } from "./peers/install.ts";
import { withWorker } from "./peers/peer.ts";

const lengths = [16, 128, 512];

/** How weights are kept and products formed. */
const forms: readonly (readonly [name: string, options: LoadEncoderOptions])[] = [
  ["f32", { dtype: "f32" }],
  ["int16", { precision: "int16" }],
  ["int8", { precision: "int8" }],
];

/** Milliseconds that a subject runs before the next has its turn. */
const turnMilliseconds = 60;

/** Something that is timed, with the vector or the states of one text. */
interface Subject {
  readonly name: string;
  readonly tokens: number;
  readonly times: number[];
  run(): Promise<unknown>;
}

/** What is used of onnxruntime-web. */
interface Onnxruntime {
  readonly env: { readonly wasm: { numThreads?: number } };
  readonly InferenceSession: {
    create(
      model: Uint8Array,
      options: object,
    ): Promise<{ run(inputs: Record<string, unknown>): Promise<unknown> }>;
  };
  readonly Tensor: new (type: "int64", data: BigInt64Array, shape: readonly number[]) => unknown;
}

function idsOf(tokens: number): number[] {
  return Array.from({ length: tokens }, (_, at) => 1000 + at);
}

/** Ours, in each form. */
async function ourSubjects(folder: string): Promise<Subject[]> {
  const engine = await createEngine({ backend: "wasm", threads: 1 }), subjects: Subject[] = [];
  const config = JSON.parse(await readFile(join(folder, "config.json"), "utf8"));
  const weights = new Uint8Array(await readFile(join(folder, "model.safetensors")));
  for (const [name, options] of forms) {
    const encoder = await loadEncoder({ config, weights }, { engine, ...options });
    for (const tokens of lengths) {
      const ids = [idsOf(tokens)];
      subjects.push({ name, tokens, times: [], run: () => encoder.embed(ids) });
    }
  }
  return subjects;
}

/** Theirs: the last states, of which nobody makes a vector. */
async function theirSubjects(graph: string): Promise<Subject[]> {
  const require = createRequire(join(installPeers(), "x.cjs"));
  const library = require("onnxruntime-web") as Onnxruntime, { InferenceSession, Tensor } = library;
  library.env.wasm.numThreads = 1;
  const path = `${basename(graph)}_data`, data = await readFile(`${graph}_data`);
  const options = { executionProviders: ["wasm"], externalData: [{ path, data }] };
  const model = await readFile(graph);
  const session = await withWorker(
    globalThis.Worker,
    () => InferenceSession.create(model, options),
  );
  return lengths.map((tokens) => {
    const row = (of: (at: number) => number) =>
      new Tensor("int64", BigInt64Array.from(idsOf(tokens), (_, at) => BigInt(of(at))), [
        1,
        tokens,
      ]);
    const inputs = {
      input_ids: row((at) => 1000 + at),
      attention_mask: row(() => 1),
      token_type_ids: row(() => 0),
    };
    return { name: "onnxruntime-web f32", tokens, times: [], run: () => session.run(inputs) };
  });
}

/** Times all of them in turn. */
async function race(subjects: readonly Subject[], seconds: number): Promise<void> {
  const start = performance.now();
  for (let round = 0; performance.now() - start < seconds * 1000; round++) {
    for (const { run, times } of subjects) {
      const end = performance.now() + turnMilliseconds;
      do {
        const from = performance.now();
        await run();
        if (round > 0) times.push(performance.now() - from);
      } while (performance.now() < end);
    }
  }
}

function sorted(times: readonly number[]): number[] {
  return [...times].sort((a, b) => a - b);
}

const { values, positionals: [folder] } = parseArgs({
  allowPositionals: true,
  options: {
    graph: { type: "string" },
    json: { type: "string" },
    seconds: { type: "string", default: "60" },
  },
});
if (folder === undefined) {
  console.error("Say where the model is: deno task bench:models FOLDER");
  process.exit(2);
}
const head = { machine: machine(), threads: 1 };
console.log(`${head.machine.cpu}, ${head.machine.runtime}, one thread`);
const subjects = await ourSubjects(folder);
if (values.graph !== undefined) subjects.push(...await theirSubjects(values.graph));
await race(subjects, Number(values.seconds));
const bestOf = (name: string, tokens: number) =>
  sorted(subjects.find((one) => one.name === name && one.tokens === tokens)?.times ?? [NaN])[0];
const results = subjects.map(({ name, tokens, times }) => {
  const all = sorted(times), best = all[0], median = all[all.length >> 1];
  const ratio = bestOf("onnxruntime-web f32", tokens) / best;
  const against = Number.isNaN(ratio) ? "" : `, ${ratio.toFixed(2)}x onnxruntime-web f32`;
  console.log(
    `${`${tokens} tokens`.padEnd(12)} ${name.padEnd(20)} ${best.toFixed(1).padStart(7)} ms, ` +
      `median ${median.toFixed(1).padStart(7)}${against}`,
  );
  return { name, tokens, best, median, runs: all.length };
});
if (values.json) await writeFile(values.json, JSON.stringify({ ...head, results }, null, 2) + "\n");
process.exit(0); // Theirs keeps the process alive.
