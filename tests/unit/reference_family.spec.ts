import type { BooleanTensor } from "@flashtile/attention";
import {
  type ReferenceArray,
  referenceAttention,
  referenceDynamicConvolution,
  referenceLightweightConvolution,
  referenceLightweightConvolutionBackward,
  referenceLinformerAttention,
  referenceLinformerAttentionBackward,
  referenceLocalGlobalAttention,
  referenceLocalGlobalAttentionBackward,
  referenceLogSoftmax,
  referenceLogSoftmaxBackward,
  referenceLogSumExp,
  referenceLogSumExpBackward,
  referencePerformerAttention,
  referenceSoftmax,
  referenceSoftmaxBackward,
  type ReferenceTensor,
} from "@flashtile/attention/reference";
import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { test } from "node:test";
import { always } from "../support/arbitrary.ts";
import { assertSameBits } from "../support/bits.ts";
import { halfUlp } from "../support/budget.ts";
import {
  type Arrays,
  familyCases,
  type FamilyOptions,
  gradientName,
  type Kind,
  relatives,
  type Tensors,
  type VectorTensor,
} from "../support/family.ts";
import {
  attending,
  axesPerHead,
  type FamilyCall,
  fitRank,
  isLaidOut,
  kinds,
  mapTensors,
  randomCall,
  randomTensor,
  rewrite,
  scatter,
  withHeads,
} from "../support/family_calls.ts";
import { seeded } from "../support/random.ts";
import { longTest } from "../support/share.ts";

/** What `tests/support/budget.ts` calls a rounding, and 2^-40 of the largest for float64 errors of both. */
function assertRounded(actual: ReferenceArray, expected: VectorTensor, what: string): void {
  assertEquals(actual.shape, expected.shape, what);
  const largest = expected.data.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
  assert(largest > 0, what);
  expected.data.forEach((x, at) => {
    const error = Math.abs(actual.data[at] - x);
    assert(
      error <= halfUlp(x) + largest * 2 ** -40,
      `${what}: element ${at} is ${actual.data[at]}, expected ${x}`,
    );
  });
}

/** The oracle of each of a case's results. */
const kindOf = (kind: Kind, result: string): Kind =>
  result === "logSumExp" || result === "logSoftmax" ? result : kind;

for (const { kind, name, options, inputs, results, dOut, gradients } of familyCases) {
  longTest(
    `the oracle agrees with others on ${kind} ${name}`,
    () => {
      for (const [result, expected] of Object.entries(results)) {
        const found = relatives[kindOf(kind, result)].forward(inputs, options);
        assertRounded(found[result === "lse" ? "lse" : "out"], expected, result);
      }
      const found = relatives[kind].backward(inputs, dOut, options);
      for (const [input, expected] of Object.entries(gradients)) {
        assertRounded(found[gradientName(input)], expected, gradientName(input));
      }
    },
  );
}

test("the vectors hold cases of every kind", () => {
  const kinds = new Set(familyCases.flatMap(({ kind, results }) => [
    kind,
    ...Object.keys(results).map((result) => kindOf(kind, result)),
  ]));
  assertEquals([...kinds].sort(), Object.keys(relatives).sort());
  assertEquals(familyCases.length, 18);
});

/** The same on random calls of each kind. */
function forCalls(
  title: string,
  some: readonly Kind[],
  times: number,
  check: (call: FamilyCall) => void,
): void {
  for (const kind of some) {
    longTest(`${kind}: ${title}`, () => {
      fc.assert(fc.property(fc.nat(), (seed) => check(randomCall(kind, seed))), always(times));
    });
  }
}

/** The derivative of a function at 0 by differences: its error is of the fourth order of `step`. */
function derivative(f: (x: number) => number, step = 2 ** -16): number {
  const near = f(step) - f(-step), far = f(2 * step) - f(-2 * step);
  return (8 * near - far) / (12 * step);
}

/** The loss that has these gradients; what is -Infinity depends on nothing. */
function lossOf(results: Arrays, cotangents: Tensors): number {
  let loss = 0;
  for (const [name, { data }] of Object.entries(results)) {
    data.forEach((x, at) => loss += x === -Infinity ? 0 : x * (cotangents[name]?.data[at] ?? 0));
  }
  return loss;
}

/** Whether a row of the relu kernel has a feature so near to its bend that differences cross it. */
function nearBend({ inputs: { q, k, projection }, options }: FamilyCall): boolean {
  if (options.kernel !== "relu") return false;
  const D = q.shape[3], rows = [...rowsOf(q, D), ...rowsOf(k, D)];
  return rows.some((x) =>
    rowsOf(projection, D).some((w) =>
      Math.abs(w.reduce((sum, at, d) => sum + at * x[d], 0)) < 2e-3 * Math.hypot(...w)
    )
  );
}

