/**
 * The plain forward pass of a model in float64, by its plan alone: slow, and written to be read. It proves that
 * plans say what a model is, and is what fast models are measured against.
 *
 * @module
 */

import { referenceAttention, referenceRope } from "@flashtile/attention/reference";
import type { Activation } from "../../src/models/architectures/architecture.ts";
import type {
  LayerPlan,
  LinearTensors,
  ModelPlan,
  NormTensors,
} from "../../src/models/architectures/model.ts";
import type { TensorEntry, WeightFile } from "../../src/models/files/weights.ts";
import { widened } from "../../src/models/files/widen.ts";

/** Rows of numbers, one after the other. */
interface Rows {
  readonly data: Float64Array;
  readonly columns: number;
}

/** Numbers of a tensor. */
type Numbers = (entry: TensorEntry) => Float64Array;

/** The error function: by its series, and for large numbers by a continued fraction. */
export function erf(x: number): number {
  if (Math.abs(x) > 3) {
    let fraction = 0;
    for (let n = 60; n > 0; n--) fraction = n / 2 / (Math.abs(x) + fraction);
    const rest = Math.exp(-x * x) / ((Math.abs(x) + fraction) * Math.sqrt(Math.PI));
    return Math.sign(x) * (1 - rest);
  }
  let sum = x, term = x;
  for (let n = 1; n < 80; n++) {
    term *= -x * x / n;
    sum += term / (2 * n + 1);
  }
  return 2 / Math.sqrt(Math.PI) * sum;
}

const activations: Readonly<Record<Activation, (x: number) => number>> = {
  gelu: (x) => x / 2 * (1 + erf(x / Math.SQRT2)),
  "gelu-tanh": (x) => x / 2 * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  silu: (x) => x / (1 + Math.exp(-x)),
  relu: (x) => Math.max(0, x),
  tanh: Math.tanh,
};

function rowsOf(count: number, columns: number): Rows {
  return { data: new Float64Array(count * columns), columns };
}

function add(a: Rows, b: Rows): Rows {
  return { ...a, data: a.data.map((x, at) => x + b.data[at]) };
}

/** `x W^T + bias`. */
function linear(
  x: Rows,
  { weight, bias, outputs, inputs, layout }: LinearTensors,
  of: Numbers,
): Rows {
  const count = x.data.length / x.columns, y = rowsOf(count, outputs);
  const w = of(weight),
    b = bias && of(bias),
    [toOutput, toInput] = layout === "out-in" ? [inputs, 1] : [1, outputs];
  for (let row = 0; row < count; row++) {
    for (let o = 0; o < outputs; o++) {
      let sum = b?.[o] ?? 0;
      for (let i = 0; i < inputs; i++) {
        sum += x.data[row * inputs + i] * w[o * toOutput + i * toInput];
      }
      y.data[row * outputs + o] = sum;
    }
  }
  return y;
}

/** Several linear layers of the same rows, their outputs one behind the other. */
function linears(x: Rows, all: readonly LinearTensors[], of: Numbers): Rows {
  const parts = all.map((one) => linear(x, one, of)), count = x.data.length / x.columns;
  const y = rowsOf(count, parts.reduce((sum, { columns }) => sum + columns, 0));
  let from = 0;
  for (const part of parts) {
    for (let row = 0; row < count; row++) {
      y.data.set(
        part.data.subarray(row * part.columns, (row + 1) * part.columns),
        row * y.columns + from,
      );
    }
    from += part.columns;
  }
  return y;
}

/** A norm of each row, or of each piece of as many numbers as its weight has. */
function norm(x: Rows, tensors: NormTensors | undefined, plan: ModelPlan, of: Numbers): Rows {
  if (tensors === undefined) return x;
  const w = of(tensors.weight), b = tensors.bias && of(tensors.bias), data = x.data.slice();
  for (let from = 0; from < data.length; from += w.length) {
    const row = data.subarray(from, from + w.length);
    const mean = plan.norm === "rms" ? 0 : row.reduce((sum, one) => sum + one, 0) / w.length;
    const square = row.reduce((sum, one) => sum + (one - mean) ** 2, 0) / w.length;
    const factor = 1 / Math.sqrt(square + plan.eps);
    row.forEach((one, i) => {
      row[i] = (one - mean) * factor * (w[i] + plan.normOffset) + (b?.[i] ?? 0);
    });
  }
  return { ...x, data };
}

/** Some columns of each row as `[1, heads, tokens, headDim]`. */
function headsOf(x: Rows, from: number, heads: number, dim: number) {
  const count = x.data.length / x.columns, data = new Float64Array(heads * count * dim);
  for (let head = 0; head < heads; head++) {
    for (let row = 0; row < count; row++) {
      const at = row * x.columns + from + head * dim;
      data.set(x.data.subarray(at, at + dim), (head * count + row) * dim);
    }
  }
  return { data, shape: [1, heads, count, dim] };
}

/** The bucket of a distance, as T5 has it (arXiv 1910.10683): half for each side, small ones exact. */
function bucketOf(distance: number, buckets: number): number {
  const side = buckets / 2, exact = side / 2, far = 128, size = Math.abs(distance);
  const first = distance > 0 ? side : 0;
  if (size < exact) return first + size;
  const grown = Math.log(size / exact) / Math.log(far / exact) * (side - exact);
  return first + Math.min(side - 1, exact + Math.floor(grown));
}

