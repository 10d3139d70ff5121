/**
 * Performer attention on WebGPU: exponents of features, sums over keys of parts, these added up, and rows that look at
 * them. Rows go by in segments, so that what is held of their exponents is bounded.
 *
 * @module
 */

import { throwIfAborted } from "../../check/errors.ts";
import type { Control } from "../../contract/backend.ts";
import { cannotOf } from "../../operations/performer/options.ts";
import type { PerformerPlan } from "../../operations/performer/plan.ts";
import type { PerformerStep, PerformerTarget } from "../../operations/performer/tokens.ts";
import type { AnyView } from "../../tensor/tensor.ts";
import type { Binding } from "../device/buffers.ts";
import type { Machine } from "../device/machine.ts";
import { pipelineOf } from "../device/pipelines.ts";
import { type Grid, type Loan, Submission } from "../device/submission.ts";
import { type Access, accessFlags } from "../shader/access.ts";
import { encode, type Values } from "../shader/parameters.ts";
import { linearShaders } from "../shader/linear_shaders.gen.ts";
import { codeOf } from "../shader/sources.ts";
import type { Bound, Box } from "../transfer/box.ts";
import { cutRange, extent, mostWorkgroups, type Range } from "../transfer/regions.ts";
import { withLoan } from "../transfer/rows.ts";
import { type Sink, sinkOf } from "../transfer/sink.ts";
import { accessOf, type Source, sourceOf } from "../transfer/source.ts";

const { performerAttention: cannot } = cannotOf;

const fields = {
  rows: "u32",
  columns: "u32",
  vectors: "u32",
  out_columns: "u32",
  value_vectors: "u32",
  features: "u32",
  /** Features up to a multiple of four. */
  lanes: "u32",
  /** Heads that share what the other operand has of one. */
  group: "u32",
  /** Keys of a part, and parts. */
  part: "u32",
  parts: "u32",
  /** Numbers of a part's sums, of a head's state, and from one head's sums to the next and from one part's. */
  sums_size: "u32",
  state_size: "u32",
  sums_head: "u32",
  sums_part: "u32",
  is_first: "u32",
  /** What products are multiplied by, and squares of keys. */
  factor: "f32",
  square: "f32",
  zero: "f32",
  x: "tensor",
  w: "tensor",
  v: "tensor",
  out: "tensor",
} as const;

/** Rows of a workgroup. */
const rowsTogether = 16;

/** Keys of a part where rows see all. */
const keysOfPart = 256;

/** Bytes of exponents of a segment of queries, and of sums of its parts, about. */
const segmentBytes = 16 * 1024 * 1024;

/** Names of the shaders. */
type Shader = "exponents" | "learn" | "add" | "answer";

/** Heads of a batch on their way through the device. */
interface Running {
  readonly loan: Loan;
  readonly plan: PerformerPlan;
  readonly sources: Readonly<Record<"q" | "k" | "v" | "projection", Source>>;
  readonly out: Sink;
  readonly target: AnyView;
  readonly open: () => void;
  readonly control: Control;
}

/** Key/value heads of one batch, and where what is summed of them is. */
interface Heads {
  readonly batch: number;
  readonly heads: Range;
  readonly state: Binding;
}

/** Numbers of sums, and of a state: sums and their rests. */
function sizesOf({ features, valueDim }: PerformerPlan) {
  const lanes = Math.ceil(features / 4) * 4, vectors = Math.ceil(valueDim / 4);
  const sums = 2 * lanes + features * vectors * 4;
  return { lanes, vectors, sums, state: 2 * sums - lanes };
}

function running(
  { open }: Machine,
  loan: Loan,
  plan: PerformerPlan,
  target: AnyView,
  control: Control,
): Running {
  const source = (name: "q" | "k" | "v" | "projection") => sourceOf(plan[name], loan, name);
  return {
    ...{ loan, plan, target, open, control, out: sinkOf(target, loan, "out") },
    sources: {
      q: source("q"),
      k: source("k"),
      v: source("v"),
      projection: source("projection"),
    },
  };
}

