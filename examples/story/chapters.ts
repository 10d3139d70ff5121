/**
 * The algorithms of the story in its order: how they are called and run, and their formulas.
 *
 * @module
 */

import { backwardTiles, flashBackward, standardBackward } from "./backward.ts";
import {
  decodingTraffic,
  flash1Traffic,
  flash2Traffic,
  flashBackwardTraffic,
  standardBackwardTraffic,
  standardTraffic,
  tiledTraffic,
  type Traffic,
} from "./closed.ts";
import { splitDecoding } from "./decoding.ts";
import { flashAttention1 } from "./flash1.ts";
import { flashAttention2 } from "./flash2.ts";
import { Memory } from "./memory.ts";
import { type Inputs, randomInputs, randomMatrix, type Sizes } from "./problem.ts";
import { naiveSoftmax, onlineSoftmax, safeSoftmax, type Softmax } from "./softmax.ts";
import { standardAttention, weightsOf } from "./standard.ts";
import { tiledAttention } from "./tiled.ts";

/** Names of the algorithms. */
export type AlgorithmName =
  | "naive"
  | "safe"
  | "online"
  | "tiled"
  | "flash1"
  | "flash2"
  | "remembered"
  | "recomputed"
  | "decoding";

/** An algorithm of the story. */
export interface Algorithm {
  readonly name: AlgorithmName;
  readonly title: string;
  /** Where its code is: files of this folder, and what of each is it. */
  readonly code: readonly (readonly [file: string, ...names: string[]])[];
  /** What it does, for someone who has not met it. */
  readonly words: string;
  /** Tiles of M numbers in all that it holds at a time. */
  readonly tiles: number;
  /** Reads, then writes, where T is how often the inner loop is gone through. */
  readonly formulas: readonly [reads: string, writes: string];
  readonly order: string;
  /** What it leaves in slow memory beside its result. */
  readonly leaves: (sizes: Sizes) => number;
  readonly traffic: (sizes: Sizes) => Traffic;
  /** Prepares what is given, and answers what is counted. */
  readonly prepare: (sizes: Sizes) => (memory: Memory) => void;
}

const usualTiles = 4;

/** A memory in which everything fits: for what is prepared, and not counted. */
function uncounted({ n, d }: Sizes): Memory {
  return new Memory(4 * d * n + n * n);
}

function standard(softmax: Softmax): Algorithm["prepare"] {
  return (sizes) => {
    const inputs = randomInputs(sizes);
    return (memory) => void standardAttention(inputs, softmax, memory);
  };
}

function onInputs(run: (inputs: Inputs, memory: Memory) => unknown): Algorithm["prepare"] {
  return (sizes) => {
    const inputs = randomInputs(sizes);
    return (memory) => void run(inputs, memory);
  };
}

/** The gradient of O that the backward passes are given. */
function gradientOfOut({ n, d }: Sizes) {
  return randomMatrix("dO", n, d, 9);
}

function prepareRemembered(sizes: Sizes): (memory: Memory) => void {
  const inputs = randomInputs(sizes), dO = gradientOfOut(sizes), aside = uncounted(sizes);
  const p = weightsOf(inputs, onlineSoftmax, aside), { o } = flashAttention2(inputs, aside);
  return (memory) => void standardBackward(inputs, { o, p }, dO, memory);
}

function prepareRecomputed(sizes: Sizes): (memory: Memory) => void {
  const inputs = randomInputs(sizes), dO = gradientOfOut(sizes);
  const attended = flashAttention2(inputs, uncounted(sizes));
  return (memory) => void flashBackward(inputs, attended, dO, memory);
}

function prepareDecoding(sizes: Sizes): (memory: Memory) => void {
  const { k, v } = randomInputs(sizes), q = randomMatrix("q", 1, sizes.d, 3);
  return (memory) => void splitDecoding({ q, k, v }, memory);
}

const quadratic = "N d + N²", subquadratic = "N² d² / M";

