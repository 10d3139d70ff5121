/**
 * Writes the micro-kernels of linear layers, `asm/nn/products.gen.ts`: each sum is a local with a name of its own, as in
 * `tools/microkernels.ts`.
 *
 * A dword is one f32, two integers of 16 bits or four bytes along the depth. Rows are packed four by four,
 * `[dwords][4]`, and weights in panels of eight outputs, so that outputs are lanes: rows leave a tile as they lie, and a
 * bias is a vector. Of four rows' dwords, which are one vector, three are shuffled out and the fourth is loaded again.
 *
 * What was tried and lost, in Deno: two steps of the depth a turn (f32 falls from 48 to 25 GFLOPS), tiles of 8 x 8 and
 * 4 x 12, splats of rows that are not packed, calls in a kernel. What lives through long code V8 spills where it is
 * defined, in the loop: so that activations read a tile back.
 *
 * @module
 */

import { indent, times } from "./lines.ts";

/** How products are formed, and what weights are when they come. */
type Form =
  | "f32"
  | "f32_f16"
  | "f32_bf16"
  | "f32_int16"
  | "f32_int8"
  | "int16"
  | "int16_int8"
  | "int8";

/** Rows and vectors of four outputs of a tile. */
interface Shape {
  readonly form: Form;
  readonly rows: 1 | 4;
  readonly vectors: number;
}

/** A line for each sum, by its row and its vector. */
function sums({ rows, vectors }: Shape, make: (row: number, vector: number) => string): string[] {
  return times(rows * vectors, (at) => make(Math.floor(at / vectors), at % vectors));
}

const sumOf = (row: number, vector: number) => `c${row}_${vector}`;

/** Where a sum waits in memory. */
const waiting = ({ vectors }: Shape, row: number, vector: number) => 16 * (row * vectors + vector);

/** Dwords that a step has of each row, and bytes of a panel that it reads. */
const steps: Readonly<Record<Form, readonly [dwords: number, bytes: number]>> = {
  f32: [1, 32],
  f32_f16: [1, 16],
  f32_bf16: [1, 16],
  f32_int16: [2, 32],
  f32_int8: [2, 16],
  int16: [1, 32],
  int16_int8: [1, 16],
  int8: [1, 32],
};

/** Weights of a step as products take them: vectors for each of its dwords, by their names. */
function weightLines({ form, vectors }: Shape): string[] {
  const panels = vectors / 2;
  if (form === "int8") {
    return times(panels, (panel) => [
      `const p${panel} = v128.load(w${panel}), r${panel} = v128.load(w${panel}, 16);`,
      `const b0_${2 * panel} = lowFours(p${panel}, r${panel}), b0_${
        2 * panel + 1
      } = highFours(p${panel}, r${panel});`,
    ]).flat();
  }
  return times(vectors, (vector) => {
    const panel = vector >> 1, second = vector & 1, w = `w${panel}`;
    if (form === "f32" || form === "int16") {
      return [`const b0_${vector} = v128.load(${w}, ${16 * second});`];
    }
    if (form === "f32_f16") {
      return [`const b0_${vector} = readFour<finiteF16>(${w} + ${8 * second});`];
    }
    if (form === "f32_bf16") return [`const b0_${vector} = readFour<bf16>(${w} + ${8 * second});`];
    if (form === "int16_int8") {
      return [`const b0_${vector} = v128.load_ext<i8>(${w}, ${8 * second});`];
    }
    const pairs = form === "f32_int16"
      ? `v128.load(${w}, ${16 * second})`
      : `v128.load_ext<i8>(${w}, ${8 * second})`;
    return [
      `const p${vector} = ${pairs};`,
      `const b0_${vector} = f32x4.mul(firstOf(p${vector}), d${vector});`,
      `const b1_${vector} = f32x4.mul(secondOf(p${vector}), d${vector});`,
    ];
  }).flat();
}

function multiply(form: Form, a: string, b: string, c: string): string {
  if (form === "int8") return `addFours(${b}, ${a}, ${c}, ones)`;
  return form.startsWith("int16") ? `addPairs(${b}, ${a}, ${c})` : `fma(${b}, ${a}, ${c})`;
}

/** One step of the depth. */
function stepLines(shape: Shape): string[] {
  const { form, rows, vectors } = shape, [dwords, bytes] = steps[form];
  const splat = (dword: number, row: number) =>
    rows === 1 || row === 3
      ? `v128.load_splat<u32>(a, ${4 * (dword * rows + row)})`
      : `v128.shuffle<i32>(x${dword}, x${dword}, ${new Array(4).fill(row).join(", ")})`;
  return [
    ...weightLines(shape),
    ...(rows === 4
      ? times(dwords, (dword) => `const x${dword} = v128.load(a, ${16 * dword});`)
      : []),
    ...times(dwords, (dword) =>
      times(rows, (row) => [
        "{",
        ...indent([
          `const s = ${splat(dword, row)};`,
          ...times(vectors, (vector) => {
            const sum = sumOf(row, vector);
            return `${sum} = ${multiply(form, "s", `b${dword}_${vector}`, sum)};`;
          }),
        ]),
        "}",
      ])).flat(2),
    `a += ${4 * rows * dwords};`,
    ...times(vectors / 2, (panel) => `w${panel} += ${bytes};`),
  ];
}