function rowsOf({ data }: ReferenceTensor, D: number): number[][] {
  const elements = Array.from(data);
  return Array.from({ length: elements.length / D }, (_, n) => elements.slice(n * D, n * D + D));
}

/** Whether an input has a gradient. */
const isVariable = (input: string) => input !== "projection";

forCalls("gradients agree with differences of the oracle", kinds, 60, (call) => {
  if (nearBend(call)) return;
  const { kind, inputs, options, random } = call, { forward, backward } = relatives[kind];
  const results = forward(inputs, options);
  const cotangents = Object.fromEntries(
    Object.entries(results).map(([name, { shape }]) => [name, randomTensor(random, ...shape)]),
  );
  const dLse = cotangents.lse && { dLse: cotangents.lse };
  const gradients = backward(inputs, cotangents.out, { ...options, ...dLse });
  const named = Object.keys(inputs).filter(isVariable).map(gradientName);
  assertEquals(Object.keys(gradients).sort(), named.sort());
  for (const [input, at] of Object.entries(inputs).filter(([name]) => isVariable(name))) {
    const gradient = gradients[gradientName(input)];
    assertEquals(gradient.shape, at.shape);
    const direction = Float64Array.from(at.data, () => 2 * random() - 1);
    const loss = (step: number) => {
      const data = direction.map((x, index) => at.data[index] + step * x);
      const moved = { ...inputs, [input]: { data, shape: at.shape } };
      return lossOf(forward(moved, options), cotangents);
    };
    const terms = direction.map((x, index) => x * gradient.data[index]);
    const along = terms.reduce((sum, x) => sum + x, 0), size = Math.hypot(...terms);
    const error = Math.abs(derivative(loss) - along);
    assert(error <= 1e-7 * size + 1e-8, `${gradientName(input)}: error ${error} of ${size}`);
  }
});

function assertSame(actual: Arrays, expected: Tensors): void {
  assertEquals(Object.keys(actual), Object.keys(expected));
  for (const [name, { data, shape }] of Object.entries(expected)) {
    assertEquals(actual[name].shape, shape, name);
    assertSameBits(actual[name].data, data as Float64Array, name);
  }
}

/** Writes a tensor of a call in another way; results as `v`, gradients as what they are by. */
type Write = (tensor: ReferenceTensor, name: string) => ReferenceTensor;

/** Asserts that a call gives what it gives, written as results are. */
function assertWritten(call: FamilyCall, options: FamilyOptions, write: Write, read = write): void {
  const { kind, inputs, random } = call, { forward, backward } = relatives[kind];
  const results = forward(inputs, call.options);
  const dOut = randomTensor(random, ...results.out.shape);
  const gradients = backward(inputs, dOut, call.options), written = mapTensors(inputs, write);
  const inputOf = (name: string) =>
    Object.keys(inputs).find((input) => gradientName(input) === name) ?? name;
  assertSame(
    forward(written, options),
    mapTensors(results, (result, name) => read(result, name === "out" ? "dOut" : name)),
  );
  assertSame(
    backward(written, write(dOut, "dOut"), options),
    mapTensors(gradients, (gradient, name) => read(gradient, inputOf(name))),
  );
}

forCalls("reads any strides", kinds, 40, (call) => {
  const { options, random } = call;
  assertWritten(call, options, (tensor) => scatter(tensor, random), (result) => result);
});

forCalls("ranks and layouts agree", withHeads, 12, (given) => {
  for (const rank of [4, 3, 2]) {
    for (const layout of ["bhnd", "bnhd"] as const) {
      const call = fitRank(given, rank), options = { ...call.options, layout };
      assertWritten(call, options, (tensor, name) => {
        const { data, shape } = tensor;
        if (name === "lse") return { data, shape: shape.slice(4 - rank) };
        return isLaidOut(call.kind, name) ? rewrite(tensor, rank, layout) : tensor;
      });
    }
  }
});

/** A copy of each of some parts of a tensor for every query head of a group. */
function repeat({ data }: ReferenceTensor, parts: number, group: number, shape: readonly number[]) {
  const each = data.length / parts, elements = Array.from(data);
  const copies = Array.from({ length: parts * group }, (_, copy) => {
    const from = Math.floor(copy / group) * each;
    return elements.slice(from, from + each);
  });
  return { data: Float64Array.from(copies.flat()), shape };
}

