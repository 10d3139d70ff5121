/**
 * Writes `asm/nn/activations.gen.ts`: functions of each number, in place, four vectors abreast, since V8 rebuilds constant
 * vectors at every use and each is loaded once for all four.
 *
 * gelu is `max(x, 0) - |x| Q(|x|)`, Q being the tail of the normal distribution, and that one over the eighth power of a
 * polynomial. Ways that were tried, with their worst error between -14 and 14 (that of the plain formula is 4.5e-7), and
 * operations: erf as a quotient of polynomials (degrees 6 and 4) 1.4e-6, of 19; Q as a power of four of a polynomial
 * (degree 8) 2.5e-7, of 25; what is here 2.5e-7, of 17.
 *
 * @module
 */

import { exp4Lines } from "./exponential.ts";
import { indent, times } from "./lines.ts";

/**
 * Q(z)^(-1/8), lowest degree first: minimax in the error of max(z, 0.8) Q(z) for z from 0 to 5.2 (5.3e-8, by reweighted least
 * squares), rising beyond. With its roundings gelu is off by at most 2.5e-7, and by 5.3e-7 |x|.
 */
const tail = [
  1.0905077457427979,
  0.10876370221376419,
  0.04879898577928543,
  0.009522453881800175,
  0.0008004460833035409,
  0.00038432111614383757,
  -4.244138108333573e-5,
  3.002265111717861e-5,
  -5.086957116873236e-6,
  5.801692282147997e-7,
];

/** Beyond it a tail is 0: its inverse is infinite. */
const tailEnd = 64;

/** Below it x / (1 + exp(-x)) is 0. */
const lowest = -1000;

/** What makes a natural logarithm one to base 4, and what its square root makes of tanh's argument. */
const log4e = 0.7213475204444817,
  linearTerm = 2 * Math.sqrt(2 / Math.PI),
  cubicTerm = 0.044715 * linearTerm;

const constants = {
  ...{ tailEnd, lowest, minusLog4e: -log4e, linearTerm, cubicTerm, one: 1 },
  // Of slopes.
  ...{ highest: -lowest, cubicSlope: 3 * cubicTerm, four: 4 },
  ...{ minusLog2e: -2 * log4e, minusSquare: -log4e / 2, density: 1 / Math.sqrt(2 * Math.PI) },
};

const table = [...Object.values(constants), ...tail];

function constant(name: keyof typeof constants): string {
  return `v128.load(NUMBERS, ${Object.keys(constants).indexOf(name) * 16})`;
}

function coefficient(degree: number): string {
  return `v128.load(NUMBERS, ${(Object.keys(constants).length + degree) * 16})`;
}

/** The places of the four vectors. */
const places = [["at", 0], ["at", 16], ["more", 0], ["more", 16]] as const;

/** Lines for each vector. */
type Each = (make: (index: number) => string) => string[];

/** Four of them; and the one at `at`, which a quarter of the code is for: of slopes, which only training needs. */
const four: Each = (make) => times(4, make), one: Each = (make) => times(1, make);

const loadLines = (each: Each) =>
  each((i) => `let v${i} = v128.load(${places[i][0]}, ${places[i][1]});`);

const storeLines = (each: Each, value: (index: number) => string) =>
  each((i) => `v128.store(${places[i][0]}, ${value(i)}, ${places[i][1]});`);

const powerLines = (each: Each) => exp4Lines(each((i) => `y${i}`));

/** z = |x|, and y = 1 / Q(z). */
function tailLines(each: Each): string[] {
  const degrees = tail.map((_, degree) => degree).reverse();
  return [
    ...loadLines(each),
    `let k = ${constant("tailEnd")};`,
    ...each((i) => `const z${i} = f32x4.pmin(f32x4.abs(v${i}), k);`),
    ...degrees.flatMap((degree, at) => [
      `k = ${coefficient(degree)};`,
      ...each((i) => at === 0 ? `let y${i} = k;` : `y${i} = fma(y${i}, z${i}, k);`),
    ]),
    ...times(3, () => each((i) => `y${i} = f32x4.mul(y${i}, y${i});`)).flat(),
  ];
}

