/**
 * Writes the micro-kernels of the two products, `asm/dot.gen.ts` and `asm/accumulate.gen.ts`.
 * AssemblyScript never unrolls and has no arrays of registers, so each accumulator is a local with
 * a name of its own.
 *
 * Both products of attention are the same loop: per step some elements of A, each multiplied with
 * one or more vectors of B. `deno task bench:search` races shapes of it.
 *
 * @module
 */

import { indent, times } from "./lines.ts";

/** A register tile. */
export interface Shape {
  /** Elements of A per step: rows of the tile, a multiple of 4. */
  readonly rows: number;
  /** Elements of B per step: columns of the tile, a multiple of 4. */
  readonly columns: number;
  /**
   * How many of four elements of A are loaded and splat by one instruction each. The others come from
   * one load of all four, whose lanes are shuffled: 0 needs few loads, 4 no shuffles.
   */
  readonly splats: number;
  /** Steps of the inner dimension a turn of the loop. */
  readonly steps: number;
}

/** A tile and the loop around it. */
interface Kernel {
  readonly name: string;
  readonly comment: string;
  readonly parameters: string;
  readonly shape: Shape;
  /** What comes before the loop. */
  readonly begin?: readonly string[];
  /** The operands' pointers; B's end stops the loop. */
  readonly a: string | readonly string[];
  readonly b: string | readonly string[];
  readonly depth: string;
  /** Bytes from one step of A to the next. */
  readonly aStride: string;
  readonly target: string;
  readonly setup: readonly string[];
  /** What a sum becomes where it is stored. */
  last(sum: string, place: string, vector: number): string;
  /** Where a sum is stored; one row behind the other by default. */
  place?(row: number, vector: number): string;
  /** Where B ends; it is `depth` steps from its beginning by default. */
  readonly end?: string;
  /** Puts the loop, and what stores its sums, into others. */
  within?(lines: readonly string[]): readonly string[];
}

/** Brings one element of A into all lanes. Each four of A's are elsewhere where it has several pointers. */
function loadLines({ shape, a }: Kernel, row: number): string[] {
  const group = row >> 2, lane = row & 3;
  const [from, byte] = typeof a === "string" ? [a, row * 4] : [a[group], lane * 4];
  if (lane >= 4 - shape.splats) return [`const a${row} = v128.load_splat<f32>(${from}, ${byte});`];
  const load = lane === 0 ? [`const v${group} = v128.load(${from}, ${byte});`] : [];
  const lanes = new Array(4).fill(lane).join(", ");
  return [...load, `const a${row} = v128.shuffle<f32>(v${group}, v${group}, ${lanes});`];
}

/** One step of the inner dimension. */
function stepLines(kernel: Kernel): string[] {
  const { a, b, aStride, shape } = kernel;
  const vectors = shape.columns / 4, pointers = [b].flat(), each = vectors / pointers.length;
  return [
    ...times(vectors, (vector) => {
      const pointer = pointers[Math.floor(vector / each)];
      return `const b${vector} = v128.load(${pointer}, ${vector % each * 16});`;
    }),
    ...times(shape.rows, (row) => [
      ...loadLines(kernel, row),
      ...times(
        vectors,
        (vector) => `c${row}_${vector} = fma(a${row}, b${vector}, c${row}_${vector});`,
      ),
    ]).flat(),
    ...[a].flat().map((pointer) => `${pointer} += ${aStride};`),
    ...pointers.map((pointer) => `${pointer} += ${each * 16};`),
  ];
}

