import { createEngine } from "@flashtile/attention";
import { assert, assertEquals } from "@std/assert";
import { test } from "node:test";
import { inWholeRuns } from "../support/share.ts";
import { readHeldOut, readTinyLlama, TinyLlama } from "../support/tiny_llama.ts";

/** Tokens of a draft, and those that are generated. */
const drafted = 8, wanted = 60;

/** How often a token follows two others in a text. */
function countTriples(text: Uint8Array): Map<number, Map<number, number>> {
  const counts = new Map<number, Map<number, number>>();
  for (let at = 2; at < text.length; at++) {
    const key = text[at - 2] * 256 + text[at - 1];
    const next = counts.get(key) ?? new Map<number, number>();
    counts.set(key, next.set(text[at], (next.get(text[at]) ?? 0) + 1));
  }
  return counts;
}

/** A tree whose first node is the last token, with the likeliest that could follow by counts alone. */
function draftTree(before: number, last: number, counts: ReadonlyMap<number, Map<number, number>>) {
  const nodes = [{ token: last, parent: -1, weight: 1 }];
  const open: typeof nodes = [];
  const grow = (at: number) => {
    const { token, parent, weight } = nodes[at], above = parent < 0 ? before : nodes[parent].token;
    const next = counts.get(above * 256 + token) ?? new Map<number, number>();
    const all = [...next.values()].reduce((sum, one) => sum + one, 0);
    for (const [token, count] of next) {
      open.push({ token, parent: at, weight: weight * count / all });
    }
  };
  grow(0);
  while (nodes.length <= drafted && open.length > 0) {
    open.sort((a, b) => b.weight - a.weight);
    nodes.push(open.shift()!);
    grow(nodes.length - 1);
  }
  return {
    tokens: Uint8Array.from(nodes, ({ token }) => token),
    parents: nodes.map(({ parent }) => parent),
  };
}

test(
  "a tree of drafted tokens gives the tokens of greedy decoding in fewer calls",
  inWholeRuns,
  async () => {
    const engine = await createEngine({ backend: "wasm" });
    try {
      const [weights, text] = await Promise.all([readTinyLlama(), readHeldOut()]);
      const prompt = new TextEncoder().encode("And it came to pass");
      const greedy = new TinyLlama(engine, weights), plain = [(await greedy.read(prompt)).at(-1)!];
      while (plain.length < wanted) {
        plain.push(
          (await greedy.read(Uint8Array.of(plain.at(-1)!)))[0],
        );
      }

      const counts = countTriples(text), fast = new TinyLlama(engine, weights);
      const found = [prompt.at(-1)!, (await fast.read(prompt)).at(-1)!];
      while (found.length <= wanted) {
        const { tokens, parents } = draftTree(found.at(-2)!, found.at(-1)!, counts);
        const [{ lengths: [length] }] = fast.caches, next = await fast.read(tokens, parents);
        const path = [0];
        for (let at = 0; at >= 0;) {
          found.push(next[at]);
          at = parents.findIndex((parent, node) => parent === at && tokens[node] === next[at]);
          if (at >= 0) path.push(at);
        }
        for (const cache of fast.caches) cache.keep(0, path.map((at) => length + at));
      }
      assertEquals(found.slice(1, wanted + 1), plain);
      assert(fast.calls < 0.75 * greedy.calls, `${fast.calls} calls, ${greedy.calls} one by one`);
    } finally {
      await engine.close();
    }
  },
);