/** Performer attention. */
export function performerRows(
  machine: Machine,
  plan: PerformerPlan,
  { out }: PerformerTarget,
  control: Control,
): Promise<void> {
  return withLoan(machine.session, async (loan) => {
    if (plan.batch * plan.queries === 0) return;
    const run = running(machine, loan, plan, out, control), { state } = sizesOf(plan);
    checkRoom(run, 1);
    for (let batch = 0; batch < plan.batch; batch++) {
      for (const heads of headRanges(run)) {
        const room = await loan.room(extent(heads) * state * 4, "sums");
        const one = { batch, heads, state: room };
        await (plan.causal ? attend(run, one, 0) : answer(run, one));
        loan.give(room.buffer);
      }
    }
    throwIfAborted(control.signal);
  });
}

/** A step of a state, which is the caller's. */
export function stepPerformer(
  machine: Machine,
  { plan, state: view, position }: PerformerStep,
  { out }: PerformerTarget,
  control: Control,
): Promise<void> {
  return withLoan(machine.session, async (loan) => {
    if (plan.batch * plan.queries === 0) return;
    const run = running(machine, loan, plan, out, control), bytes = sizesOf(plan).state * 4;
    checkRoom(run, plan.keyHeads);
    const buffer = view.data as GPUBuffer, { alignment } = loan.session;
    // Heads begin where bindings can.
    const step = Math.ceil(bytes * plan.keyHeads / alignment) * alignment;
    for (let batch = 0; batch < plan.batch; batch++) {
      const state = { buffer, offset: batch * step, size: bytes * plan.keyHeads };
      await attend(run, { batch, heads: [0, plan.keyHeads], state }, position);
    }
  });
}

/** Checks that a shader has room for what so many key/value heads need at least. */
function checkRoom(
  { plan, loan: { session: { bounds } } }: Running,
  heads: number,
): void {
  const { group, features } = plan, { state } = sizesOf(plan);
  const bytes = heads * Math.max(state, group * rowsTogether * features) * 4;
  if (bytes <= bounds.bindingBytes && heads * group <= mostWorkgroups) return;
  throw new RangeError(
    `${cannot}: ${heads} times ${group} heads of ${features} features need ${bytes} bytes, a shader of ` +
      `this GPU has at most ${bounds.bindingBytes} of a buffer: the wasm backend takes them`,
  );
}

/** Key/value heads that go by together. */
function headRanges({ plan }: Running): Range[] {
  const { keyHeads, group, features } = plan, { state } = sizesOf(plan);
  const ofHead = Math.max(group * rowsTogether * features, 2 * state) * 4;
  const most = Math.max(
    1,
    Math.min(Math.floor(segmentBytes / ofHead), Math.floor(mostWorkgroups / group)),
  );
  return cutRange([0, keyHeads], most);
}

/** Rows that go by together: a multiple of those that are looked at together, or of the keys of a part. */
function segments(
  { plan, loan: { session: { bounds } } }: Running,
  { heads, batch }: Heads,
  rows: number,
  unit: number,
  reads: readonly { readonly source: Source; readonly group: number }[],
): Range[] {
  const { sums } = sizesOf(plan), count = extent(heads);
  const ofUnit = count * (plan.group * unit * plan.features + sums) * 4;
  const most =
    Math.max(1, Math.min(Math.floor(segmentBytes / ofUnit), Math.floor(mostWorkgroups / unit))) *
    unit;
  const fits = (range: Range) =>
    reads.every(({ source, group }) =>
      source.bytes(boxOf(batch, heads, range, group)) <= bounds.bindingBytes
    );
  const ranges: Range[] = [];
  for (let from = 0, size = most; from < rows;) {
    const range: Range = [from, Math.min(rows, from + size)];
    if (fits(range)) {
      ranges.push(range);
      from = range[1];
    } else if (size > unit) size = Math.ceil(size / 2 / unit) * unit;
    else {
      throw new RangeError(
        `${cannot}: ${unit} rows reach over more than the ${bounds.bindingBytes} bytes that a shader of ` +
          "this GPU has of a buffer: the wasm backend takes them",
      );
    }
  }
  return ranges;
}

