/**
 * Writes the micro-kernels of products by integers, `asm/integer/*.gen.ts`: twins of those of f32
 * (`tools/microkernels.ts`), whose left operand is one word of two 16-bit integers or of four bytes, and the pass that
 * makes integers of weights.
 *
 * @module
 */

import { indent, times } from "./lines.ts";

/** How words are multiplied: `asm/integer/multiply.ts` has the functions. */
interface Multiplication {
  /** The element type in kernels' names. */
  readonly dtype: string;
  /** Says what one word times another adds to a sum. */
  add(a: string, b: string, c: string): string;
  readonly setup: readonly string[];
  /** How many of four words are splat while loading. */
  readonly splats: readonly number[];
  /** Whether queries are counted from their lowest number. */
  readonly hasLevels: boolean;
}

// Ones come from memory: as a constant they would be made anew at every use.
const loadOnes = ["const ones = v128.load(ONES);"];

/**
 * The fused form is for V8 alone, where the processor has it: of how words are splat it needs no more than V8's
 * two ways.
 */
const multiplications: readonly Multiplication[] = [
  {
    dtype: "i16",
    add: (a, b, c) => `addPairs(${a}, ${b}, ${c})`,
    setup: [],
    splats: [0, 1, 4],
    hasLevels: false,
  },
  {
    dtype: "i8",
    add: (a, b, c) => `addFours(${a}, ${b}, ${c}, ones)`,
    setup: loadOnes,
    splats: [0, 1, 4],
    hasLevels: true,
  },
  {
    dtype: "i8_fused",
    add: (a, b, c) => `addFused(${a}, ${b}, ${c})`,
    setup: [],
    splats: [1, 4],
    hasLevels: true,
  },
];

/** Bytes that are kept as 16 bits. */
const bytesInPairs: Multiplication = {
  ...multiplications[0],
  ...{ dtype: "i16_level", hasLevels: true },
};

const rows = 4;

/** For every row and both vectors. */
function each<T>(make: (row: number, vector: number) => T): T[] {
  return times(rows, (row) => times(2, (vector) => make(row, vector))).flat();
}

function both<T>(make: (vector: number) => T): T[] {
  return times(2, make);
}

/** Brings one word of the left operand into all lanes. */
function loadLines(row: number, splats: number): string[] {
  if (row >= rows - splats) return [`const a${row} = v128.load32_splat(a, ${row * 4});`];
  const load = row === 0 ? ["const v0 = v128.load(a);"] : [];
  const lanes = new Array(4).fill(row).join(", ");
  return [...load, `const a${row} = v128.shuffle<i32>(v0, v0, ${lanes});`];
}

/** The loop over words of the sum, which leaves the sums in c0_0 to c3_1. */
function sumLines({ add }: Multiplication, splats: number): string[] {
  return [
    ...each((row, vector) => `let c${row}_${vector} = i32x4.splat(0);`),
    "let at = b;",
    "do {",
    ...indent([
      ...both((vector) => `const b${vector} = v128.load(at, ${vector * 16});`),
      ...times(rows, (row) => [
        ...loadLines(row, splats),
        ...both((vector) => {
          const sum = `c${row}_${vector}`;
          return `${sum} = ${add(`a${row}`, `b${vector}`, sum)};`;
        }),
      ]).flat(),
      "a += 16;",
      "at += 32;",
    ]),
    "} while (at < end);",
  ];
}

function nameOf(op: string, { dtype }: Multiplication, splats: number): string {
  return `${op}_${dtype}_4x8${splats > 0 ? `_splat${splats}` : ""}`;
}

/** What is the product of a key and a query, in steps of the query's scale. */
function scoreOf({ hasLevels }: Multiplication, row: number, vector: number): string {
  const sum = `f32x4.convert_i32x4_s(c${row}_${vector})`;
  return !hasLevels ? sum : `fma(k${row}, zero${vector}, ${sum})`;
}