function writeKernel(kernel: Kernel): string {
  const { target, depth, shape } = kernel, [b, ...others] = [kernel.b].flat();
  const each = (make: (row: number, vector: number) => string) =>
    times(shape.rows, (row) => times(shape.columns / 4, (vector) => make(row, vector))).flat();
  const step = stepLines(kernel);
  // Steps in blocks of their own: each has its own names.
  const turn = shape.steps === 1
    ? step
    : times(shape.steps, () => ["{", ...indent(step), "}"]).flat();
  const { within = (inner) => inner, end } = kernel;
  const sums = [
    ...each((row, vector) => `let c${row}_${vector} = f32x4.splat(0);`),
    ...(end ? [] : [`const end = ${b} + ${depth} * ${shape.columns * 4 / (others.length + 1)};`]),
    `do {`,
    ...indent(turn),
    `} while (${b} < ${end ?? "end"});`,
    ...kernel.setup,
    ...each((row, vector) => {
      const byte = row * shape.columns * 4 + vector * 16;
      const place = kernel.place?.(row, vector) ?? `${target}, ${byte}`;
      const last = kernel.last(`c${row}_${vector}`, place, vector),
        [pointer, at] = place.split(", ");
      return `v128.store(${pointer}, ${last}, ${at});`;
    }),
  ];
  return [
    `// ${kernel.comment}`,
    `export function ${kernel.name}(${kernel.parameters}): void {`,
    ...indent([...kernel.begin ?? [], ...within(sums)]),
    `}`,
  ].join("\n");
}

/** `<op>_<dtype>_<rows>x<columns>`, and how many of four elements of A are splat by loads. */
function nameOf(op: string, { rows, columns, splats }: Shape): string {
  return `${op}_f32_${rows}x${columns}${splats > 0 ? `_splat${splats}` : ""}`;
}

function dot(shape: Shape): Kernel {
  const { rows, columns } = shape;
  return {
    name: nameOf("dot", shape),
    comment: `s[${rows} keys][${columns} queries] = k[depth][${rows}]^T q[depth][${columns}]; ` +
      "depth >= 1.",
    parameters: "k: usize, q: usize, s: usize, depth: usize",
    shape,
    a: "k",
    b: "q",
    depth: "depth",
    aStride: `${rows * 4}`,
    target: "s",
    setup: [],
    last: (sum) => sum,
  };
}

function accumulate(shape: Shape): Kernel {
  const { rows, columns } = shape;
  return {
    name: nameOf("accumulate", shape),
    comment:
      `o[${rows}][${columns} queries] = o * alpha + v[keys][${rows}]^T p[keys][${columns}]; ` +
      `keys >= 1,\n// rows of v \`stride\` bytes apart.`,
    parameters: "v: usize, stride: usize, p: usize, o: usize, alpha: usize, keys: usize",
    shape,
    a: "v",
    b: "p",
    depth: "keys",
    aStride: "stride",
    target: "o",
    setup: times(
      columns / 4,
      (vector) => `const alpha${vector} = v128.load(alpha, ${vector * 16});`,
    ),
    // The run is summed by itself: a long row's o has no place for its last bits.
    last: (sum, place, vector) => `fma(v128.load(${place}), alpha${vector}, ${sum})`,
  };
}

/** The same for as many groups of keys as there are, one behind the other. */
function dotGroups(shape: Shape): Kernel {
  const { rows, columns } = shape, bytes = rows * columns * 4;
  return {
    ...dot(shape),
    comment:
      `s[groups][${rows} keys][${columns} queries] = k[groups][depth][${rows}]^T q[depth][${columns}]; ` +
      "depth >= 1.",
    parameters: "k: usize, q: usize, s: usize, depth: usize, groups: usize",
    b: "at",
    end: "end",
    within: (lines) => [
      `const end = q + depth * ${columns * 4};`,
      `for (const last = s + groups * ${bytes}; s < last; s += ${bytes}) {`,
      ...indent(["let at = q;", ...lines]),
      "}",
    ],
  };
}