/** The sums of those copies. */
function sumCopies({ data }: ReferenceArray, parts: number, group: number): Float64Array {
  const each = data.length / parts / group;
  return Float64Array.from({ length: parts * each }, (_, at) => {
    const first = Math.floor(at / each) * group * each + at % each;
    let sum = 0;
    for (let copy = 0; copy < group; copy++) sum += data[first + copy * each];
    return sum;
  });
}

forCalls("grouped heads read the head of their group", attending, 40, (call) => {
  const { kind, inputs, options, random } = call, { forward, backward } = relatives[kind];
  const [B, Hq] = inputs.q.shape, Hkv = inputs.k.shape[1], group = Hq / Hkv;
  // How many parts each input has that query heads share.
  const partsOf = (name: string) => {
    if (name === "k" || name === "v") return B * Hkv;
    return inputs[name].shape.length === axesPerHead[name] ? Hkv : 0;
  };
  const repeated = mapTensors(inputs, (tensor, name) => {
    const parts = partsOf(name), { shape } = tensor;
    const heads = parts === Hkv ? [Hq, ...shape.slice(1)] : [B, Hq, ...shape.slice(2)];
    return parts === 0 ? tensor : repeat(tensor, parts, group, heads);
  });
  const results = forward(inputs, options);
  assertSame(forward(repeated, options), results);

  const dOut = randomTensor(random, ...results.out.shape);
  const gradients = backward(inputs, dOut, options), ofCopies = backward(repeated, dOut, options);
  for (const input of Object.keys(inputs).filter(isVariable)) {
    const name = gradientName(input), parts = partsOf(input);
    const sums = parts === 0 ? ofCopies[name].data : sumCopies(ofCopies[name], parts, group);
    gradients[name].data.forEach((x, at) => {
      assertAlmostEquals(sums[at], x, 1e-11 * Math.max(1, Math.abs(x)), name);
    });
  }
});

test("oracles of the family refuse options that they do not know", () => {
  for (const kind of kinds) {
    const { inputs, options } = randomCall(kind, 1);
    const { forward, backward } = relatives[kind], wrong = { ...options, windows: 3 };
    const dOut = forward(inputs, options).out;
    assertThrows(() => forward(inputs, wrong), TypeError, "unknown option `windows`");
    assertThrows(() => backward(inputs, dOut, wrong), TypeError, "unknown option `windows`");
  }
});

const vector = (...data: number[]) => ({ data, shape: [data.length] });
const column = (...data: number[]) => ({ data, shape: [data.length, 1] });
const numbers = ({ data }: ReferenceArray) => Array.from(data);

test("softmax: a mask is broadcast, and rows that see nothing are 0 and -Infinity", () => {
  const x = { data: [5, 5, 1, 7, 7, 7], shape: [2, 3] };
  const columns = { data: Uint8Array.of(1, 1, 0), shape: [3] };
  const ofRows = { data: Uint8Array.of(0, 1), shape: [2, 1] };
  const bits = { data: Uint32Array.of(0b011_001), shape: [2, 3] };
  const strided = {
    data: Uint8Array.of(9, 1, 0, 0, 1, 0, 1),
    shape: [2, 3],
    strides: [1, 2],
    offset: 1,
  };
  const third = Math.exp(7) / (3 * Math.exp(7)), none = -Infinity;
  const softmaxOf = (mask: BooleanTensor) => numbers(referenceSoftmax(x, { mask }).out);
  assertEquals(softmaxOf(columns), [0.5, 0.5, 0, 0.5, 0.5, 0]);
  assertEquals(softmaxOf(ofRows), [0, 0, 0, third, third, third]);
  assertEquals(softmaxOf(bits), [1, 0, 0, 0.5, 0.5, 0]);
  assertEquals(softmaxOf(strided), [1, 0, 0, 0, 0.5, 0.5]);
  assertEquals(numbers(referenceLogSumExp(x, { mask: ofRows }).out), [none, 7 + Math.log(3)]);
  const logs = numbers(referenceLogSoftmax(x, { mask: ofRows }).out);
  assertEquals(logs, [none, none, none, -Math.log(3), -Math.log(3), -Math.log(3)]);
  const dOut = { data: [1, NaN, Infinity, 1, 0, 0], shape: [2, 3] };
  assertEquals(numbers(referenceSoftmaxBackward(x, dOut, { mask: ofRows }).dx).slice(0, 3), [
    0,
    0,
    0,
  ]);
  assertEquals(
    numbers(referenceLogSoftmaxBackward(x, dOut, { mask: ofRows }).dx).slice(0, 3),
    [0, 0, 0],
  );
  const dRows = { data: [NaN, 3], shape: [2] };
  assertEquals(numbers(referenceLogSumExpBackward(x, dRows, { mask: ofRows }).dx), [
    ...[0, 0, 0],
    ...[3 * third, 3 * third, 3 * third],
  ]);
});

