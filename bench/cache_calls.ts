/**
 * `deno task bench:cache-calls`: a token through the caches of a model's layers, in three calls and in one;
 * a prompt of one sequence beside single tokens of others, in one call and in two; a tree of drafted tokens; a window; beams.
 * Ways take turns; of each the median and the fastest are printed.
 *
 * @module
 */

import "../tools/help.ts";
import process from "node:process";
import { createEngine, type Engine, type KvCache, type Tensor, tensor } from "../mod.ts";
import { machine } from "./machine.ts";
import { numbers } from "./numbers.ts";

/** A way to do something, in milliseconds. */
type Way = () => Promise<unknown>;

async function race(ways: Readonly<Record<string, Way>>, rounds: number, each = 1): Promise<void> {
  const times = new Map(Object.keys(ways).map((name) => [name, [] as number[]]));
  for (let round = -2; round < rounds; round++) {
    for (const [name, way] of Object.entries(ways)) {
      const start = performance.now();
      for (let nth = 0; nth < each; nth++) await way();
      if (round >= 0) times.get(name)!.push((performance.now() - start) / each);
    }
  }
  let first: number | undefined;
  for (const [name, all] of times) {
    const sorted = all.toSorted((a, b) => a - b), median = sorted[sorted.length >> 1];
    first ??= median;
    console.log(
      `  ${name.padEnd(44)} ${median.toFixed(4)} ms, fastest ${sorted[0].toFixed(4)}, ` +
        `${(median / first).toFixed(3)} times the first`,
    );
  }
}

function rows(batch: number, heads: number, count: number, width: number): Tensor {
  return tensor(numbers(batch * heads * count * width), [batch, heads, count, width]);
}

/** Attention of the demo's four layers, one token behind 128. */
async function steps(engine: Engine): Promise<void> {
  const heads = 6, kvHeads = 2, D = 32, layers = 4, first = 128;
  const make = () =>
    Array.from({ length: layers }, () => {
      const cache = engine.kvCache({ kvHeads, headDim: D });
      cache.append(rows(1, kvHeads, first, D), rows(1, kvHeads, first, D));
      return cache;
    });
  const [three, one] = [make(), make()];
  const q = rows(1, heads, 1, D), k = rows(1, kvHeads, 1, D), v = rows(1, kvHeads, 1, D);
  const out = rows(1, heads, 1, D), theta = 10_000, causal = true;
  console.log(
    `a token of ${layers} layers, ${heads} and ${kvHeads} heads, D = ${D}, behind ${first}`,
  );
  await race(
    {
      "rope(), append() and attend()": async () => {
        for (const cache of three) {
          const positions = Int32Array.from(cache.lengths);
          await engine.rope(q, k, { positions, theta });
          cache.append(k, v);
          await cache.attend(q, { causal, out });
          cache.truncate(0, first);
        }
      },
      "step()": async () => {
        for (const cache of one) {
          await cache.step(q, k, v, { causal, out, rope: { theta } });
          cache.truncate(0, first);
        }
      },
    },
    41,
    50,
  );
}

/** A prompt of 2,048 tokens beside seven sequences of 512, a token each. */
async function mixed(engine: Engine): Promise<void> {
  const heads = 8, kvHeads = 2, D = 64, prompt = 2048, others = 7, before = 512;
  const cache = engine.kvCache({ batch: others + 1, kvHeads, headDim: D });
  const decoding = Array.from({ length: others }, (_, at) => at + 1);
  const filled = [rows(others, kvHeads, before, D), rows(others, kvHeads, before, D)] as const;
  cache.append(...filled, { sequences: decoding });
  const long = [heads, kvHeads, kvHeads].map((count) => rows(1, count, prompt, D));
  const short = [heads, kvHeads, kvHeads].map((count) => rows(others, count, 1, D));
  const both = [heads, kvHeads, kvHeads].map((count) => rows(1, count, prompt + others, D));
  const cuSeqlens = [0, ...Array.from({ length: others + 1 }, (_, at) => prompt + at)],
    causal = true;
  const undo = () => {
    cache.free(0);
    for (const at of decoding) cache.truncate(at, before);
  };
  console.log(
    `a prompt of ${prompt} beside ${others} tokens behind ${before}, ${heads} and ${kvHeads} heads, D = ${D}`,
  );
  await race({
    "append() and attend() for each of the two": async () => {
      cache.append(long[1], long[2], { sequences: [0] });
      await cache.attend(long[0], { causal, sequences: [0] });
      cache.append(short[1], short[2], { sequences: decoding });
      await cache.attend(short[0], { causal, sequences: decoding });
      undo();
    },
    "packed, one of each": async () => {
      cache.append(both[1], both[2], { cuSeqlens });
      await cache.attend(both[0], { causal, cuSeqlens });
      undo();
    },
    "packed, step()": async () => {
      await cache.step(both[0], both[1], both[2], { causal, cuSeqlens });
      undo();
    },
  }, 11);
  cache.free();
}

