/**
 * Draws the functions of `docs/FUNCTIONS.md` by `attention()` itself: which keys a mask function lets each query see, and what a
 * score function makes of scores. With the identity as values the result is the weights, and these and `lse` say the scores.
 *
 * @module
 */

import { readFile } from "node:fs/promises";
import { attention, type AttentionOptions, captured, type Tensor, tensor, where } from "../mod.ts";
import type { Files } from "./build_wasm.ts";

const path = "docs/FUNCTIONS.md";

/** A function as people write it. */
interface Drawn {
  readonly name: string;
  /** What it is, and where it is from. */
  readonly about: string;
  /** Arrays that it reads. */
  readonly arrays?: readonly string[];
  readonly text: string;
  /** Whether key `k` has the score `k` before, and not 0. */
  readonly isGraded?: boolean;
}

const masks: readonly Drawn[] = [
  { name: "Causal", about: "No query sees what comes.", text: "maskMod: ({ q, k }) => q.ge(k)" },
  {
    name: "A window",
    about: "The last three keys, and the query's own (Mistral; Beltagy et al., arXiv 2004.05150).",
    text: "maskMod: ({ q, k }) => q.sub(k).ge(0).and(q.sub(k).le(3))",
  },
  {
    name: "Dilated",
    about: "Every second key of those before (Child et al., arXiv 1904.10509).",
    text: "maskMod: ({ q, k }) => q.ge(k).and(q.sub(k).mod(2).eq(0))",
  },
  {
    name: "A window and global keys",
    about: "All see the first two keys, which see all (Longformer, arXiv 2004.05150).",
    text: "maskMod: ({ q, k }) => q.sub(k).abs().le(1).or(q.lt(2)).or(k.lt(2))",
  },
  {
    name: "A prefix",
    about: "A prompt of each batch's length is seen as a whole, what follows causally (prefix LM).",
    arrays: ["prefix = captured(Int32Array.of(4), [1])"],
    text: "maskMod: ({ b, q, k }) => k.lt(prefix.at(b)).or(q.ge(k))",
  },
  {
    name: "Documents",
    about: "Sequences one after the other, each causal by itself.",
    arrays: ["document = captured(Int32Array.of(0, 0, 0, 1, 1, 2, 2, 2, 2, 2, 2, 2), [12])"],
    text: "maskMod: ({ q, k }) => q.ge(k).and(document.at(q).eq(document.at(k)))",
  },
  {
    name: "A neighbourhood in two dimensions",
    about: "Pictures of 3 rows of 4: neighbours in both directions (NATTEN, arXiv 2204.07143).",
    text: "maskMod: ({ q, k }) =>\n" +
      "  q.floorDiv(4).sub(k.floorDiv(4)).abs().le(1).and(q.mod(4).sub(k.mod(4)).abs().le(1))",
  },
  {
    name: "Blocks, causal among themselves",
    about: "All of one's own block of three, and all before (block diffusion, arXiv 2503.09573).",
    text: "maskMod: ({ q, k }) => q.floorDiv(3).ge(k.floorDiv(3))",
  },
  {
    name: "A tree of drafts",
    about:
      "Each token sees itself and its ancestors, here three at most (Medusa, arXiv 2401.10774).",
    arrays: [
      "parent = captured(Int32Array.of(-1, 0, 0, 1, 1, 2, 2, 3, 3, 4, 5, 6), [12])",
      "above = (q) => parent.at(q)",
    ],
    text: "maskMod: ({ q, k }) =>\n" +
      "  k.eq(q).or(k.eq(above(q))).or(k.eq(above(above(q)))).or(k.eq(above(above(above(q)))))",
  },
  {
    name: "Lengths, and one head that is different",
    about: "Head 0 sees all keys that count, the others backwards alone.",
    arrays: ["length = captured(Int32Array.of(9), [1])"],
    text: "maskMod: ({ b, h, q, k }) => k.lt(length.at(b)).and(h.eq(0).or(q.ge(k)))",
  },
];