function dot(kind: Multiplication, splats: number): string {
  const { hasLevels } = kind;
  const loop = [
    ...sumLines(kind, splats),
    ...times(rows, (row) => `const f${row} = v128.load32_splat(scales, ${row * 4});`),
    ...(hasLevels
      ? times(rows, (row) => `const k${row} = v128.load32_splat(sums, ${row * 4});`)
      : []),
    ...each((row, vector) => {
      const sum = `c${row}_${vector}`;
      return `${sum} = f32x4.mul(${scoreOf(kind, row, vector)}, f${row});`;
    }),
    ...each((row, vector) => `v128.store(s, c${row}_${vector}, ${row * 32 + vector * 16});`),
    ...each((row, vector) => `m${vector} = f32x4.pmax(m${vector}, c${row}_${vector});`),
    "scales += 16;",
    ...(hasLevels ? ["sums += 16;"] : []),
  ];
  const lines = [
    "let a = work.a, scales = work.scales;",
    "const b = work.b, end = b + (work.steps << 5), levels = work.levels;",
    ...(hasLevels
      ? [
        "let sums = work.sums;",
        ...both((v) => `const zero${v} = v128.load(levels.zero, ${v * 16});`),
      ]
      : []),
    ...kind.setup,
    "let m0 = f32x4.splat(-Infinity), m1 = m0;",
    "for (let s = work.to, last = s + (work.groups << 7); s < last; s += 128) {",
    ...indent(loop),
    "}",
    ...both((v) => `v128.store(levels.top, m${v}, ${v * 16});`),
  ];
  return [
    `export function ${nameOf("dot", kind, splats)}(work: Work): void {`,
    ...indent(lines),
    "}",
  ].join("\n");
}

function accumulate(kind: Multiplication, splats: number): string {
  const at = (row: number, vector: number) => row * 32 + vector * 16;
  const loop = [
    "let a = v;",
    ...sumLines(kind, splats),
    ...both((v) => `const alpha${v} = v128.load(levels.alpha, ${v * 16});`),
    ...both((v) => `const beta${v} = v128.load(levels.beta, ${v * 16});`),
    ...both((v) => `const weight${v} = v128.load(levels.weight, ${v * 16});`),
    ...times(rows, (row) => `const f${row} = v128.load32_splat(scales, ${row * 4});`),
    ...times(rows, (row) => `const mean${row} = v128.load32_splat(means, ${row * 4});`),
    ...each((row, vector) => {
      const sum = `c${row}_${vector}`;
      const before = `f32x4.mul(v128.load(o, ${at(row, vector)}), alpha${vector})`;
      const level = `fma(mean${row}, weight${vector}, ${before})`;
      return `${sum} = fma(f32x4.convert_i32x4_s(${sum}), f32x4.mul(f${row}, beta${vector}), ${level});`;
    }),
    ...each((row, vector) => `v128.store(o, c${row}_${vector}, ${at(row, vector)});`),
    "v += stride;",
    "scales += 16;",
    "means += 16;",
  ];
  const lines = [
    "let v = work.a, scales = work.scales, means = work.sums;",
    "const b = work.b, end = b + (work.steps << 5), levels = work.levels, stride = work.stride;",
    ...kind.setup,
    "for (let o = work.to, last = o + (work.groups << 7); o < last; o += 128) {",
    ...indent(loop),
    "}",
  ];
  return [
    `export function ${nameOf("accumulate", kind, splats)}(work: Work): void {`,
    ...indent(lines),
    "}",
  ].join("\n");
}

function kernelsFile(
  comment: string,
  kinds: readonly Multiplication[],
  make: (kind: Multiplication, splats: number) => string,
): string {
  const kernels = kinds.flatMap((kind) => kind.splats.map((splats) => make(kind, splats)));
  return [
    "// Generated by tools/integers.ts, do not edit.",
    "//",
    `${comment}\n`,
    'import { fma } from "../fma";',
    'import { addFours, addFused, addPairs, ONES } from "./multiply";',
    'import { Work } from "./work";\n',
    kernels.join("\n\n"),
    "",
  ].join("\n");
}