function relativeBias({ relative, heads }: ModelPlan, tokens: number, of: Numbers) {
  if (relative === undefined) return undefined;
  const table = of(relative), [buckets] = relative.shape;
  const data = Float32Array.from({ length: heads * tokens * tokens }, (_, at) => {
    const head = Math.floor(at / tokens ** 2), query = Math.floor(at / tokens) % tokens;
    return table[bucketOf(at % tokens - query, buckets) * heads + head];
  });
  return { data, shape: [1, heads, tokens, tokens] };
}

function attend(x: Rows, layer: LayerPlan, plan: ModelPlan, of: Numbers): Rows {
  const { heads, kvHeads, headDim, scale, softcap, isCausal } = plan;
  const tokens = x.data.length / x.columns, all = linears(x, layer.qkv, of);
  const part = (from: number, count: number, own?: NormTensors) => {
    const rows = headsOf(all, from * headDim, count, headDim);
    const { data } = norm({ data: rows.data, columns: headDim }, own, plan, of);
    return { ...rows, data };
  };
  const turn = (rows: ReturnType<typeof part>) =>
    layer.rope === undefined ? rows : referenceRope(rows, layer.rope);
  const q = turn(part(0, heads, layer.queryNorm));
  const k = turn(part(heads, kvHeads, layer.keyNorm)), v = part(heads + kvHeads, kvHeads);
  const { out } = referenceAttention(q, k, v, {
    ...{ scale, softcap, causal: isCausal },
    window: layer.window,
    bias: relativeBias(plan, tokens, of),
  });
  const joined = rowsOf(tokens, heads * headDim);
  for (let head = 0; head < heads; head++) {
    for (let row = 0; row < tokens; row++) {
      const at = (head * tokens + row) * headDim;
      joined.data.set(
        out.data.subarray(at, at + headDim),
        row * joined.columns + head * headDim,
      );
    }
  }
  return linear(joined, layer.output, of);
}

function feed(x: Rows, layer: LayerPlan, plan: ModelPlan, of: Numbers): Rows {
  const { feedWidth, isGated } = plan, activate = activations[plan.activation];
  const all = linears(x, layer.feed, of), inner = rowsOf(x.data.length / x.columns, feedWidth);
  inner.data.forEach((_, at) => {
    const from = Math.floor(at / feedWidth) * all.columns + at % feedWidth;
    inner.data[at] = activate(all.data[from]) * (isGated ? all.data[from + feedWidth] : 1);
  });
  return linear(inner, layer.down, of);
}

function runLayer(x: Rows, layer: LayerPlan, plan: ModelPlan, of: Numbers): Rows {
  const own = (rows: Rows, tensors: NormTensors | undefined) => norm(rows, tensors, plan, of);
  if (plan.block === "after") {
    const y = own(add(x, attend(x, layer, plan, of)), layer.attentionNorm);
    return own(add(y, feed(y, layer, plan, of)), layer.feedNorm);
  }
  const attended = attend(own(x, layer.attentionNorm), layer, plan, of);
  const y = add(x, own(attended, layer.attentionAfter));
  return add(y, own(feed(own(y, layer.feedNorm), layer, plan, of), layer.feedAfter));
}

function embed(ids: readonly number[], { embedding, width }: ModelPlan, of: Numbers): Rows {
  const { tokens, scale, positions, firstPosition, types } = embedding,
    x = rowsOf(ids.length, width);
  const [table, places, kinds] = [of(tokens), positions && of(positions), types && of(types)];
  x.data.forEach((_, at) => {
    const row = Math.floor(at / width), column = at % width;
    x.data[at] = table[ids[row] * width + column] * scale +
      (places?.[(firstPosition + row) * width + column] ?? 0) + (kinds?.[column] ?? 0);
  });
  return x;
}

/** A model whose weights were read. */
export interface ReferenceModel {
  /** The last hidden states, `[tokens, width]`. */
  states(ids: readonly number[]): Float64Array;
  /** `[tokens, vocabulary]`. */
  logits(ids: readonly number[]): Float64Array;
}

/** Every tensor of a plan. */
function* tensorsOf(value: unknown): Generator<TensorEntry> {
  if (typeof value !== "object" || value === null) return;
  if ("bytes" in value) yield value as TensorEntry;
  else for (const one of Object.values(value)) yield* tensorsOf(one);
}

/** Reads all weights of a model. */
export async function referenceModel(plan: ModelPlan, file: WeightFile): Promise<ReferenceModel> {
  const numbers = new Map<string, Float64Array>();
  for (const { name } of tensorsOf(plan)) {
    if (!numbers.has(name)) numbers.set(name, Float64Array.from(widened(await file.read(name))));
  }
  const of: Numbers = ({ name }) => numbers.get(name)!;
  const run = (ids: readonly number[]) => {
    const start = norm(embed(ids, plan, of), plan.embedding.norm, plan, of);
    const end = plan.layers.reduce((x, layer) => runLayer(x, layer, plan, of), start);
    return norm(end, plan.finalNorm, plan, of);
  };
  return {
    states: (ids) => run(ids).data,
    logits(ids) {
      const { data } = linear(run(ids), plan.head!, of), cap = plan.logitSoftcap;
      return cap === undefined ? data : data.map((one) => cap * Math.tanh(one / cap));
    },
  };
}
