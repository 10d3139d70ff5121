/**
 * The npm package's models in browsers, with the tokenizer that documents name: the demo's small Llama, and
 * all-MiniLM-L6-v2 where it is beside the checkout.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { readFileSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { minilmFolder, referenceTexts } from "../../tests/support/minilm.ts";
import { cosine } from "../../tests/support/near.ts";
import { withShared } from "../../tests/support/shared.ts";
import { visitWebKit } from "../webkit.ts";
import { serveFolder } from "./server.ts";
import { sitesIn } from "./sites.ts";
import { visit } from "./visit.ts";

const { models, modelsByVite } = sitesIn(process.env.FLASHTILE_SITES!);

/** Evaluates an expression in a page. */
type Evaluate = <T>(expression: string) => Promise<T>;

/** Opens the page in a browser. */
type Open = (url: string, look: (evaluate: Evaluate) => Promise<void>) => Promise<void>;

const chromium: Open = (url, look) => visit("Chromium", url, ({ evaluate }) => look(evaluate));

interface Recorded {
  readonly prompts: readonly { readonly prompt: string; readonly greedy: string }[];
}

async function checkDecoder(evaluate: Evaluate): Promise<void> {
  const path = "examples/llama/model/reference.json";
  const { prompts: [{ prompt, greedy }] } = JSON.parse(readFileSync(path, "utf8")) as Recorded;
  const text = await evaluate<string>(`models.continueText(${JSON.stringify(prompt)}, 16)`);
  assertEquals(text, greedy.slice(0, 16));
}

async function checkEncoder(evaluate: Evaluate): Promise<void> {
  const texts = referenceTexts(24), given = JSON.stringify(texts.map(({ text }) => text));
  const vectors = await evaluate<number[][]>(`models.embed(${given})`);
  assertEquals(vectors.length, texts.length);
  for (const [at, { text, embedding }] of texts.entries()) {
    assert(cosine(vectors[at], embedding) >= 0.99999, text);
  }
}

/** A page, and the browser that opens it. */
interface Place {
  readonly folder: string;
  readonly open: Open;
}

const places: Readonly<Record<string, Place>> = {
  Chromium: { folder: models, open: chromium },
  "Chromium, built by Vite": { folder: modelsByVite, open: chromium },
  Firefox: {
    folder: models,
    open: (url, look) => visit("Firefox", url, ({ evaluate }) => look(evaluate)),
  },
  WebKit: {
    folder: models,
    open: (url, look) => visitWebKit(url, ({ evaluate }) => look(evaluate)),
  },
};

/** Looks at a page, all of whose files there must be. */
async function look({ folder, open }: Place, check: (evaluate: Evaluate) => Promise<void>) {
  await using server = serveFolder(folder, {});
  await open(server.url, check);
  assertEquals(server.missed, []);
}

const hasMiniLm = !("skip" in withShared(minilmFolder));

for (const [where, place] of Object.entries(places)) {
  // One visit for both: a browser takes longer to start than either.
  test(`loadDecoder() and loadEncoder() in ${where} answer as other implementations`, () =>
    look(place, async (evaluate) => {
      await checkDecoder(evaluate);
      if (hasMiniLm) await checkEncoder(evaluate);
    }));
}

test("browsers have all-MiniLM-L6-v2 to load", withShared(minilmFolder), () => {
  assert(hasMiniLm);
});