/**
 * (2^f - 1) / f for |f| <= 1/2, interpolated at Chebyshev's nodes, highest degree first. The constant term of 2^f is thus
 * exactly 1.
 */
function powerCoefficients(degree: number): number[] {
  const nodes = times(degree, (i) => Math.cos(Math.PI * (i + 0.5) / degree) / 2);
  const system = nodes.map((
    x,
  ) => [...times(degree, (power) => x ** power), Math.expm1(x * Math.LN2) / x]);
  for (let i = 0; i < degree; i++) {
    for (let row = 0; row < degree; row++) {
      if (row === i) continue;
      const factor = system[row][i] / system[i][i];
      for (let column = degree; column >= i; column--) {
        system[row][column] -= factor * system[i][column];
      }
    }
  }
  return system.map((row, i) => row[degree] / row[i]).reverse();
}

/** Weights: how many are in a word, in each way that there is, the largest, and of which degree their powers are. */
interface Weights {
  readonly dtype: string;
  readonly keys: readonly (2 | 4)[];
  readonly largest: number;
  readonly degree: number;
}

const weights: readonly Weights[] = [
  { dtype: "i16", keys: [2], largest: 8191, degree: 3 },
  { dtype: "i8", keys: [2, 4], largest: 127, degree: 2 },
];

function tableName({ dtype }: Weights): string {
  return `TABLE_${dtype.toUpperCase()}`;
}

/** Lowest exponent, the number that rounds, the largest weight's exponent, the polynomial and its constant term. */
function tableOf({ largest, degree }: Weights): number[] {
  return [-127, 12582912 + 127, Math.log2(largest), ...powerCoefficients(degree), 1];
}

/**
 * Weights of two keys and eight queries in p0 to p3. Adding 1.5 * 2^23 + 127 leaves n + 127 in the low bits; shifted, they
 * are 2^n, and 0 at the lowest exponent.
 */
function powerLines({ degree }: Weights, table: string, byte: number): string[] {
  const four = <T>(make: (i: number) => T) => times(4, make);
  const constant = (index: number) => `c = v128.load(${table}, ${index * 16});`;
  return [
    constant(2),
    ...four((i) => `const d${i} = f32x4.sub(v128.load(s, ${byte + i * 16}), top${i & 1});`),
    ...four((i) => `let x${i} = fma(d${i}, by${i & 1}, c);`),
    constant(0),
    ...four((i) => `x${i} = f32x4.pmax(x${i}, c);`),
    constant(1),
    ...four((i) => `const t${i} = f32x4.add(x${i}, c);`),
    ...four((i) => `x${i} = f32x4.sub(x${i}, f32x4.sub(t${i}, c));`),
    constant(3),
    ...four((i) => `let p${i} = c;`),
    ...times(degree, (step) => [
      constant(4 + step),
      ...four((i) => `p${i} = fma(p${i}, x${i}, c);`),
    ]).flat(),
    ...four((i) => `p${i} = f32x4.mul(p${i}, i32x4.shl(t${i}, 23));`),
    ...both((v) => `sum${v} = f32x4.add(f32x4.add(sum${v}, p${v}), p${v + 2});`),
    "c = v128.load(ROUND);",
    ...four((i) => `p${i} = f32x4.add(p${i}, c);`),
  ];
}

/** Words of two keys. */
function shortLines(kind: Weights, table: string): string[] {
  return [
    ...powerLines(kind, table, 0),
    ...both((v) => {
      const pair = `i32x4.add(p${v}, i32x4.shl(p${v + 2}, 16))`;
      return `v128.store(p, i32x4.sub(${pair}, c), ${v * 16});`;
    }),
    "s += 64;",
    "p += 32;",
  ];
}