test("softmax: -Infinity does not count, and nothing is too large", () => {
  const x = vector(-Infinity, 1e300, 1e300);
  assertEquals(numbers(referenceSoftmax(x).out), [0, 0.5, 0.5]);
  assertEquals(numbers(referenceLogSoftmax(x).out)[0], -Infinity);
  const { out } = referenceLogSumExp(vector(-Infinity, -Infinity));
  assertEquals([numbers(out), out.shape], [[-Infinity], []]);
  assertEquals(numbers(referenceLogSoftmax(vector(1000, 0)).out), [0, -1000]);
  assertEquals(numbers(referenceSoftmax(vector(NaN, 0)).out), [NaN, NaN]);
  assertEquals(numbers(referenceSoftmax({ data: [], shape: [0, 3] }).out), []);
});

test("softmax: an axis is any axis, also from the end, and 16 bits are decoded", () => {
  const x = { data: Float64Array.from([0, 1, 2, 0, 1, 2]), shape: [2, 3, 1] };
  assertEquals(numbers(referenceSoftmax(x, { axis: 0 }).out), Array(6).fill(0.5));
  assertEquals(referenceLogSumExp(x, { axis: -2 }).out.shape, [2, 1]);
  assertEquals(
    referenceSoftmax(x, { axis: 1 }).out.data,
    referenceSoftmax(x, { axis: -2 }).out.data,
  );
  const half = { data: Uint16Array.of(0x3c00, 0x3c00), shape: [2], dtype: "f16" };
  assertEquals(numbers(referenceLogSumExp(half).out), [1 + Math.log(2)]);
  const bf16 = { data: Uint16Array.of(0x4000, 0x4000), shape: [2], dtype: "bf16" };
  assertEquals(numbers(referenceLogSumExp(bf16).out), [2 + Math.log(2)]);
});

test("linformer: an identity is exact attention, and columns beyond the keys are not used", () => {
  const random = seeded(1), identity = { data: [1, 0, 9, 0, 1, 9], shape: [2, 3] };
  const q = randomTensor(random, 3, 2), k = randomTensor(random, 2, 2);
  const exact = referenceAttention(q, k, k);
  assertSame({ ...referenceLinformerAttention(q, k, k, { projectK: identity }) }, { ...exact });
  const dOut = randomTensor(random, 3, 2), both = { projectK: identity, projectV: identity };
  const one = referenceLinformerAttentionBackward(q, k, k, dOut, { projectK: identity });
  const two = referenceLinformerAttentionBackward(q, k, k, dOut, both);
  assertEquals(one.dProjectV, undefined);
  one.dProjectK.data.forEach((x, at) => {
    assertAlmostEquals(x, two.dProjectK.data[at] + two.dProjectV!.data[at], 1e-12);
  });
  assertEquals([one.dProjectK.data[2], one.dProjectK.data[5]], [0, 0]);
});

test("performer: the features as they are written, of both kernels", () => {
  const q = column(1, -2), k = column(0.5, -1, 3), v = column(1, 2, 4), w = [0.5, -1];
  const projection = { data: w, shape: [2, 1] }, scale = 0.25;
  const features = {
    softmax: (x: number) => w.map((at) => Math.exp(at * x - x * x / 2)),
    relu: (x: number) => w.map((at) => Math.max(0, at * x) + 1e-3),
  };
  for (const kernel of ["softmax", "relu"] as const) {
    const expected = q.data.map((x) => {
      const ofQuery = features[kernel](x / 2);
      const products = k.data.map((y) => {
        const ofKey = features[kernel](y / 2);
        return ofQuery[0] * ofKey[0] + ofQuery[1] * ofKey[1];
      });
      const sum = products.reduce((a, b) => a + b, 0);
      return products.reduce((total, p, j) => total + p / sum * v.data[j], 0);
    });
    const { out } = referencePerformerAttention(q, k, v, { projection, kernel, scale });
    numbers(out).forEach((x, i) => assertAlmostEquals(x, expected[i], 1e-14));
  }
});