/** All of them. */
export const algorithms: readonly Algorithm[] = [
  {
    name: "naive",
    title: "Naive attention",
    code: [["standard.ts", "standardAttention", "weightsOf"], ["products.ts", "scores", "mix"]],
    words: "Three steps, each from slow memory to slow memory: all scores S = Q Kᵀ, all weights " +
      "P = softmax(S), then O = P V. S and P have N² numbers each, and they travel. The plain " +
      "softmax takes the exponential of a score as it is: in f32 that of 89 is Infinity.",
    tiles: usualTiles,
    formulas: ["N d + 2 T N d + 3 N²", "N d + 2 N²"],
    order: quadratic,
    leaves: ({ n }) => 2 * n * n,
    traffic: (sizes) => standardTraffic(sizes, 2),
    prepare: standard(naiveSoftmax),
  },
  {
    name: "safe",
    title: "Safe softmax",
    code: [["softmax.ts", "safeSoftmax"]],
    words:
      "The same with the greatest score of each row subtracted first, so that no exponential " +
      "is above 1. It costs a third visit of every score: maximum, sum, division.",
    tiles: usualTiles,
    formulas: ["N d + 2 T N d + 4 N²", "N d + 2 N²"],
    order: quadratic,
    leaves: ({ n }) => 2 * n * n,
    traffic: (sizes) => standardTraffic(sizes, 3),
    prepare: standard(safeSoftmax),
  },
  {
    name: "online",
    title: "Online softmax",
    code: [["softmax.ts", "onlineSoftmax", "follow"]],
    words:
      "Maximum and sum in one visit: whenever the maximum grows from m to m′, the sum so far " +
      "is multiplied by exp(m − m′). As safe as the safe one, with the traffic of the naive one. " +
      "One visit is not possible for a softmax: its weights are known only at the end of the row.",
    tiles: usualTiles,
    formulas: ["N d + 2 T N d + 3 N²", "N d + 2 N²"],
    order: quadratic,
    leaves: ({ n }) => 2 * n * n,
    traffic: (sizes) => standardTraffic(sizes, 2),
    prepare: standard(onlineSoftmax),
  },
  {
    name: "tiled",
    title: "Tiled attention",
    code: [["tiled.ts", "tiledAttention"]],
    words: "Scores need not be kept, they can be computed twice. A tile of queries looks at all " +
      "keys for its maxima and sums, then at all keys again to add up the values. N² is gone " +
      "from slow memory; every key is read twice for each tile of queries.",
    tiles: usualTiles,
    formulas: ["N d + 3 T N d", "N d"],
    order: subquadratic,
    leaves: () => 0,
    traffic: tiledTraffic,
    prepare: onInputs(tiledAttention),
  },
  {
    name: "flash1",
    title: "FlashAttention",
    code: [["flash1.ts", "flashAttention1", "takeIn"]],
    words: "One visit is possible for attention, whose result is a sum: what was added up so far " +
      "is rescaled like the softmax's sum. Keys are outside: a tile of keys and values stays, " +
      "and all queries pass by, each with its unfinished result, which is read and written " +
      "each time.",
    tiles: usualTiles,
    formulas: ["2 N d + 2 T N (d + 1)", "(T + 1) N (d + 2)"],
    order: subquadratic,
    leaves: ({ n }) => 2 * n,
    traffic: flash1Traffic,
    prepare: onInputs(flashAttention1),
  },
  {
    name: "flash2",
    title: "FlashAttention-2",
    code: [["flash2.ts", "flashAttention2"]],
    words: "The loops change places: a tile of queries stays with its result until that is " +
      "finished, and keys pass by. Nothing unfinished is ever written, the division comes once " +
      "at the end, and tiles of queries do not wait for each other.",
    tiles: usualTiles,
    formulas: ["N d + 2 T N d", "N (d + 1)"],
    order: subquadratic,
    leaves: ({ n }) => n,
    traffic: flash2Traffic,
    prepare: onInputs(flashAttention2),
  },
  {
    name: "remembered",
    title: "Backward, P remembered",
    code: [["backward.ts", "standardBackward", "gradientOfScores"], [
      "products.ts",
      "mixTransposed",
    ]],
    words: "Training asks for the gradients of Q, K and V. The plain way keeps the N² weights of " +
      "the forward pass until then, and makes two more matrices of that size, dP and dS.",
    tiles: usualTiles,
    formulas: ["3 N d + 4 T N d + 5 N² + N", "3 N d + 2 N² + N"],
    order: quadratic,
    leaves: ({ n }) => 3 * n * n + n,
    traffic: standardBackwardTraffic,
    prepare: prepareRemembered,
  },
  {
    name: "recomputed",
    title: "Backward, P recomputed",
    code: [["backward.ts", "flashBackward"]],
    words:
      "The forward pass keeps one number a row, the log-sum-exp L. A tile of weights is then " +
      "exp(S − L), made again from Q and K where it is needed: more arithmetic, less traffic, " +
      "and memory linear in N.",
    tiles: backwardTiles,
    formulas: ["4 N d + T N (3 d + 2)", "3 N d + T N d + N"],
    order: subquadratic,
    leaves: ({ n }) => 2 * n,
    traffic: flashBackwardTraffic,
    prepare: prepareRecomputed,
  },
  {
    name: "decoding",
    title: "Decoding, split keys",
    code: [["decoding.ts", "splitDecoding", "attendPart", "mergeParts"]],
    words: "Writing a text asks for one new row at a time: one query against a cache of N keys. " +
      "Each key is read once, whatever M is. What can be gained is time: parts of the keys are " +
      "attended to side by side, and merged by their log-sum-exps.",
    tiles: usualTiles,
    formulas: ["2 N d + parts (2 d + 1)", "parts (d + 1) + d"],
    order: "N d",
    leaves: ({ n, d }) => decodingTraffic({ n, d, m: 0 }).writes - d,
    traffic: decodingTraffic,
    prepare: prepareDecoding,
  },
];

/** The files that an algorithm's code is in. */
export function filesOf({ code }: Algorithm): string[] {
  return code.map(([file]) => file);
}

/** One of them. */
export function algorithmOf(name: AlgorithmName): Algorithm {
  return algorithms.find((algorithm) => algorithm.name === name)!;
}

/** Runs an algorithm and counts. */
export function count({ prepare }: Algorithm, sizes: Sizes): Memory {
  const memory = new Memory(sizes.m);
  prepare(sizes)(memory);
  return memory;
}