/** A tree of eight drafted tokens, and the path that is kept; behind 2,048. */
async function drafts(engine: Engine): Promise<void> {
  const heads = 8, kvHeads = 2, D = 64, first = 2048, parents = [-1, 0, 0, 1, 1, 2, 3, 6];
  const cache = engine.kvCache({ kvHeads, headDim: D });
  cache.append(rows(1, kvHeads, first, D), rows(1, kvHeads, first, D));
  const [q, k, v] = [heads, kvHeads, kvHeads].map((count) => rows(1, count, 8, D));
  const causal = true;
  console.log(`eight tokens behind ${first}, ${heads} and ${kvHeads} heads, D = ${D}`);
  const run = async (options: object) => {
    cache.append(k, v);
    await cache.attend(q, options);
    cache.keep(0, [first, first + 1, first + 3, first + 6]);
    cache.truncate(0, first);
  };
  await race(
    {
      "as they come": () => run({ causal }),
      "as a tree": () => run({ causal, parents }),
    },
    41,
    10,
  );
  cache.free();
}

/** A token of a sequence without end, of which the first 4 and the last 4,096 tokens are kept. */
async function windows(engine: Engine): Promise<void> {
  const heads = 8, kvHeads = 2, D = 64, kept = { keepFirst: 4, keepLast: 4096 }, first = 4100;
  const [all, window, evicted] = [{}, kept, {}].map((more) => {
    const cache = engine.kvCache({ kvHeads, headDim: D, ...more });
    cache.append(rows(1, kvHeads, first, D), rows(1, kvHeads, first, D));
    return cache;
  });
  const [q, k] = [heads, kvHeads].map((count) => rows(1, count, 1, D)), causal = true;
  console.log(`a token behind ${first}, of which 4 and 4,096 stay, ${kvHeads} heads, D = ${D}`);
  const append = (cache: KvCache, after?: () => void) => () => {
    cache.append(k, k);
    after?.();
    return Promise.resolve();
  };
  await race(
    {
      "append(), all are kept": append(all),
      "append(), a window": append(window),
      "append() and evict()": append(evicted, () => evicted.evict(kept)),
    },
    41,
    20,
  );
  all.truncate(0, first);
  await race(
    {
      "attend(), all are kept": () => all.attend(q, { causal }),
      "attend(), a window": () => window.attend(q, { causal }),
    },
    41,
    10,
  );
  for (const cache of [all, window, evicted]) cache.free();
}

/** Eight beams of 512 tokens, whose better half goes on twice. */
async function beams(engine: Engine): Promise<void> {
  const batch = 8, kvHeads = 2, D = 64, before = 512;
  const cache = engine.kvCache({ batch, kvHeads, headDim: D });
  cache.append(rows(batch, kvHeads, before, D), rows(batch, kvHeads, before, D));
  const k = rows(batch, kvHeads, 1, D), indices = [0, 0, 1, 1, 2, 2, 3, 3];
  console.log(`${batch} beams behind ${before}`);
  await race(
    {
      "append()": () => {
        cache.append(k, k);
        for (let at = 0; at < batch; at++) cache.truncate(at, before);
        return Promise.resolve();
      },
      "reorder() and append()": () => {
        cache.reorder(indices);
        cache.append(k, k);
        for (let at = 0; at < batch; at++) cache.truncate(at, before);
        return Promise.resolve();
      },
    },
    41,
    10,
  );
  cache.free();
}

console.log(machine());
const backend = process.argv.includes("webgpu") ? "webgpu" : "wasm";
const engine = await createEngine({ backend }) as unknown as Engine;
console.log(engine.reason);
for (const part of [steps, mixed, drafts, windows, beams]) await part(engine);
await engine.close();