/** Words of four: two and two. */
function byteLines(kind: Weights, table: string): string[] {
  const pair = (v: number) => `i32x4.add(p${v}, i32x4.shl(p${v + 2}, 8))`;
  return [
    "let w0: v128, w1: v128;",
    "{",
    ...indent([...powerLines(kind, table, 0), ...both((v) => `w${v} = ${pair(v)};`)]),
    "}",
    "{",
    ...indent([
      ...powerLines(kind, table, 64),
      ...both((v) => `w${v} = i32x4.sub(i32x4.add(w${v}, i32x4.shl(${pair(v)}, 16)), c);`),
    ]),
    "}",
    ...both((v) => `v128.store(p, w${v}, ${v * 16});`),
    "s += 128;",
    "p += 32;",
  ];
}

function tableLines(kind: Weights): string {
  const numbers = tableOf(kind).map((value) =>
    `  ${new Array(4).fill(Math.fround(value)).join(", ")},`
  );
  return [
    `const ${tableName(kind)}: usize = memory.data<f32>([`,
    ...numbers,
    "], 16);",
  ].join("\n");
}

function weightsKernel(kind: Weights, keys: 2 | 4): string {
  const table = tableName(kind);
  const lines = [
    ...both((v) => `const top${v} = v128.load(levels.top, ${v * 16});`),
    ...both((v) => `const by${v} = v128.load(levels.by, ${v * 16});`),
    "let sum0 = f32x4.splat(0), sum1 = sum0, c: v128;",
    "for (const end = s + (keys << 5); s < end;) {",
    ...indent(keys === 2 ? shortLines(kind, table) : byteLines(kind, table)),
    "}",
    ...both((v) => `v128.store(levels.weight, sum${v}, ${v * 16});`),
  ];
  return [
    `export function weights_${kind.dtype}_${keys}x8(s: usize, p: usize, keys: usize, levels: Levels): void {`,
    ...indent(lines),
    "}",
  ].join("\n");
}

function weightsFile(): string {
  return [
    "// Generated by tools/integers.ts, do not edit.",
    "//",
    "// Scores s[keys][8] become weights 2^(by (s - top)) times the largest integer, in words p[keys / n][8][n], and their sums",
    "// before they were rounded. keys is a multiple of four. 2^f is a polynomial whose error is below what rounding takes: 2e-4",
    "// for 16 bits, 2e-3 for bytes. Adding 2^23 rounds, and leaves the integer in the low bits: shifting the next key's left drops",
    "// its exponent, and one subtraction that of the first. No weight is above the largest, whatever the scores: the difference is",
    "// taken before it is multiplied. What is -inf has a weight of exactly 0.\n",
    'import { fma } from "../fma";',
    'import { Levels } from "./work";\n',
    ...weights.map(({ dtype, largest }) =>
      `export const LARGEST_${dtype.toUpperCase()}: f32 = ${largest};`
    ),
    "\n// 2^23.",
    "const ROUND: usize = memory.data<f32>([8388608, 8388608, 8388608, 8388608], 16);\n",
    weights.flatMap((kind) => [
      tableLines(kind),
      ...kind.keys.map((keys) => weightsKernel(kind, keys)),
    ]).join("\n\n"),
    "",
  ].join("\n");
}

/** The generated files by path from the project's root. */
export function integerFiles(): Record<string, string> {
  return {
    "asm/integer/dot.gen.ts": kernelsFile(
      "// s[4 groups][8 queries] = k[groups][steps][4]^T q[steps][8], in steps of the queries' scales, and their maxima.",
      [...multiplications, bytesInPairs],
      dot,
    ),
    "asm/integer/accumulate.gen.ts": kernelsFile(
      "// o[4 groups][8 queries] = o * alpha + beta * scale * v[groups][steps][4]^T p[steps][8] + weight * mean.",
      multiplications,
      accumulate,
    ),
    "asm/integer/weights.gen.ts": weightsFile(),
  };
}
