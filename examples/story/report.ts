/**
 * The story as text.
 *
 * @module
 */

import { backwardTiles } from "./backward.ts";
import { blocksOf } from "./blocks.ts";
import { type Algorithm, algorithms, count, filesOf } from "./chapters.ts";
import { flashOrder, standardOrder, type Traffic } from "./closed.ts";
import { crossoverOf, totalOf } from "./crossover.ts";
import { compare, pairs } from "./comparison.ts";
import { firstPaper, secondPaper, sources } from "./figures.ts";
import { short, whole } from "./format.ts";
import { bar, table, wrap } from "./layout.ts";
import { type Own, ownDim } from "./own.ts";
import type { Sizes } from "./problem.ts";

function heading(title: string): string {
  return `\n${title}\n${"─".repeat(title.length)}\n`;
}

/** How the story begins. */
export function formatOpening(sizes: Sizes): string {
  const { n, d, m } = sizes,
    tiles = (count?: number) => {
      const { outer } = blocksOf(m, d, count);
      return `${Math.ceil(n / outer)} of ${Math.min(outer, n)} rows`;
    };
  return [
    heading("The story of FlashAttention, told by code that counts"),
    wrap(
      "A processor computes in a small fast memory and keeps everything else in a large slow " +
        "one. Attention waits for the way between the two more than for its arithmetic. Every " +
        "algorithm below is run, and each number that it reads or writes of slow memory is " +
        "counted; beside the counts are the formulas for them.",
    ),
    "",
    table([
      ["N", whole(n), "queries and keys"],
      ["d", whole(d), "numbers of each"],
      ["M", whole(m), "numbers that fit into fast memory"],
      ["T", tiles(), "tiles of the outer loop"],
      ["", tiles(backwardTiles), "in the backward pass, which needs more of them at a time"],
    ].map(([name, value, words]) => [`${name.padEnd(2)} ${value.padEnd(16)} ${words}`])),
    "",
  ].join("\n");
}

/** An algorithm that was run. */
export interface Told extends Traffic {
  readonly algorithm: Algorithm;
}

/** Runs an algorithm and writes its chapter. */
export function tell(algorithm: Algorithm, sizes: Sizes): { text: string; told: Told } {
  const { reads, writes } = count(algorithm, sizes);
  const told = { algorithm, reads, writes };
  return { told, text: formatChapter(told, sizes) };
}

function formatChapter({ algorithm, reads, writes }: Told, sizes: Sizes): string {
  const { title, words, formulas, order, leaves } = algorithm;
  const closed = algorithm.traffic(sizes), number = algorithms.indexOf(algorithm) + 1;
  return [
    heading(`${number}. ${title}`),
    wrap(words),
    "",
    table([
      ["", "reads", "writes"],
      ["counted", whole(reads), whole(writes)],
      ["by formula", whole(closed.reads), whole(closed.writes)],
      ["", ...formulas],
    ]),
    "",
    `  grows as ${order}; leaves ${whole(leaves(sizes))} numbers in slow memory beside its result`,
    `  code: examples/story/${filesOf(algorithm).join(", ")}`,
    "",
  ].join("\n");
}

/** All algorithms side by side. */
export function formatComparison(all: readonly Told[], sizes: Sizes): string {
  const most = Math.max(...all.map(totalOf));
  const rows = all.map((told) => {
    const { title, order } = told.algorithm, total = totalOf(told);
    return [title, whole(total), short(total / totalOf(all[0])), order, bar(total / most)];
  });
  // Bars begin at the left.
  const longest = Math.max(...rows.map((row) => row[4].length));
  return [
    heading("Side by side"),
    table([
      ["", "reads + writes", "to naive", "grows as", "".padEnd(longest)],
      ...rows.map((row) => [...row.slice(0, 4), row[4].padEnd(longest)]),
    ]),
    "",
    wrap(crossing(sizes)),
    "",
  ].join("\n");
}

/** Where FlashAttention begins to pay, in words. */
export function crossing(sizes: Sizes): string {
  const { n, d } = sizes, from = crossoverOf(sizes);
  const orders = `To an order of magnitude standard attention moves N d + N² = ` +
    `${whole(standardOrder(sizes))} numbers and FlashAttention N² d² / M = ` +
    `${whole(Math.round(flashOrder(sizes)))}, which cross near M = d² = ${whole(d * d)}.`;
  if (from === undefined) {
    return `${orders} Counted, at N = ${n} and d = ${d}, FlashAttention moves more than naive ` +
      "attention for any M: there are too few scores to save.";
  }
  return `${orders} Counted, at N = ${n} and d = ${d}, FlashAttention moves less than naive ` +
    `attention from M = ${whole(from)} on.`;
}

/** What the papers' tables say. */
export function formatPapers(): string {
  return [
    heading("What the papers measured"),
    wrap(`${sources.firstPaper}: GPT-2 medium, N = 1024, d = 64, A100, forward and backward.`),
    "",
    table([
      ["", "standard", "FlashAttention"],
      ...firstPaper.map(({ what, standard, flash }) => [what, `${standard}`, `${flash}`]),
    ]),
    "",
    `${sources.secondPaper}: training, TFLOPs/s per A100.`,
    "",
    table([
      ["", "without", "FlashAttention", "FlashAttention-2"],
      ...secondPaper.map(({ what, without, flash1, flash2 }) => [
        what,
        ...[without, flash1, flash2].map(String),
      ]),
    ]),
    "",
    wrap("More arithmetic, a ninth of the traffic, a sixth of the time: traffic is what counts."),
    "",
  ].join("\n");
}

/** What the library does on this machine, beside the introductions' figures. */
export function formatOwn(all: readonly Own[], engine: string): string {
  const off = Math.max(...all.map(({ difference }) => difference));
  return [
    heading("On this machine"),
    wrap(
      `FlashTile (${engine}), one head of d = ${ownDim}, milliseconds of a call. On the right is ` +
        "what introductions to FlashAttention print, on hardware and at sizes of their own.",
    ),
    "",
    formatPair(pairs.attention, all),
    "",
    formatPair(pairs.decoding, all),
    "",
    wrap(ownNote),
    wrap(`The two results of attention differ by ${off.toExponential(1)} at most.`),
    "",
  ].join("\n");
}

/** What is to be known about the measurement. */
export const ownNote =
  "Standard attention is plain JavaScript with every score in an array; flash is the library, in " +
  "WebAssembly with SIMD and threads, so that less traffic is only a part of the ratio. A step " +
  "of decoding without a cache computes all rows again; with one it adds a token and asks once.";

/** Two times and their ratio, here and there. */
function formatPair({ of, names }: typeof pairs[keyof typeof pairs], all: readonly Own[]): string {
  const head = [...names, "ratio"];
  return table([
    ["N", ...head, "│", ...head],
    ...compare(of, all).map(({ length, here, there }) => [length, ...here, "│", ...there]),
  ]);
}
