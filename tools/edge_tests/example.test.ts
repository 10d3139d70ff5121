/**
 * The worker of `examples/edge/` on workerd: its answers, what it refuses, and many clients at a time.
 *
 * @module
 */

import { assert, assertAlmostEquals, assertEquals, assertLess, assertMatch } from "@std/assert";
import { test } from "node:test";
import { readFile } from "node:fs/promises";
import { ownTexts } from "../../examples/edge/texts.ts";
import { loadEncoder } from "../../src/models/mod.ts";
import { compileWorker, serveWorker, startWorker } from "../workerd.ts";
import { Inspected, sizeOf } from "../heap.ts";
import { load } from "../load.ts";
import { bundled } from "./project.ts";

const folder = bundled("example", "examples/edge/worker.ts", { flags: ["--minify"] });

/** Largest difference of a vector's numbers from those on Deno, by rounding. */
const tolerance = 1e-5;

/** Linear memory of the model, whose weights have 3 MiB, and of the rows of one pass. */
const mostLinear = 8 * 2 ** 20;

const json = { "content-type": "application/json" };

function post(url: string, body: unknown, headers: Record<string, string> = json) {
  const text = typeof body === "string" || body instanceof Uint8Array ? body : JSON.stringify(body);
  return fetch(url, { method: "POST", headers, body: text as BodyInit });
}

interface Embeddings {
  readonly model: string;
  readonly dim: number;
  readonly embeddings: readonly number[][];
}

async function embeddingsOf(url: string, texts: readonly string[]): Promise<Embeddings> {
  const response = await post(`${url}/embed`, { texts });
  assertEquals(response.status, 200);
  assertEquals(response.headers.get("content-type"), "application/json");
  return await response.json();
}

test("POST /embed gives the mean of the last states, of length 1", async () => {
  await using served = await serveWorker(folder);
  const texts = ["In the beginning", "é\u{1f600}", "x".repeat(256)];
  const { model, dim, embeddings } = await embeddingsOf(served.url, texts);
  assertEquals([model, dim, embeddings.length], ["examples/llama", 192, 3]);
  const files = "examples/llama/model/";
  using encoder = await loadEncoder({
    config: JSON.parse(await readFile(files + "config.json", "utf8")),
    weights: await readFile(files + "model.safetensors"),
  });
  const states = await encoder.states(texts.map((text) => new TextEncoder().encode(text)));
  for (const [index, { data, shape: [tokens] }] of states.entries()) {
    const vector = embeddings[index];
    const mean = Float64Array.from({ length: dim }, (_, at) => {
      let sum = 0;
      for (let token = 0; token < tokens; token++) sum += data[token * dim + at];
      return sum / tokens;
    });
    const length = Math.hypot(...mean);
    assertEquals(vector.length, dim);
    for (const [at, x] of vector.entries()) assertAlmostEquals(x, mean[at] / length, tolerance);
    assertAlmostEquals(Math.hypot(...vector), 1, tolerance);
  }
});

test("POST /search sorts texts by the cosine, its own where none are given", async () => {
  await using served = await serveWorker(folder);
  const search = async (body: unknown) => {
    const response = await post(`${served.url}/search`, body);
    assertEquals(response.status, 200);
    return (await response.json()).results as { text: string; score: number }[];
  };
  const own = await search({ query: ownTexts[3] });
  assertEquals(own.map(({ text }) => text).sort(), [...ownTexts].sort());
  assertEquals(own[0].text, ownTexts[3]);
  assertAlmostEquals(own[0].score, 1, tolerance);
  for (const [at, { score }] of own.entries()) assert(at === 0 || score <= own[at - 1].score);
  const given = await search({ query: "the sea", texts: ["1 2 3", "the sea"] });
  assertEquals(given.map(({ text }) => text), ["the sea", "1 2 3"]);
});

test("GET / says what the worker is, in little memory", async () => {
  await using served = await serveWorker(folder);
  const { model, dim, most, reason, memoryBytes } = await (await fetch(served.url)).json();
  assertEquals([model, dim], ["examples/llama", 192]);
  assertEquals(most, { bodyBytes: 65536, texts: 16, bytes: 1024, tokensOfText: 256 });
  assertMatch(reason, /^relaxed binary, one thread/);
  assertLess(memoryBytes, mostLinear);
});

const many = Array.from({ length: 17 }, () => "x");
const long = "x".repeat(257);

