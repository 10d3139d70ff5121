/**
 * Writes `asm/scored/kernels.gen.ts`: what each instruction of a score program does, to eight numbers of each key.
 *
 * @module
 */

import { binary, forms, kernelNames, strided } from "../src/wasm/scored/kernels.ts";

type Form = typeof forms[number];

/** What an operation is of A, B and C; D is what is already there. */
const expressions: Readonly<Record<string, string>> = {
  ...{ add: "f32x4.add(A, B)", sub: "f32x4.sub(A, B)", rsub: "f32x4.sub(B, A)" },
  ...{ mul: "f32x4.mul(A, B)", div: "f32x4.div(A, B)", rdiv: "f32x4.div(B, A)" },
  ...{ min: "f32x4.min(A, B)", max: "f32x4.max(A, B)" },
  ...{ iadd: "i32x4.add(A, B)", isub: "i32x4.sub(A, B)", irsub: "i32x4.sub(B, A)" },
  ...{ imul: "i32x4.mul(A, B)", imin: "i32x4.min_s(A, B)", imax: "i32x4.max_s(A, B)" },
  ...{ and: "v128.and(A, B)", or: "v128.or(A, B)", not: "v128.not(A)", copy: "A" },
  ...{ abs: "f32x4.abs(A)", neg: "f32x4.neg(A)", iabs: "i32x4.abs(A)", ineg: "i32x4.neg(A)" },
  ...{ sqrt: "f32x4.sqrt(A)", toF32: "f32x4.convert_i32x4_s(A)" },
  ...{ toI32: "i32x4.trunc_sat_f32x4_s(A)" },
  ...{ tanh: "tanh(A)", exp: "exp(A)", log: "log(A)", sigmoid: "sigmoid(A)" },
  ...{ floorDiv: "f32x4.floor(f32x4.div(A, B))", ifloorDiv: "floorQuotients(A, B)" },
  mod: "f32x4.sub(A, f32x4.mul(B, f32x4.floor(f32x4.div(A, B))))",
  imod: "v128.and(i32x4.sub(A, i32x4.mul(B, floorQuotients(A, B))), i32x4.ne(B, i32x4.splat(0)))",
  ...{ fma: "fma(A, B, C)", select: "v128.bitselect(B, C, A)" },
  asked: "v128.and(A, f32x4.ne(B, f32x4.splat(0)))",
  flip: "v128.xor(A, v128.and(B, i32x4.splat(i32.MIN_VALUE)))",
  halve: "v128.bitselect(f32x4.mul(A, equalShare()), A, f32x4.eq(B, C))",
  clamp: "f32x4.min(f32x4.max(A, B), C)",
  iclamp: "i32x4.min_s(i32x4.max_s(A, B), C)",
  mask: "v128.bitselect(D, f32x4.splat(-Infinity), A)",
};

function comparison(name: string): string {
  const isWhole = name.startsWith("i"), order = isWhole ? name.slice(1) : name;
  if (!isWhole) return `f32x4.${order}(A, B)`;
  return `i32x4.${order}${/^[lg]/.test(order) ? "_s" : ""}(A, B)`;
}

function expressionOf(name: string): string {
  if (!name.startsWith("mask ")) return expressions[name] ?? comparison(name);
  return `v128.bitselect(D, f32x4.splat(-Infinity), ${comparison(name.slice(5))})`;
}

/** A function by its kernel: it does to each what the operation is of four. */
const identifier = (name: string) =>
  `${name.replace(/ (\w)/g, (_, letter) => letter.toUpperCase())}Each`;

/** How an operand is read: before all numbers, of each eight, and where the next are. */
interface Reading {
  readonly before?: string;
  readonly load: string;
  readonly next?: string;
}

function readingOf(operand: string, form: Form): Reading {
  const eight =
    `const ${operand}0 = v128.load(${operand}), ${operand}1 = v128.load(${operand}, 16);`;
  if (form === "held") return { before: eight, load: "" };
  if (form === "step") return { load: eight, next: `${operand} += ${operand}Step;` };
  const one = `const ${operand}0 = v128.load32_splat(${operand}), ${operand}1 = ${operand}0;`;
  return { load: one, next: `${operand} += 4;` };
}

const indented = (lines: readonly (string | undefined)[], indent: string) =>
  lines.filter(Boolean).map((line) => `${indent}${line}\n`).join("");

/** A kernel: how each operand is read. */
function kernel(name: string, expression: string, ways: Readonly<Record<string, Form>>): string {
  const operands = Object.entries(ways);
  const readings = operands.map(([operand, form]) => readingOf(operand, form));
  const steps = operands.filter(([, form]) => form === "step").map(([operand]) => operand);
  const put = (half: number) => {
    const value = expression.replace(/\b[ABCD]\b/g, (x) => x.toLowerCase() + half);
    return `v128.store(d, ${value}, ${16 * half});`;
  };
  const begin = [
    `let d = run.to, ${operands.map(([operand]) => `${operand} = run.${operand}`).join(", ")};`,
    steps.length > 0
      ? `const ${steps.map((operand) => `${operand}Step = run.${operand}Step`).join(", ")};`
      : undefined,
    ...readings.map(({ before }) => before),
  ];
  const each = [
    ...readings.map(({ load }) => load),
    /\bD\b/.test(expression) ? "const d0 = v128.load(d), d1 = v128.load(d, 16);" : undefined,
    ...[put(0), put(1)],
    ...readings.map(({ next }) => next),
  ];
  return `function ${identifier(name)}(run: Run): void {
${indented(begin, "  ")}  for (const end = d + (run.n << 5); d < end; d += 32) {
${indented(each, "    ")}  }
}
`;
}