function loopLines(shape: Shape, end: string): string[] {
  return ["do {", ...indent(stepLines(shape)), `} while (a < ${end});`];
}

/** Vectors for eight outputs of each panel. */
function panelLines(
  { vectors }: Shape,
  name: string,
  at: string,
  step: string,
  offset = 0,
): string[] {
  return times(vectors, (vector) => {
    const panel = vector >> 1, from = panel === 0 ? at : `${at} + ${panel} * ${step}`;
    return `const ${name}${vector} = v128.load(${from}, ${offset + 16 * (vector & 1)});`;
  });
}

/** A number of each row in all lanes, of a vector of four rows' or of the only one's. */
function ofRow({ rows }: Shape, vector: string, row: number, offset: number): string {
  return rows === 1
    ? `v128.load_splat<f32>(f, ${offset})`
    : `v128.shuffle<i32>(${vector}, ${vector}, ${new Array(4).fill(row).join(", ")})`;
}

const zeroes = (shape: Shape, declare = "let ") =>
  sums(shape, (row, vector) => `${declare}${sumOf(row, vector)} = i32x4.splat(0);`);

/** Sums times the scales of their rows, and the bias. */
function scaledLines(shape: Shape, sum: (row: number, vector: number) => string): string[] {
  const { rows } = shape;
  return [
    ...panelLines(shape, "e", "bias", "32"),
    ...(rows === 1 ? [] : ["const g = v128.load(f);"]),
    ...times(rows, (row) => `const s${row} = ${ofRow(shape, "g", row, 0)};`),
    ...sums(
      shape,
      (row, vector) => `${sumOf(row, vector)} = fma(${sum(row, vector)}, s${row}, e${vector});`,
    ),
    `f += ${4 * rows};`,
  ];
}

/** Sums of a block of 32, which are folded into those that wait. */
function blockLines(shape: Shape): string[] {
  const { form, rows } = shape, dwordsOfBlock = form === "int8" ? 8 : form === "f32_int8" ? 32 : 16;
  const float = (row: number, vector: number) => `f32x4.convert_i32x4_s(${sumOf(row, vector)})`;
  const add = (row: number, vector: number) => {
    const at = waiting(shape, row, vector), before = `v128.load(sums, ${at})`;
    const product = form === "int8"
      ? `fma(k${vector}, l${row}, fma(f32x4.mul(${
        float(row, vector)
      }, d${vector}), s${row}, ${before}))`
      : `fma(${float(row, vector)}, d${vector}, ${before})`;
    return `v128.store(sums, ${product}, ${at});`;
  };
  return [
    ...zeroes(shape),
    `const stop = a + ${4 * rows * dwordsOfBlock};`,
    ...loopLines(shape, "stop"),
    ...panelLines(shape, "d", "d", "scaleStep"),
    ...(form === "int8"
      ? [
        ...panelLines(shape, "k", "d", "scaleStep", 32),
        ...(rows === 1 ? [] : ["const g = v128.load(f), h = v128.load(f, 16);"]),
        ...times(rows, (row) => `const s${row} = ${ofRow(shape, "g", row, 0)};`),
        ...times(rows, (row) => `const l${row} = ${ofRow(shape, "h", row, 4)};`),
      ]
      : []),
    ...sums(shape, add),
    "d += 64;",
    ...(form === "int8" ? [`f += ${8 * rows};`] : []),
  ];
}