const scores: readonly Drawn[] = [
  {
    name: "ALiBi",
    about: "Less for each key in between (Press et al., arXiv 2108.12409); here of head 1.",
    arrays: ["slope = captured(Float32Array.of(1, 0.5), [2])"],
    text: "scoreMod: (score, { h, q, k }) => score.sub(slope.at(h).mul(q.sub(k).abs().toF32()))",
  },
  {
    name: "Softcap",
    about: "Scores stay within 4 (Gemma 2, arXiv 2408.00118).",
    text: "scoreMod: (score) => score.div(4).tanh().mul(4)",
    isGraded: true,
  },
  {
    name: "A learned table by distance",
    about: "One number for each q - k; with `{ grad: true }` it is learned.",
    arrays: [
      "table = captured(Float32Array.from({ length: 15 }, (_, at) => at % 5), [15], { grad: true })",
    ],
    text: "scoreMod: (score, { q, k }) => score.add(table.at(q.sub(k).add(7)))",
  },
  {
    name: "Buckets",
    about: "Near distances have a number each, far ones share some (T5, arXiv 1910.10683).",
    arrays: [
      "bucket = captured(Int32Array.of(5, 5, 5, 5, 4, 4, 3, 0, 1, 2, 2, 2, 2, 2, 2), [15])",
      "bias = captured(Float32Array.of(0, 0.5, 1, 1.5, 2, 2.5), [6])",
    ],
    text: "scoreMod: (score, { q, k }) => score.add(bias.at(bucket.at(q.sub(k).add(7))))",
  },
  {
    name: "Distances in a graph",
    about:
      "A gather within a gather: a number for the length of a path (Graphormer, arXiv 2106.05234).",
    arrays: [
      "path = captured(Int32Array.from({ length: 64 }, (_, at) => Math.abs((at >> 3) % 3 - at % 8 % 3)), [8, 8])",
      "weight = captured(Float32Array.of(0, -1, -2.5), [3])",
    ],
    text: "scoreMod: (score, { q, k }) => score.add(weight.at(path.at(q, k)))",
  },
  {
    name: "Longer contexts are sharper",
    about: "Scores grow with the logarithm of how many keys are seen (log-n scaling).",
    text: "scoreMod: (score, { q }) => score.mul(q.add(1).toF32().log().div(Math.log(8)))",
    isGraded: true,
  },
  {
    name: "A temperature for each head",
    about: "Head 1 divides by 2.",
    arrays: ["temperature = captured(Float32Array.of(1, 2), [2])"],
    text: "scoreMod: (score, { h }) => score.div(temperature.at(h))",
    isGraded: true,
  },
  {
    name: "A gate of queries",
    about: "Each query says how much scores count.",
    arrays: ["gate = captured(Float32Array.of(-3, -2, -1, 0, 1, 2, 3, 4), [8])"],
    text: "scoreMod: (score, { q }) => score.mul(gate.at(q).sigmoid())",
    isGraded: true,
  },
  {
    name: "Decay, which masks what comes",
    about: "Each step back weighs 0.8 of the one before (RetNet, arXiv 2307.08621).",
    text: "scoreMod: (score, { q, k }) =>\n" +
      "  where(q.ge(k), score.add(q.sub(k).toF32().mul(Math.log(0.8))), -Infinity)",
  },
  {
    name: "Windows of a picture",
    about: "Positions within windows of four have a number each (Swin, arXiv 2103.14030).",
    arrays: ["inside = captured(Float32Array.of(-0.3, -0.2, -0.1, 0, 0.1, 0.2, 0.3), [7])"],
    text: "scoreMod: (score, { q, k }) => score.add(inside.at(q.mod(4).sub(k.mod(4)).add(3))),\n" +
      "maskMod: ({ q, k }) => q.floorDiv(4).eq(k.floorDiv(4))",
  },
];

/** The options that a function's text says. */
function optionsOf({ arrays = [], text }: Drawn): AttentionOptions {
  const declared = arrays.map((one) => `const ${one};`).join(" ");
  return new Function("captured", "where", `${declared} return { ${text} };`)(captured, where);
}

/** Scores of head 1 of two, `[rows, rows]`. */
async function scoresOf(drawn: Drawn, rows: number): Promise<number[][]> {
  const twice = (numbers: readonly number[], width: number): Tensor =>
    tensor(Float32Array.from([...numbers, ...numbers]), [2, rows, width]);
  const places = Array.from({ length: rows }, (_, at) => at);
  const q = twice(places.map(() => 1), 1);
  const k = twice(places.map((at) => drawn.isGraded ? at : 0), 1);
  const v = twice(places.flatMap((at) => places.map((one) => Number(one === at))), rows);
  const { out, lse } = await attention(q, k, v, { ...optionsOf(drawn), scale: 1, lse: true });
  return places.map((i) =>
    places.map((j) => Math.log(out.data[(rows + i) * rows + j]) + lse.data[rows + i])
  );
}

async function drawMask(drawn: Drawn): Promise<string[]> {
  const found = await scoresOf(drawn, 12);
  return found.map((row) => row.map((score) => Number(score > -Infinity)).join(" "));
}

/** Scores to a tenth; a dot for what is masked. */
async function drawScores(drawn: Drawn): Promise<string[]> {
  const found = await scoresOf(drawn, 8);
  const textOf = (score: number) => {
    const tenths = Math.round(score * 10) / 10;
    return (Number.isFinite(score) ? (tenths || 0).toFixed(1) : ".").padStart(5);
  };
  return found.map((row) => row.map(textOf).join("").replace(/^ /, ""));
}

async function sectionOf(
  drawn: Drawn,
  draw: (drawn: Drawn) => Promise<string[]>,
): Promise<string> {
  const { name, about, arrays = [], text, isGraded } = drawn;
  const of = isGraded ? "\n\nKey `k` has the score `k` before." : "";
  const lines = [...arrays.map((one) => `const ${one};`), ...(arrays.length > 0 ? [""] : []), text];
  return `### ${name}\n\n${about}${of}\n\n\`\`\`text\n${
    [...lines, "", ...await draw(drawn)].join("\n")
  }\n\`\`\`\n`;
}

/** The document with its functions drawn anew. */
export async function generateFunctions(): Promise<Files> {
  let text = await readFile(new URL(`../${path}`, import.meta.url), "utf8");
  const groups = { masks: [masks, drawMask], scores: [scores, drawScores] } as const;
  for (const [name, [list, draw]] of Object.entries(groups)) {
    const [begin, end] = [`<!-- drawn: ${name} -->`, `<!-- end: ${name} -->`];
    const from = text.indexOf(begin), to = text.indexOf(end);
    if (from < 0 || to < from) throw new Error(`Cannot find "${begin}" and "${end}" in ${path}`);
    const sections = await Promise.all(list.map((one) => sectionOf(one, draw)));
    text = text.slice(0, from + begin.length) + "\n\n" + sections.join("\n") + "\n" +
      text.slice(to);
  }
  return { [path]: text };
}