function geluLines(): string[] {
  return [
    ...tailLines(four),
    "const zero = f32x4.splat(0);",
    ...storeLines(four, (i) => `f32x4.sub(f32x4.pmax(v${i}, zero), f32x4.div(z${i}, y${i}))`),
  ];
}

/** x sigmoid(of x), which has the sign of x: both are made of one power of what is below 0. */
function sigmoidLines(argument: readonly string[]): string[] {
  return [
    ...loadLines(four),
    `let k = ${constant("lowest")};`,
    ...four((i) => `v${i} = f32x4.pmax(v${i}, k);`),
    ...argument,
    `k = ${constant("minusLog4e")};`,
    ...four((i) => `y${i} = f32x4.mul(f32x4.abs(y${i}), k);`),
    ...powerLines(four),
    `k = ${constant("one")};`,
    "const zero = f32x4.splat(0);",
    ...four((i) => `v${i} = f32x4.mul(v${i}, v128.bitselect(k, p${i}, f32x4.ge(v${i}, zero)));`),
    ...storeLines(four, (i) => `f32x4.div(v${i}, f32x4.add(k, p${i}))`),
  ];
}

const geluTanhArgument = [
  `k = ${constant("cubicTerm")};`,
  ...four((i) => `let y${i} = f32x4.mul(f32x4.mul(v${i}, v${i}), k);`),
  `k = ${constant("linearTerm")};`,
  ...four((i) => `y${i} = f32x4.mul(f32x4.add(y${i}, k), v${i});`),
];

/** The slope of gelu, 1 less that of the opposite: Q(z) - z phi(z) where x is below 0, phi being the normal distribution's density. */
function geluSlopeLines(): string[] {
  return [
    ...tailLines(one),
    `k = ${constant("minusSquare")};`,
    ...one((i) => `const e${i} = f32x4.mul(f32x4.mul(z${i}, z${i}), k);`),
    ...exp4Lines(one((i) => `e${i}`)),
    `k = ${constant("density")};`,
    ...one((i) => `p${i} = f32x4.mul(f32x4.mul(z${i}, p${i}), k);`),
    `k = ${constant("one")};`,
    "const zero = f32x4.splat(0);",
    ...one((i) => `y${i} = f32x4.sub(f32x4.div(k, y${i}), p${i});`),
    ...storeLines(one, (i) => `v128.bitselect(f32x4.sub(k, y${i}), y${i}, f32x4.ge(v${i}, zero))`),
  ];
}

/**
 * The slope of x s, s being the sigmoid of u, which has the sign of x: s + x u' s (1 - s), of one power as s is. `argument` makes
 * y = u, and `product` is x u'.
 */
function sigmoidSlopeLines(argument: readonly string[], product: string): string[] {
  return [
    ...loadLines(one),
    `let k = ${constant("lowest")};`,
    ...one((i) => `v${i} = f32x4.pmax(v${i}, k);`),
    `k = ${constant("highest")};`,
    ...one((i) => `v${i} = f32x4.pmin(v${i}, k);`),
    ...argument,
    `k = ${constant("minusLog4e")};`,
    ...one((i) => `y${i} = f32x4.mul(f32x4.abs(y${i}), k);`),
    ...powerLines(one),
    `k = ${constant("one")};`,
    "const zero = f32x4.splat(0);",
    ...one((i) => `const s${i} = v128.bitselect(k, p${i}, f32x4.ge(v${i}, zero));`),
    ...one((i) => `const d${i} = f32x4.add(k, p${i});`),
    ...storeLines(
      one,
      (i) =>
        `f32x4.div(fma(${product}${i}, p${i}, f32x4.mul(s${i}, d${i})), f32x4.mul(d${i}, d${i}))`,
    ),
  ];
}

