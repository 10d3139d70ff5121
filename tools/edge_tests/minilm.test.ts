/**
 * The worker of `examples/edge/` that serves all-MiniLM-L6-v2, on workerd: right, in a worker's memory, and for many
 * at a time.
 *
 * @module
 */

import { assert, assertEquals, assertLess } from "@std/assert";
import { join } from "node:path";
import { test } from "node:test";
import { bundleModel } from "../../examples/edge/serve.ts";
import { minilmFolder, referenceTexts } from "../../tests/support/minilm.ts";
import { cosine } from "../../tests/support/near.ts";
import { withShared } from "../../tests/support/shared.ts";
import { Inspected, sizeOf } from "../heap.ts";
import { compileWorker, startWorker } from "../workerd.ts";
import { project } from "./project.ts";

/** What a worker may have on Cloudflare's machines. */
const mostBytes = 128 * 10 ** 6;

/** The least cosine to the reference of weights and products by 16-bit integers. */
const leastCosine = 0.99999;

async function embed(url: string, texts: readonly string[]): Promise<number[][]> {
  const response = await fetch(`${url}/embed`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ texts }),
  });
  assertEquals(response.status, 200, await response.clone().text());
  return (await response.json()).embeddings;
}

test(
  "the worker embeds texts as all-MiniLM-L6-v2, many requests at a time, within 128 MB",
  withShared(minilmFolder),
  async () => {
    const folder = join(project, "minilm");
    bundleModel(`../shared/${minilmFolder}`, folder, join(project, "node_modules"));
    await using served = await startWorker(compileWorker(folder), true);
    using isolate = await Inspected.begin(served.inspector!);
    const texts = referenceTexts(24), alone: number[][] = [];
    for (const { text, embedding } of texts) {
      const [vector] = await embed(served.url, [text]);
      assert(cosine(vector, embedding) >= leastCosine, text);
      alone.push(vector);
    }
    const describe = async () => await (await fetch(served.url)).json();
    const { model, dim, most } = await describe();
    assertEquals([model, dim, most.tokensOfText], ["nreimers/MiniLM-L6-H384-uncased", 384, 512]);
    const together = await Promise.all(texts.map(({ text }) => embed(served.url, [text])));
    assertEquals(together.map(([vector]) => vector), alone);
    const { memoryBytes } = await describe(), during = sizeOf(await isolate.read());
    const held = sizeOf(await isolate.readCollected(describe));
    const bytes = JSON.stringify({ memoryBytes, during, held });
    console.log(`all-MiniLM-L6-v2 on workerd, bytes: ${bytes}`);
    assertLess(memoryBytes + during, mostBytes, bytes);
  },
);