/** The same for all columns of o, run by run. */
function accumulateGroups(shape: Shape): Kernel {
  const { rows, columns } = shape;
  return {
    ...accumulate(shape),
    comment:
      `o[columns][${columns} queries] = o * alpha + v^T p[keys][${columns}] for o up to \`last\`, ${rows} columns at a ` +
      "time; keys >= 1. Each run of\n// keys is summed by itself.",
    parameters: "v: Columns, p: usize, o: usize, last: usize, alpha: usize",
    a: "x",
    b: "at",
    end: "end",
    aStride: "stride",
    within: (lines) => [
      "const stride = v.row, columns = v.columns, all = p + (v.count << 5);",
      "const first = min(p + (firstRun(v.skipped, RUN) << 5), all);",
      `for (let from = v.at; o < last; o += ${rows * columns * 4}, from += columns) {`,
      ...indent([
        "let x = from, at = p, by = alpha;",
        "for (let end = first; at < all; end = min(end + (RUN << 5), all), by = ONES) {",
        ...indent(lines.map((line) => line.replace("v128.load(alpha,", "v128.load(by,"))),
        "}",
      ]),
      "}",
    ],
  };
}

/** The same for two groups of four keys, which are `others` bytes apart. */
function dotWide(shape: Shape): Kernel {
  const { rows, columns } = shape;
  return {
    ...dot(shape),
    comment: `s[${rows} keys][${columns} queries] = k[2][depth][4]^T q[depth][${columns}]; ` +
      "depth >= 1, `others` bytes from one four keys to the next.",
    parameters: "k: usize, others: usize, q: usize, s: usize, depth: usize",
    begin: ["let k1 = k + others;"],
    a: ["k", "k1"],
    aStride: "16",
  };
}

/** The same for two groups of four columns. */
function accumulateWide(shape: Shape): Kernel {
  const { rows, columns } = shape;
  return {
    ...accumulate(shape),
    comment:
      `o[${rows}][${columns} queries] = o * alpha + v[2][keys][4]^T p[keys][${columns}] of eight ` +
      "columns from `x` on; keys >= 1.",
    parameters: "v: Columns, x: usize, p: usize, o: usize, alpha: usize, keys: usize",
    begin: ["const stride = v.row;", "let x1 = x + v.columns;"],
    a: ["x", "x1"],
    // All loads before the first store, or V8 joins none of them.
    setup: [
      ...accumulate(shape).setup,
      ...times(rows * columns / 4, (at) => {
        const sum = `c${at >> 1}_${at & 1}`;
        return `${sum} = fma(v128.load(o, ${at * 16}), alpha${at & 1}, ${sum});`;
      }),
    ],
    last: (sum) => sum,
  };
}

/** Where a sum of two panels is: names of what is of each, `first` and `second`, and of rows from the fifth on with a 1. */
function placeInPair([first, second]: readonly [string, string]) {
  return (row: number, vector: number) =>
    `${vector < 2 ? first : second}${row < 4 ? "" : "1"}, ${(row & 3) * 32 + (vector & 1) * 16}`;
}

/** The product of keys with the queries of two panels; rows from the fifth on are keys at `k1`, whose scores come to `s1`. */
function dotPair(shape: Shape): Kernel {
  const { rows } = shape, isLong = rows > 4;
  return {
    ...dot(shape),
    comment:
      `s[${rows} keys][2 panels][8 queries] = k[depth][${rows}]^T q[2][depth][8]; depth >= 1.`,
    parameters: `k: usize, ${isLong ? "k1: usize, " : ""}s: usize, ${isLong ? "s1: usize, " : ""}` +
      "depth: usize, pair: Pair",
    begin: [
      "let q = pair.left, r = pair.right;",
      `const t = s + pair.apart${isLong ? ", t1 = s1 + pair.apart" : ""};`,
    ],
    a: isLong ? ["k", "k1"] : "k",
    aStride: "16",
    b: ["q", "r"],
    place: placeInPair(["s", "t"]),
  };
}