function boxOf(batch: number, [from, to]: Range, rows: Range, group: number): Box {
  return { batch: [batch, batch + 1], heads: [from * group, to * group], rows };
}

/** What the uniforms of all shaders say. */
function commonOf({ plan }: Running) {
  const { dim, valueDim, features, scale, kernel } = plan, sizes = sizesOf(plan);
  const root = Math.sqrt(scale), isRelu = kernel === "relu";
  return {
    ...{ columns: dim, vectors: Math.ceil(dim / 4), out_columns: valueDim },
    ...{ value_vectors: sizes.vectors, features, lanes: sizes.lanes, zero: 0 },
    ...{ sums_size: sizes.sums, state_size: sizes.state },
    factor: isRelu ? root : root * Math.LOG2E,
    square: scale / 2 * Math.LOG2E,
  } satisfies Values<typeof fields>;
}

/** A dispatch of one of the shaders. */
async function dispatch(
  run: Running,
  submission: Submission,
  shader: Shader,
  { flags = {}, access = {}, values, bindings, grid }: {
    readonly flags?: Readonly<Record<string, number>>;
    readonly access?: Readonly<Record<string, Access>>;
    readonly values: Values<typeof fields>;
    readonly bindings: readonly (Binding | null)[];
    readonly grid: Grid;
  },
): Promise<void> {
  const { plan, loan } = run, isRelu = Number(plan.kernel === "relu");
  const constants = { RELU: isRelu, ...flags, ...accessFlags(access) };
  const code = codeOf(`linear/performer/${shader}.wgsl`, fields, constants, linearShaders);
  const pipeline = await pipelineOf(loan.session.gpu, code, `performer ${shader}`);
  submission.dispatch(pipeline, encode(fields, { ...commonOf(run), ...values }), bindings, grid);
}

/** Exponents of rows of queries or keys. */
async function exponents(
  run: Running,
  submission: Submission,
  name: "q" | "k",
  { batch, heads }: Heads,
  rows: Range,
): Promise<Binding> {
  const { plan, sources, loan } = run, group = name === "q" ? plan.group : 1;
  const count = extent(heads) * group, height = extent(rows);
  const x = await sources[name].place(boxOf(batch, heads, rows, group));
  const w = await sources.projection.place(boxOf(0, heads, [0, plan.features], 1));
  const target = await loan.room(count * height * plan.features * 4, "exponents");
  await dispatch(run, submission, "exponents", {
    flags: { KEYS: Number(name === "k") },
    access: { x: accessOf(plan[name]), w: accessOf(plan.projection) },
    values: { rows: height, group, x, w },
    bindings: [x, w, target],
    grid: [Math.ceil(height / rowsTogether), count, Math.ceil(plan.features / 64)],
  });
  return target;
}

/** Sums of parts of keys, added to the state; with `causal` what was before each part is left in their place. */
async function learn(
  run: Running,
  submission: Submission,
  { batch, heads, state }: Heads,
  rows: Range,
  isFirst: boolean,
  given: Binding,
): Promise<{ readonly sums: Binding; readonly v: Bound }> {
  const { plan, sources, loan } = run, sizes = sizesOf(plan), { causal } = plan;
  const count = extent(heads), height = extent(rows), part = causal ? rowsTogether : keysOfPart;
  const parts = Math.ceil(height / part);
  const v = await sources.v.place(boxOf(batch, heads, rows, 1));
  const sums = await loan.room(count * parts * sizes.sums * 4, "sums of parts");
  const values = { rows: height, part, parts, v, is_first: Number(isFirst) };
  await dispatch(run, submission, "learn", {
    access: { v: accessOf(plan.v) },
    values,
    bindings: [given, v, sums],
    grid: [parts, count, Math.ceil(plan.features / 16)],
  });
  await dispatch(run, submission, "add", {
    flags: { CAUSAL: Number(causal) },
    values,
    bindings: [sums, state],
    grid: [plan.features, count, 1],
  });
  return { sums, v };
}