const geluTanhSlopeArgument = [
  ...one((i) => `const q${i} = f32x4.mul(v${i}, v${i});`),
  `k = ${constant("cubicTerm")};`,
  ...one((i) => `let y${i} = f32x4.mul(q${i}, k);`),
  `k = ${constant("cubicSlope")};`,
  ...one((i) => `let w${i} = f32x4.mul(q${i}, k);`),
  `k = ${constant("linearTerm")};`,
  ...one((i) => `y${i} = f32x4.mul(f32x4.add(y${i}, k), v${i});`),
  ...one((i) => `w${i} = f32x4.mul(f32x4.add(w${i}, k), v${i});`),
];

/** 1 - tanh(x)^2 = 4 p / (1 + p)^2 with p = exp(-2 |x|), which loses nothing where tanh is near 1. */
function tanhSlopeLines(): string[] {
  return [
    ...loadLines(one),
    `let k = ${constant("minusLog2e")};`,
    ...one((i) => `const y${i} = f32x4.mul(f32x4.abs(v${i}), k);`),
    ...powerLines(one),
    `k = ${constant("one")};`,
    ...one((i) => `v${i} = f32x4.add(k, p${i});`),
    `k = ${constant("four")};`,
    ...storeLines(one, (i) => `f32x4.div(f32x4.mul(p${i}, k), f32x4.mul(v${i}, v${i}))`),
  ];
}

/** 0 or 1, and NaN of a NaN. */
function reluSlopeLines(): string[] {
  return [
    ...loadLines(one),
    `const k = ${constant("one")};`,
    "const zero = f32x4.splat(0);",
    ...one((i) => `v${i} = f32x4.pmax(v${i}, zero);`),
    ...storeLines(one, (i) => `v128.bitselect(k, v${i}, f32x4.gt(v${i}, zero))`),
  ];
}

const bodies: Readonly<Record<string, readonly string[]>> = {
  gelu: geluLines(),
  geluTanh: sigmoidLines(geluTanhArgument),
  silu: sigmoidLines(four((i) => `let y${i} = v${i};`)),
  relu: [
    ...loadLines(four),
    "const zero = f32x4.splat(0);",
    ...storeLines(four, (i) => `f32x4.pmax(v${i}, zero)`),
  ],
  hyperbolic: [...loadLines(four), ...storeLines(four, (i) => `tanh(v${i})`)],
  geluSlope: geluSlopeLines(),
  geluTanhSlope: sigmoidSlopeLines(geluTanhSlopeArgument, "w"),
  siluSlope: sigmoidSlopeLines(one((i) => `let y${i} = v${i};`), "v"),
  reluSlope: reluSlopeLines(),
  hyperbolicSlope: tanhSlopeLines(),
};

const sources = `// Generated by tools/activations.ts, do not edit.
//
// Functions of eight numbers at \`at\` and of eight at \`more\`, in place: all is read before anything is written, so that both
// may be the same. -Infinity gives 0 of those that have 0 as their limit, NaN gives NaN. Slopes, of four numbers, are
// their derivatives.

import { TABLE } from "../exp.gen";
import { fma } from "../fma";
import { tanh } from "../tanh.gen";
`;

function signatureOf(name: string): string {
  return name.endsWith("Slope") ? "_4(at: usize)" : "_2x8(at: usize, more: usize)";
}

/** The generated file. */
export function activationsFile(): string {
  const rows = table.map((value) => `  ${new Array(4).fill(value).join(", ")},`);
  const functions = Object.entries(bodies).map(([name, lines]) =>
    [`export function ${name}${signatureOf(name)}: void {`, ...indent(lines), "}"].join("\n")
  );
  return [
    sources,
    `// Four lanes each: ${Object.keys(constants).join(", ")}, and a tail from its lowest degree.`,
    "const NUMBERS: usize = memory.data<f32>([",
    ...rows,
    "], 16);",
    "",
    functions.join("\n\n"),
    "",
  ].join("\n");
}