test("performer: no shift is too large, and causal rows are aligned as those of attention", () => {
  const projection = { data: [1], shape: [1, 1] }, v = column(1, 2, 4);
  // Exponents are 0, -799,800 and 0: no power of them alone would leave the row in the middle.
  const large = { projection, scale: 1, causal: true };
  const { out } = referencePerformerAttention(
    column(0, 0, 1e3),
    column(1265.5, 1264.5, 0),
    v,
    large,
  );
  assertEquals(numbers(out).map(Math.round), [1, 2, 4]);
  const zeros = column(0, 0, 0),
    causal = (rows: number[]) => {
      const { out } = referencePerformerAttention(column(...rows), zeros, v, large);
      return numbers(out).map((x) => Math.round(x * 12) / 12);
    };
  assertEquals(causal([0]), [28 / 12]);
  assertEquals(causal([0, 0]), [1.5, 28 / 12]);
  assertEquals(causal([0, 0, 0, 0]), [0, 1, 1.5, 28 / 12]);
});

test("convolutions: taps beyond the ends keep their weight, also where there are more than rows", () => {
  const v = column(4, 8), weights = { data: [0, 0, 0, 0, 0], shape: [1, 5] };
  const causal = numbers(referenceLightweightConvolution(v, weights, { causal: true }).out);
  const centred = numbers(referenceLightweightConvolution(v, weights).out);
  causal.forEach((x, i) => assertAlmostEquals(x, [4 / 5, 12 / 5][i], 1e-15));
  centred.forEach((x) => assertAlmostEquals(x, 12 / 5, 1e-15));
  // The oldest tap is the first.
  const oldest = { data: [0, -Infinity, -Infinity], shape: [1, 3] };
  const three = column(1, 2, 3);
  const shifted = (options = {}) =>
    numbers(referenceLightweightConvolution(three, oldest, options).out);
  assertEquals(shifted({ causal: true }), [0, 0, 1]);
  assertEquals(shifted(), [0, 1, 2]);
});

test("convolutions: rows of the same weights are a lightweight convolution", () => {
  const random = seeded(3),
    v = randomTensor(random, 2, 3, 4, 2),
    weights = randomTensor(random, 3, 5);
  const everywhere = { ...weights, shape: [2, 3, 4, 5], strides: [0, 5, 0, 1] };
  const lightweight = referenceLightweightConvolution(v, weights);
  assertSame({ ...referenceDynamicConvolution(v, everywhere) }, { ...lightweight });
  const dOut = randomTensor(random, 2, 3, 4, 2);
  const { dWeights } = referenceLightweightConvolutionBackward(v, weights, dOut);
  for (
    const [h, sum] of [0, 1, 2].map((h) => [h, dWeights.data.slice(h * 5, h * 5 + 5)] as const)
  ) {
    const total = sum.reduce((a, b) => a + b, 0);
    assertAlmostEquals(total, 0, 1e-13, `weights of head ${h} are up to a common number`);
  }
});

test("local and global: one block that is not over, and blocks of one row, are causal attention", () => {
  const random = seeded(4), q = randomTensor(random, 2, 6, 3), k = randomTensor(random, 1, 6, 3);
  const exact = referenceAttention(q, k, k, { causal: true });
  for (const block of [1, 6, 100]) {
    const { out, lse } = referenceLocalGlobalAttention(q, k, k, { block, causal: true });
    out.data.forEach((x, at) => assertAlmostEquals(x, exact.out.data[at], 1e-14));
    lse.data.forEach((x, at) => assertAlmostEquals(x, exact.lse.data[at], 1e-14));
  }
});

test("local and global: a short last block is pooled over the rows present", () => {
  const zeros = column(0, 0, 0, 0, 0), v = column(0, 3, 6, 10, 20);
  const pool = vector(1, 3, 2);
  const given = { block: 3, pool };
  // Summaries: (0 + 9 + 12) / 6 = 3.5 and (10 + 60) / 4 = 17.5.
  const { out, lse } = referenceLocalGlobalAttention(zeros, zeros, v, given);
  assertEquals(numbers(out).map((x) => Math.round(x * 20) / 20), [6, 6, 6, 12.75, 12.75]);
  assertEquals(numbers(lse).map(Math.exp).map(Math.round), [5, 5, 5, 4, 4]);
  const causal = referenceLocalGlobalAttention(zeros, zeros, v, { ...given, causal: true });
  assertEquals(numbers(causal.out).map((x) => Math.round(x * 12) / 12), [
    ...[0, 1.5, 3, 6.75],
    Math.round((10 + 20 + 3.5) / 3 * 12) / 12,
  ]);
  // A pool is as good as twice the pool: its gradient is at right angles to it, in each block.
  const dOut = column(1, 0, 2, 0, 0);
  const { dPool } = referenceLocalGlobalAttentionBackward(zeros, zeros, v, dOut, given);
  assertAlmostEquals(dPool!.data.reduce((sum, x, t) => sum + x * pool.data[t], 0), 0, 1e-13);
});
