/**
 * `deno task bench:models FOLDER [WHAT...] [--graph FILE] [--quantized FILE] [--threads N] [--seconds N] [--json FILE]`:
 * all-MiniLM-L6-v2 whole, from tokens to vectors. The folder has its `config.json`, `model.safetensors`, `tokenizer.json`,
 * `tokenizer_config.json`, and `embeddings.json`, texts with their tokens. With `--graph`, an ONNX file of the same weights in
 * f32 (those in a file beside it, `FILE_data`), peers take their turns in the same process; `--quantized` is the same in int8.
 *
 * - `lengths`, by default: one text of 16, 128 and 512 tokens, beside onnxruntime-web.
 * - `texts`: all texts of `embeddings.json` in one call, beside onnxruntime-web one by one.
 * - `padded`: the same beside onnxruntime-web in one padded batch, once: it takes a minute.
 * - `native`: one text of 16 and 128 tokens, beside onnxruntime-node.
 * - `pipeline`: from strings to vectors, beside `@huggingface/transformers`.
 * - `first`: from the start of a process to its first vector, beside onnxruntime-web.
 *
 * Where V8 is to join vectors: `deno run --v8-flags=--experimental-wasm-revectorize -A bench/models/main.ts ...`.
 *
 * @module
 */

import "../../tools/help.ts";
import { writeFile } from "node:fs/promises";
import process from "node:process";
import { parseArgs } from "node:util";
import { machine } from "../machine.ts";
import { first } from "./first.ts";
import { type Build, graphSubjects, loadGraph, paddedSubject } from "./onnxruntime.ts";
import { formNames, loadOurs, ourSubjects, readJson, type Text, type Work } from "./ours.ts";
import { compare, printed, race, type Row, type Subject } from "./subject.ts";
import { loadPipeline, loadTokenizer } from "./transformers.ts";

/** What the bench is told. */
interface Setup {
  readonly folder: string;
  readonly graph: string | undefined;
  readonly quantized: string | undefined;
  readonly threads: number;
  readonly seconds: number;
}

/** A text of so many tokens. */
function ofTokens(tokens: number): Work {
  const ids = Array.from({ length: tokens }, (_, at) => 1000 + at);
  return { group: `${tokens} tokens`, texts: [{ text: "", ids }] };
}

function textsOf({ folder }: Setup): readonly Text[] {
  return readJson(folder, "embeddings.json").texts;
}

/** Whether a subject is not this library. */
function isPeer(name: string): boolean {
  return !formNames.includes(name);
}

/** Both, on the same work. */
async function beside(
  { folder, threads, seconds, graph, quantized }: Setup,
  work: readonly Work[],
  forms: readonly string[],
  build: Build,
): Promise<Row[]> {
  const subjects: Subject[] = ourSubjects(await loadOurs(folder, threads, forms), work);
  if (graph) subjects.push(...graphSubjects(await loadGraph(build, graph, "f32", threads), work));
  if (quantized && build === "onnxruntime-web") {
    subjects.push(...graphSubjects(await loadGraph(build, quantized, "int8", threads), work));
  }
  return compare(await race(subjects, seconds), isPeer);
}

/** Ours before and after what takes a minute. */
async function padded({ folder, threads, graph }: Setup): Promise<Row[]> {
  const texts = textsOf({ folder } as Setup), work = [{ group: `${texts.length} padded`, texts }];
  const ours = ourSubjects(await loadOurs(folder, threads, ["f32", "int16"]), work);
  const theirs = paddedSubject(await loadGraph("onnxruntime-web", graph!, "f32", threads), work[0]);
  const times = new Map<string, number>();
  for (const { name, run } of [...ours, theirs, ...ours]) {
    const from = performance.now();
    await run();
    times.set(name, Math.min(times.get(name) ?? Infinity, performance.now() - from));
  }
  return [...ours, theirs].map(({ group, name }) => {
    const best = times.get(name)!, ratio = times.get(theirs.name)! / best;
    const spread = { best: ratio, median: ratio, lower: ratio, upper: ratio };
    return {
      ...{ group, name, best, median: best, turns: name === theirs.name ? 1 : 2 },
      over: name === theirs.name ? {} : { [theirs.name]: spread },
    };
  });
}

/** Strings into vectors. */
async function pipeline({ folder, threads, seconds, graph }: Setup): Promise<Row[]> {
  const tokenizer = loadTokenizer(folder), texts = textsOf({ folder } as Setup);
  const encoders = await loadOurs(folder, threads, ["f32", "int16"], tokenizer);
  const theirs = await loadPipeline(folder, graph!, threads);
  const near = (tokens: number) =>
    texts.reduce((a, b) =>
      Math.abs(a.ids.length - tokens) <= Math.abs(b.ids.length - tokens) ? a : b
    );
  const subjects = [16, 128, 512].map(near).flatMap(({ text, ids }): Subject[] => {
    const group = `${ids.length} tokens`;
    return [
      ...[...encoders].map(([name, encoder]) => ({
        ...{ group, name },
        run: () => encoder.embed([text]),
      })),
      { group, name: theirs.name, run: () => theirs.embed([text]) },
    ];
  });
  return compare(await race(subjects, seconds), isPeer);
}

/** What can be asked for. */
const parts: Readonly<Record<string, (setup: Setup) => Promise<Row[]>>> = {
  lengths: (setup) => beside(setup, [16, 128, 512].map(ofTokens), formNames, "onnxruntime-web"),
  texts(setup) {
    const texts = textsOf(setup), work = [{ group: `${texts.length} texts`, texts }];
    return beside(setup, work, ["f32", "int16"], "onnxruntime-web");
  },
  padded,
  native: (setup) => beside(setup, [16, 128].map(ofTokens), ["f32", "int16"], "onnxruntime-node"),
  pipeline,
  first: ({ folder, graph }) => first(folder, graph),
};

const { values, positionals: [folder, ...asked] } = parseArgs({
  allowPositionals: true,
  options: {
    graph: { type: "string" },
    quantized: { type: "string" },
    json: { type: "string" },
    seconds: { type: "string", default: "60" },
    threads: { type: "string", default: "1" },
  },
});
const what = asked.length === 0 ? ["lengths"] : asked;
const unknown = what.find((name) => !Object.hasOwn(parts, name));
if (folder === undefined || unknown !== undefined) {
  const known = Object.keys(parts).join(", ");
  console.error(`Say where the model is, and what of ${known}: deno task bench:models FOLDER`);
  process.exit(2);
}
const { graph, quantized } = values, threads = Number(values.threads);
if (graph === undefined && what.some((name) => ["padded", "pipeline"].includes(name))) {
  console.error("Say where the peers' graph of the model is: --graph FILE");
  process.exit(2);
}
const setup = { folder, graph, quantized, threads, seconds: Number(values.seconds) };
const head = { machine: machine(), threads };
console.log(`${head.machine.cpu}, ${head.machine.runtime}, threads: ${threads}`);
const results: Record<string, Row[]> = {};
for (const name of what) {
  results[name] = await parts[name](setup);
  for (const row of results[name]) console.log(`${name}: ${printed(row)}`);
}
if (values.json) await writeFile(values.json, JSON.stringify({ ...head, results }, null, 2) + "\n");
process.exit(0); // Theirs keeps the process alive.