/** Values times the weights of two panels; rows from the fifth on are columns at `x1`, whose sums are at `o1`. */
function accumulatePair(shape: Shape): Kernel {
  const { rows } = shape, isLong = rows > 4, place = placeInPair(["o", "u"]);
  return {
    ...accumulate(shape),
    comment: `o[${rows}][2 panels][8 queries] = o * alpha + v[keys][${rows}]^T p[2][keys][8]; ` +
      "keys >= 1.",
    parameters: `x: usize, ${isLong ? "x1: usize, " : ""}o: usize, ${isLong ? "o1: usize, " : ""}` +
      "keys: usize, pair: Pair",
    begin: [
      "let p = pair.left, r = pair.right;",
      `const stride = pair.stride, u = o + pair.apart${isLong ? ", u1 = o1 + pair.apart" : ""};`,
    ],
    a: isLong ? ["x", "x1"] : "x",
    b: ["p", "r"],
    place,
    // All loads before the first store, or V8 joins none of them.
    setup: [
      "const alpha = pair.leftAlpha, beta = pair.rightAlpha;",
      ...["alpha", "beta"].flatMap((by, panel) =>
        times(2, (half) => `const alpha${2 * panel + half} = v128.load(${by}, ${half * 16});`)
      ),
      ...times(rows, (row) =>
        times(4, (vector) => {
          const sum = `c${row}_${vector}`;
          return `${sum} = fma(v128.load(${place(row, vector)}), alpha${vector}, ${sum});`;
        })).flat(),
    ],
    last: (sum) => sum,
  };
}

function writeFile(kernels: readonly Kernel[], imports = [`import { fma } from "./fma";`]): string {
  return [
    "// Generated by tools/microkernels.ts, do not edit.",
    "",
    ...imports,
    "",
    kernels.map(writeKernel).join("\n\n"),
    "",
  ].join("\n");
}

/** The first product's kernel of any shape, as a source file. */
export function dotFile(...shapes: readonly Shape[]): string {
  return writeFile(shapes.map(dot));
}

/** What a shape's kernel of the first product is called. */
export function dotName(shape: Shape): string {
  return nameOf("dot", shape);
}

/**
 * The shapes that the library is built with, one for each way that engines load. GFLOPS of the tile
 * alone (relaxed; simd for JavaScriptCore), by how many of four elements are splat while loading:
 *
 * |                                                     | 0  | 1  | 4  |
 * | --------------------------------------------------- | -- | -- | -- |
 * | V8 that checks bounds of each load (Deno, workerd)  | 43 | 47 | 34 |
 * | V8 that relies on guard pages (Node, Chromium)      | 44 | 48 | 50 |
 * | JavaScriptCore, which splats slowly                 | 34 | 29 | 23 |
 *
 * `chooseSplats()` picks one while loading; the bits are the same.
 */
export const shapes: readonly Shape[] = [0, 1, 4].map((splats) => ({
  rows: 4,
  columns: 8,
  splats,
  steps: 1,
}));

/** Of one panel, and of two. */
const wideShape: Shape = { rows: 8, columns: 8, splats: 4, steps: 1 };
const pairShapes: readonly Shape[] = [4, 6].map((rows) => ({
  rows,
  columns: 16,
  splats: 4,
  steps: 1,
}));

/** The generated files by path from the project's root. */
export function microkernelFiles(): Record<string, string> {
  const fma = `import { fma } from "../fma";`;
  return {
    "asm/wide/dot.gen.ts": writeFile([dotWide(wideShape), ...pairShapes.map(dotPair)], [
      fma,
      `import { Pair } from "./pair";`,
    ]),
    "asm/wide/accumulate.gen.ts": writeFile(
      [accumulateWide(wideShape), ...pairShapes.map(accumulatePair)],
      [fma, `import { Columns } from "../record";`, `import { Pair } from "./pair";`],
    ),
    "asm/dot.gen.ts": writeFile(shapes.map(dotGroups)),
    "asm/accumulate.gen.ts": writeFile(shapes.map(accumulateGroups), [
      `import { fma } from "./fma";`,
      `import { firstRun, ONES, RUN } from "./products";`,
      `import { Columns } from "./record";`,
    ]),
  };
}