/** Submits a segment, and gives back what it needed. */
async function submit(
  run: Running,
  submission: Submission,
  used: readonly Binding[],
): Promise<void> {
  for (const { buffer } of used) submission.free(buffer);
  await submission.submit(run.loan, cannot);
  for (const source of Object.values(run.sources)) source.release();
}

function begin(run: Running): Submission {
  throwIfAborted(run.control.signal);
  run.open();
  return new Submission(run.loan.session, "performer");
}

/** Results of a segment of rows, from sums. */
async function answerSegment(
  run: Running,
  submission: Submission,
  { batch, heads }: Heads,
  rows: Range,
  { values, bindings }: {
    readonly values: Values<typeof fields>;
    readonly bindings: readonly [q: Binding, sums: Binding, k: Binding | null, v: Bound | null];
  },
): Promise<void> {
  const { plan, target } = run, height = extent(rows), [q, sums, k, v] = bindings;
  const box = boxOf(batch, heads, rows, plan.group), out = await run.out.place(box);
  await dispatch(run, submission, "answer", {
    flags: { CAUSAL: Number(v !== null) },
    access: { out: accessOf(target), ...(v && { v: accessOf(plan.v) }) },
    values: { rows: height, group: plan.group, out, v, ...values },
    bindings: [q, sums, k, out, v],
    grid: [
      Math.ceil(height / rowsTogether),
      extent(heads) * plan.group,
      Math.ceil(plan.valueDim / 64),
    ],
  });
  submission.copyBack(out, (bytes) => run.out.collect(box, bytes));
}

/** Rows that see all keys. */
async function answer(run: Running, one: Heads): Promise<void> {
  const { plan, sources } = run, { state } = sizesOf(plan);
  const keys = [{ source: sources.k, group: 1 }, { source: sources.v, group: 1 }];
  let isFirst = true;
  for (const rows of segments(run, one, plan.keys, keysOfPart, keys)) {
    const submission = begin(run), k = await exponents(run, submission, "k", one, rows);
    const { sums } = await learn(run, submission, one, rows, isFirst, k);
    await submit(run, submission, [k, sums]);
    isFirst = false;
  }
  if (isFirst) await clear(run, one);
  const queries = [
    { source: sources.q, group: plan.group },
    { source: run.out, group: plan.group },
  ];
  for (const rows of segments(run, one, plan.queries, rowsTogether, queries)) {
    const submission = begin(run), q = await exponents(run, submission, "q", one, rows);
    await answerSegment(run, submission, one, rows, {
      values: { sums_head: state, sums_part: 0 },
      bindings: [q, one.state, null, null],
    });
    await submit(run, submission, [q]);
  }
}

/** Where there are no keys sums are those of nothing. */
async function clear(run: Running, { heads, state }: Heads): Promise<void> {
  const submission = begin(run), nothing = await run.loan.room(256, "nothing");
  await dispatch(run, submission, "add", {
    flags: { CAUSAL: 0 },
    values: { parts: 0, is_first: 1 },
    bindings: [nothing, state],
    grid: [run.plan.features, extent(heads), 1],
  });
  await submit(run, submission, [nothing]);
}

/** Rows that see no later keys, after so many others. */
async function attend(run: Running, one: Heads, position: number): Promise<void> {
  const { plan, sources: { q, k, v }, out } = run, { sums: size } = sizesOf(plan);
  const reads = [
    { source: k, group: 1 },
    { source: v, group: 1 },
    { source: q, group: plan.group },
    { source: out, group: plan.group },
  ];
  for (const rows of segments(run, one, plan.queries, rowsTogether, reads)) {
    const submission = begin(run), ofKeys = await exponents(run, submission, "k", one, rows);
    const ofQueries = await exponents(run, submission, "q", one, rows);
    const isFirst = position + rows[0] === 0;
    const { sums, v } = await learn(run, submission, one, rows, isFirst, ofKeys);
    await answerSegment(run, submission, one, rows, {
      values: { sums_head: Math.ceil(extent(rows) / rowsTogether) * size, sums_part: size },
      bindings: [ofQueries, sums, ofKeys, v],
    });
    await submit(run, submission, [ofKeys, ofQueries, sums]);
  }
}