/** Elements of a table at `b` of `c` elements: an index beyond its ends is the nearest. */
const gather = `function gatherEach(run: Run): void {
  let d = run.to, a = run.a;
  const step = run.aStep, table = run.bStep, zero = i32x4.splat(0), last = i32x4.splat(<i32>run.cStep - 1);
  for (const end = d + (run.n << 5); d < end; d += 32, a += step) {
    gatherFour(d, v128.load(a), table, zero, last);
    gatherFour(d + 16, v128.load(a, 16), table, zero, last);
  }
}

// Lanes leave the vector two at a time.
// @ts-ignore: decorator
@inline
function gatherFour(d: usize, index: v128, table: usize, zero: v128, last: v128): void {
  const i = i32x4.shl(i32x4.min_s(i32x4.max_s(index, zero), last), 2);
  const low = i64x2.extract_lane(i, 0), high = i64x2.extract_lane(i, 1);
  let x = v128.load32_zero(table + <usize>(low & 0xffffffff));
  x = v128.load_lane<u32>(table + <usize>(low >>> 32), x, 1);
  x = v128.load_lane<u32>(table + <usize>(high & 0xffffffff), x, 2);
  v128.store(d, v128.load_lane<u32>(table + <usize>(high >>> 32), x, 3));
}
`;

/** Adds each of the numbers at `a` to that of `c` sums in double precision at `b` that the index beside it names. */
const scatter = `function scatterEach(run: Run): void {
  let a = run.a, b = run.b;
  const sums = run.bStep, last = <i32>run.cStep - 1;
  for (const end = a + (run.n << 5); a < end; a += 4, b += 4) {
    const x = load<f32>(a);
    if (x == 0) continue;
    const at = sums + (<usize>min(max(load<i32>(b), 0), last) << 3);
    store<f64>(at, load<f64>(at) + <f64>x);
  }
}
`;

const quotients =
  `// floor(a / b), 0 where b is: in double precision, which has the exact quotient's floor.
// @ts-ignore: decorator
@inline
function floorQuotients(a: v128, b: v128): v128 {
  const low = f64x2.floor(f64x2.div(f64x2.convert_low_i32x4_s(a), f64x2.convert_low_i32x4_s(b)));
  const A = v128.shuffle<i32>(a, a, 2, 3, 2, 3), B = v128.shuffle<i32>(b, b, 2, 3, 2, 3);
  const high = f64x2.floor(f64x2.div(f64x2.convert_low_i32x4_s(A), f64x2.convert_low_i32x4_s(B)));
  const both = v128.shuffle<i64>(i32x4.trunc_sat_f64x2_s_zero(low), i32x4.trunc_sat_f64x2_s_zero(high), 0, 2);
  // The one quotient beyond 32 bits wraps around.
  const isBeyond = v128.and(i32x4.eq(a, i32x4.splat(i32.MIN_VALUE)), i32x4.eq(b, i32x4.splat(-1)));
  const wrapped = v128.bitselect(a, both, isBeyond);
  return v128.and(wrapped, i32x4.ne(b, i32x4.splat(0)));
}
`;

/** All of them, and what finds one by its number. */
export function scoreKernelsFile(): string {
  const names = (count: number) => ["a", "b", "c"].slice(0, count);
  const bySteps = (count: number) =>
    Object.fromEntries(names(count).map((name) => [name, "step" as const]));
  const kernels = [
    ...binary.flatMap((name) =>
      forms.map((form) => kernel(`${name} ${form}`, expressionOf(name), { a: "step", b: form }))
    ),
    ...Object.values(strided).flatMap((list, at) =>
      list.map((name) => kernel(name, expressionOf(name), bySteps(at + 1)))
    ),
    kernel("copy column", "A", { a: "column" }),
    ...[gather, scatter],
  ];
  const cases = kernelNames.map((name, at) => `    case ${at}: ${identifier(name)}(run); break;\n`);
  return `// Generated by tools/score_kernels.ts, do not edit.
//
// d = f(a, b, c) of n times eight numbers. An operand is read eight numbers at a time, and its step on each time; or it is
// a column, of which one number is for eight; or it is held, eight numbers for all.

import { fma } from "../fma";
import { tanh } from "../tanh.gen";
import { equalShare, exp, log, sigmoid } from "./curves";
import { Run } from "./run";

${quotients}
${kernels.join("\n")}
// Runs the kernel of a number.
export function runKernel(kernel: u32, run: Run): void {
  switch (kernel) {
${cases.join("")}  }
}
`;
}