/** Requests that are refused. */
const refused: [
  words: string,
  status: number,
  reason: RegExp,
  path: string,
  body: string | Uint8Array,
][] = [
  ["an unknown path", 404, /no such path, only \/, \/embed, \/search/, "/nothing", "{}"],
  ["what is not JSON", 400, /^the body is not JSON$/, "/embed", '{"texts": ["a"'],
  ["an empty body", 400, /^the body is not JSON$/, "/embed", ""],
  ["what is not UTF-8", 400, /^the body is not UTF-8$/, "/embed", Uint8Array.of(0x22, 0xff, 0x22)],
  ["an array", 400, /^the body must be a JSON object$/, "/embed", "[]"],
  ["null", 400, /^the body must be a JSON object$/, "/search", "null"],
  ["an unknown field", 400, /no field "text", only `texts`/, "/embed", '{"text": "a"}'],
  ["__proto__", 400, /no field "__proto__", only/, "/embed", '{"__proto__": ["a"]}'],
  ["no texts", 400, /^`texts` must be an array of strings$/, "/embed", "{}"],
  ["no text in texts", 400, /^`texts` is empty$/, "/embed", '{"texts": []}'],
  ["a number for a text", 400, /^`texts\[1\]` must be a string$/, "/embed", '{"texts":["a",1]}'],
  ["an empty text", 400, /^`texts\[0\]` is empty$/, "/embed", '{"texts": [""]}'],
  ["half a pair", 400, /^`texts\[0\]` has half a surr/, "/embed", '{"texts": ["\\ud800"]}'],
  ["no query", 400, /^`query` must be a string$/, "/search", '{"texts": ["a"]}'],
  ["other texts", 400, /^`texts` must be an array/, "/search", '{"query":"a","texts":"b"}'],
  ["a long text", 413, /`texts\[0\]` has 257 tokens/, "/embed", JSON.stringify({ texts: [long] })],
  ["a long query", 413, /^`query` has 257 tokens/, "/search", JSON.stringify({ query: long })],
  ["many texts", 413, /^`texts` has 17 texts/, "/embed", JSON.stringify({ texts: many })],
  [
    "much text",
    413,
    /^`texts` has 1280 bytes in UTF-8, expected at most 1024/,
    "/embed",
    JSON.stringify({ texts: Array.from({ length: 5 }, () => "x".repeat(256)) }),
  ],
  ["a long body", 413, /^the body must have at most 65536/, "/embed", " ".repeat(65537) + "{}"],
];

test("the worker refuses what it cannot use, with the reason, and goes on", async () => {
  await using served = await serveWorker(folder);
  const before = await embeddingsOf(served.url, ["a text"]);
  for (const [words, status, reason, path, body] of refused) {
    const response = await post(served.url + path, body);
    assertEquals(response.status, status, words);
    const answer = await response.json();
    assertEquals(Object.keys(answer), ["error"], words);
    assertMatch(answer.error, reason, words);
  }
  assertEquals(await embeddingsOf(served.url, ["a text"]), before);
});

test("the worker refuses other methods and other types", async () => {
  await using served = await serveWorker(folder);
  for (const [path, method, allowed] of [["/embed", "GET", "POST"], ["/", "DELETE", "GET"]]) {
    const response = await fetch(served.url + path, { method });
    assertEquals([response.status, response.headers.get("allow")], [405, allowed]);
    assertEquals(await response.json(), { error: `the method must be ${allowed}` });
  }
  for (const type of ["text/plain", "application/jsonp", "application/x-www-form-urlencoded"]) {
    const response = await post(`${served.url}/embed`, "{}", { "content-type": type });
    assertEquals(response.status, 415);
    assertMatch((await response.json()).error, /^the body must be JSON/);
  }
  const spelt = { "content-type": "Application/JSON ; charset=utf-8" };
  const response = await post(`${served.url}/embed`, '{"texts": ["a"]}', spelt);
  assertEquals(response.status, 200);
  await response.body?.cancel();
});

test("the worker refuses a body that never ends while it is sent", async () => {
  await using served = await serveWorker(folder);
  const piece = new TextEncoder().encode(" ".repeat(4096));
  let sent = 0;
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      await new Promise((resolve) => setTimeout(resolve, 1));
      controller.enqueue(piece);
      sent += piece.length;
    },
  });
  const response = await fetch(`${served.url}/embed`, { method: "POST", headers: json, body });
  assertEquals(response.status, 413);
  await response.body?.cancel();
  assert(sent > 65536 && sent < 2 ** 24, `${sent} bytes were sent`);
});

test("nothing of a request is in the answer to another", async () => {
  await using served = await serveWorker(folder);
  const requests = Array.from(
    { length: 24 },
    (_, at) =>
      Array.from({ length: 1 + at % 3 }, (_, part) => `${at}/${part} `.repeat(1 + at * 7 % 19)),
  );
  const alone: Embeddings[] = [];
  for (const texts of requests) alone.push(await embeddingsOf(served.url, texts));
  assertEquals(new Set(alone.map((answer) => JSON.stringify(answer))).size, requests.length);
  for (let round = 0; round < 3; round++) {
    // Among others that fail at every place where they can.
    const failing = refused.map(([, , , path, body]) => post(served.url + path, body));
    const together = requests.map((texts) => embeddingsOf(served.url, texts));
    assertEquals(await Promise.all(together), alone);
    for (const response of await Promise.all(failing)) await response.body?.cancel();
  }
});

test("50 clients at a time are all answered, and memory is what it was", async () => {
  await using served = await startWorker(compileWorker(folder), true);
  using isolate = await Inspected.begin(served.inspector!);
  const url = `${served.url}/embed`, body = { texts: ["In the beginning", "a"] };
  const ask = (seconds: number) => load({ url, connections: 50, seconds, body });
  const linear = async () => (await (await fetch(served.url)).json()).memoryBytes as number;
  await ask(2);
  const before = await isolate.readCollected(linear);
  const counted = await ask(30);
  const during = await isolate.read(), after = await isolate.readCollected(linear);
  const linearAfter = await linear();
  assertEquals([counted.refusals, counted.errors], [0, 0]);
  assert(counted.answers > 0);
  const bytes = JSON.stringify({ before, during, after, linearAfter });
  assertLess(sizeOf(during) + linearAfter, 128 * 2 ** 20, bytes);
  // Linear memory, which is not among the buffers, never shrinks: calls wait for each other, and what each
  // left behind would soon be more.
  assertLess(linearAfter, mostLinear, bytes);
  assertLess(sizeOf(after) - sizeOf(before), 2 ** 20, bytes);
});