/** What a tile does between its first address and its sums. */
function tileLines(shape: Shape): string[] {
  const { form } = shape,
    waits = (what: (vector: number) => string) =>
      sums(
        shape,
        (row, vector) => `v128.store(sums, ${what(vector)}, ${waiting(shape, row, vector)});`,
      );
  const taken = (row: number, vector: number) => `v128.load(sums, ${waiting(shape, row, vector)})`;
  switch (form) {
    case "f32":
    case "f32_f16":
    case "f32_bf16":
      return [
        ...panelLines(shape, "e", "bias", "32"),
        ...sums(shape, (row, vector) => `let ${sumOf(row, vector)} = e${vector};`),
        ...loopLines(shape, "end"),
      ];
    case "f32_int16":
      return [
        ...panelLines(shape, "e", "bias", "32"),
        ...panelLines(shape, "d", "scales", "scaleStep"),
        ...sums(shape, (row, vector) => `let ${sumOf(row, vector)} = e${vector};`),
        ...loopLines(shape, "end"),
      ];
    case "f32_int8":
      return [
        ...panelLines(shape, "e", "bias", "32"),
        "let d = scales;",
        ...sums(shape, (row, vector) => `let ${sumOf(row, vector)} = e${vector};`),
        "do {",
        ...indent([
          ...panelLines(shape, "d", "d", "scaleStep"),
          "const stop = a + 128;",
          ...loopLines(shape, "stop"),
          "d += 64;",
        ]),
        "} while (a < end);",
      ];
    case "int16":
      return [
        ...zeroes(shape),
        ...loopLines(shape, "end"),
        ...panelLines(shape, "d", "scales", "scaleStep"),
        ...scaledLines(
          shape,
          (row, vector) => `f32x4.mul(f32x4.convert_i32x4_s(${sumOf(row, vector)}), d${vector})`,
        ),
      ];
    case "int16_int8":
      return [
        ...waits(() => "f32x4.splat(0)"),
        "let d = scales;",
        "do {",
        ...indent(blockLines(shape)),
        "} while (a < end);",
        ...sums(shape, (row, vector) => `let ${sumOf(row, vector)} = f32x4.splat(0);`),
        ...scaledLines(shape, taken),
      ];
    case "int8":
      return [
        ...panelLines(shape, "e", "bias", "32"),
        ...waits((vector) => `e${vector}`),
        "let d = scales;",
        "do {",
        ...indent(blockLines(shape)),
        "} while (a < end);",
        ...sums(shape, (row, vector) => `const ${sumOf(row, vector)} = ${taken(row, vector)};`),
      ];
  }
}

/** What a form reads of the record beside what all read. */
function fieldLines({ form, vectors }: Shape): string[] {
  const isInteger = form.startsWith("int"), hasScales = isInteger || form.startsWith("f32_int");
  const waits = form === "int16_int8" || form === "int8";
  return [
    ...(hasScales ? ["const scales = at.scales;"] : []),
    ...(hasScales && vectors > 2 ? ["const scaleStep = at.scaleStep;"] : []),
    ...(isInteger ? ["let f = at.rowScales;"] : []),
    ...(waits ? ["const sums = at.sums;"] : []),
    ...(form === "int8" ? ["const ones = v128.load(ONES);"] : []),
    ...(vectors > 2 ? ["const panel = at.panel;"] : []),
  ];
}

function writeKernel(shape: Shape): string {
  const { form, rows, vectors } = shape;
  const pointers = times(
    vectors / 2,
    (panel) => `let w${panel} = ${panel === 0 ? "at.b" : `at.b + ${panel} * panel`};`,
  );
  const lines = [
    "const bias = at.bias, row = at.row;",
    ...fieldLines(shape),
    "let a = at.a, out = at.out;",
    ...(rows === 1 ? [] : ["const outRow = at.outRow;", "let tiles = at.tiles;", "do {"]),
    ...(rows === 1 ? (lines: string[]) => lines : indent)([
      ...pointers,
      `const end = a + ${rows === 1 ? "row" : `${rows} * row`};`,
      ...tileLines(shape),
      ...sums(
        shape,
        (row, vector) =>
          `v128.store(out${row === 0 ? "" : ` + ${row} * outRow`}, ${sumOf(row, vector)}, ${
            16 * vector
          });`,
      ),
      ...(rows === 1 ? [] : [`out += ${rows} * outRow;`]),
    ]),
    ...(rows === 1 ? [] : ["} while (--tiles);"]),
  ];
  return [
    `export function multiply_${form}_${rows}x${vectors * 4}(at: Product): void {`,
    ...indent(lines),
    "}",
  ].join("\n");
}

/** The generated file. */
export function linearKernelsFile(): string {
  const tile = { rows: 4, vectors: 2 } as const, row = { rows: 1, vectors: 8 } as const;
  const shapes: readonly Shape[] = [
    ...(["f32", "int16", "int16_int8", "int8"] as const).map((form) => ({ form, ...tile })),
    ...(Object.keys(steps) as Form[]).map((form) => ({ form, ...row })),
  ];
  return [
    "// Generated by tools/linear_kernels.ts, do not edit.",
    "//",
    "// Products of packed rows and panels of weights, which are stored with the bias: see tools/linear_kernels.ts.",
    "",
    'import { fma } from "../fma";',
    'import { addPairs } from "../integer/multiply";',
    'import { bf16, finiteF16, readFour } from "../storage";',
    'import { addFours, firstOf, highFours, lowFours, ONES, Product, secondOf } from "./product";',
    "",
    shapes.map(writeKernel).join("\n\n"),
    "",
  ].join("\n");
}
