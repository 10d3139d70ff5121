/**
 * Writes the micro-kernels of few queries against values that lie as rows, `asm/narrow/products.gen.ts`: each sum is a local with
 * a name of its own, as in `tools/microkernels.ts`.
 *
 * @module
 */

import { indent, times } from "./lines.ts";

/** Sums of a turn, and its steps. */
interface Shape {
  readonly queries: 1 | 2;
  /** Vectors of four columns. */
  readonly vectors: number;
  readonly steps: number;
}

/** The local of a sum. */
function sumOf({ queries }: Shape, vector: number, query: number): string {
  return `c${vector * queries + query}`;
}

/** One key: its weights, and each vector of its values for all queries. */
function stepLines(shape: Shape, index: number): string[] {
  const { queries, vectors } = shape;
  return [
    ...times(
      queries,
      (query) => `const p${query} = v128.load_splat<f32>(p, ${index * 32 + query * 4});`,
    ),
    ...times(vectors, (vector) => [
      `const x${vector} = v128.load(${index === 0 ? "v" : "v + row"}, ${vector * 16});`,
      ...times(queries, (query) => {
        const sum = sumOf(shape, vector, query);
        return `${sum} = fma(x${vector}, p${query}, ${sum});`;
      }),
    ]).flat(),
  ];
}

function loopLines(shape: Shape, steps: number, end: string): string[] {
  const turn = times(steps, (index) => stepLines(shape, index));
  return [
    `for (; p < ${end}; p += ${steps * 32}, v += ${steps === 1 ? "row" : `row * ${steps}`}) {`,
    ...indent(steps === 1 ? turn[0] : turn.flatMap((lines) => ["{", ...indent(lines), "}"])),
    "}",
  ];
}

function storeLines(shape: Shape): string[] {
  return times(shape.vectors, (vector) => {
    const at = vector * 128, a = sumOf(shape, vector, 0), b = sumOf(shape, vector, 1);
    if (shape.queries === 1) return [`addOne(o + ${at}, factors, ${a});`];
    return [
      `addTwo(o + ${at}, factors, low(${a}, ${b}));`,
      `addTwo(o + ${at + 64}, factors, high(${a}, ${b}));`,
    ];
  }).flat();
}

function writeKernel(shape: Shape): string {
  const { queries, vectors, steps } = shape;
  const lines = [
    ...times(queries * vectors, (at) => `let c${at} = f32x4.splat(0);`),
    `const end = p + (count << 5);`,
    ...(steps > 1
      ? [
        `const whole = p + ((count & ~${steps - 1}) << 5);`,
        ...loopLines(shape, steps, "whole"),
      ]
      : []),
    ...loopLines(shape, 1, "end"),
    queries === 1
      ? "const factors = v128.load_splat<f32>(alpha);"
      : "const factors = v128.load64_zero(alpha);",
    ...storeLines(shape),
  ];
  return [
    `// ${
      vectors * 4
    } columns of o[columns][8], ${queries} lanes of it, times alpha, plus v[count][columns]^T p[count][8]; rows`,
    "// of v `row` bytes apart.",
    `export function sumRows${queries}x${vectors}(`,
    "  v: usize, row: usize, p: usize, count: usize, o: usize, alpha: usize,",
    "): void {",
    ...indent(lines),
    "}",
  ].join("\n");
}

/** Names of the sums, and of pointers to the first row, of groups of four keys. */
function groupsOf(keys: number): { sum: string; first: string }[] {
  return times(keys / 4, (group) => ({ sum: `c${group}`, first: `k${group}` }));
}

/**
 * Scores of one query and some rows of keys, turned in registers. The sums are chains in the order of the dimensions, as
 * of packed keys: four of them at a time hide how long a multiply-add takes. A pointer for each four keys, and the bytes
 * to those beside it, are what registers hold: sixteen pointers are not.
 */
function writeDot(keys: number): string {
  const groups = groupsOf(keys), isWhole = keys > 4;
  const rows = (first: string) => [first, ...times(3, (index) => `${first} + row${index + 1}`)];
  const steps = isWhole ? ["const row1 = row, row2 = row * 2, row3 = row * 3;"] : [
    "const row1 = count > 1 ? row : 0, row2 = row1 + (count > 2 ? row : 0), row3 = row2 + (count > 3 ? row : 0);",
  ];
  const four = groups.flatMap(({ sum, first }) => [
    "{",
    ...indent([
      ...rows(first).map((at, index) => `const x${index} = v128.load(${at});`),
      "const a = low(x0, x1), b = low(x2, x3), c = high(x0, x1), d = high(x2, x3);",
      `${sum} = fma(firstHalves(a, b), q0, ${sum});`,
      `${sum} = fma(secondHalves(a, b), q1, ${sum});`,
      `${sum} = fma(firstHalves(c, d), q2, ${sum});`,
      `${sum} = fma(secondHalves(c, d), q3, ${sum});`,
    ]),
    "}",
  ]);
  const one = groups.flatMap(({ sum, first }) => {
    const [a, b, c, d] = rows(first);
    return [
      "{",
      ...indent([
        `let x = v128.load32_zero(${a});`,
        `x = v128.load32_lane(${b}, x, 1);`,
        `x = v128.load32_lane(${c}, x, 2);`,
        `${sum} = fma(v128.load32_lane(${d}, x, 3), q0, ${sum});`,
      ]),
      "}",
    ];
  });
  const advance = (bytes: number) => groups.map(({ first }) => `${first} += ${bytes};`);
  const lines = [
    ...steps,
    ...groups.map(({ first }, index) =>
      `let ${first} = ${index === 0 ? "k" : `k${index - 1} + (row << 2)`};`
    ),
    ...groups.map(({ sum }) => `let ${sum} = f32x4.splat(0);`),
    "const whole = q + ((dim & ~3) << 5), end = q + (dim << 5);",
    "for (; q < whole; q += 128) {",
    ...indent([
      ...times(4, (d) => `const q${d} = v128.load_splat<f32>(q, ${d * 32});`),
      ...four,
      ...advance(16),
    ]),
    "}",
    "for (; q < end; q += 32) {",
    ...indent(["const q0 = v128.load_splat<f32>(q);", ...one, ...advance(4)]),
    "}",
    ...groups.map(({ sum }, group) => `storeEach(s + ${group * 128}, ${sum});`),
  ];
  const count = isWhole ? "" : ", count: usize";
  return [
    `// s[${keys}][8] = rows of k, \`row\` bytes apart, times one query q[dim][8]${
      isWhole ? "." : "; rows past `count` repeat the last."
    }`,
    `export function dotRows${keys}(k: usize, row: usize, q: usize, s: usize, dim: usize${count}): void {`,
    ...indent(lines),
    "}",
  ].join("\n");
}

/** The generated file. Two keys in a turn pay where there is one query, and take 1.7 times as long where there are two. */
export function narrowKernelsFile(): string {
  const shapes: readonly Shape[] = [
    { queries: 1, vectors: 8, steps: 2 },
    { queries: 1, vectors: 1, steps: 1 },
    { queries: 2, vectors: 4, steps: 1 },
    { queries: 2, vectors: 1, steps: 1 },
  ];
  return [
    "// Generated by tools/narrow_kernels.ts, do not edit.",
    "",
    'import { fma } from "../fma";',
    'import { firstHalves, high, low, secondHalves } from "../layout";',
    'import { addOne, addTwo, storeEach } from "./products";',
    "",
    [...[16, 4].map(writeDot), ...shapes.map(writeKernel)].join("\n\n"),
    "",
  ].join("\n");
}
