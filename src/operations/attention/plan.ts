/**
 * The plan: what a call means, decided once. Backends execute plans and know no options.
 *
 * @module
 */

import { readInputs, readOut, readQueries } from "../../check/tensors.ts";
import { bare, cannot } from "../../check/words.ts";
import type { Control } from "../../contract/backend.ts";
import {
  checkPages,
  type KeptTokens,
  leftOf,
  type PagedKeys,
  type PageStore,
} from "../../contract/pages.ts";
import type { BlockMask } from "../../masks/block_mask.ts";
import type { KeyRuns } from "../../masks/key_runs.ts";
import { type Functions, readFunctions } from "../../scores/functions.ts";
import {
  type AnyTensor,
  type AnyView,
  type BroadcastView,
  type Extents,
  type Layout,
  type MaskView,
  mayOverlapAny,
  type ReadTensor,
} from "../../tensor/tensor.ts";
import type { Storage } from "../call.ts";
import { bandWithin, bitsOfChunks, blocksOfChunks } from "./chunk.ts";
import { checkUncached, readAttentionOptions, uncachedNames } from "./check/options.ts";
import { readSequenceRows, readSequences, type SequenceRows } from "./check/rows.ts";
import { readBias, readBlockMask, readMask, readSinks, readSlopes } from "./check/scores.ts";
import { type Each, readBoundaries, readLengths, readOffsets } from "./check/segments.ts";
import { maskOfTail } from "./check/tail.ts";
import {
  type AttentionOptions,
  type CacheAttentionOptions,
  optionNames,
  type Precision,
} from "./options.ts";
import { type Band, countSegments, scoresWithin, type Segment, segmentsOf } from "./segments.ts";

/** Keys `[B, Hkv, Nk, D]` and values `[B, Hkv, Nk, Dv]` in tensors. */
export interface TensorKeys<V extends AnyView = AnyView> {
  readonly kind: "tensors";
  readonly k: V;
  readonly v: V;
}

/** Keys and values in the pages of a cache. */
export interface CachedKeys<Store extends PageStore = PageStore> extends PagedKeys<Store> {
  readonly kind: "pages";
}

/** A checked call of `attention()`, with every default filled in. */
export interface AttentionPlan<
  V extends AnyView = AnyView,
  Keys extends TensorKeys<V> | CachedKeys = TensorKeys<V> | CachedKeys,
> {
  readonly batch: number;
  readonly queryHeads: number;
  readonly keyHeads: number;
  /** Query heads per key/value head: head `h` reads key/value head `floor(h / group)`. */
  readonly group: number;
  readonly queries: number;
  readonly keys: number;
  readonly dim: number;
  readonly valueDim: number;
  readonly q: V;
  /** Where keys and values are. */
  readonly kv: Keys;
  /** Where the caller wants the result; `null` for a tensor of its own, stored as `q` is. */
  readonly out: V | null;
  /** Shape of the result as the caller sees it. */
  readonly outShape: readonly number[];
  /** Shape of `lse` as the caller sees it; `null` when it is not asked for. */
  readonly lseShape: readonly number[] | null;
  readonly scale: number;
  /**
   * Queries that see keys together, in the order of their rows. What is in none of them sees nothing:
   * 0, and -Infinity in `lse`, whatever sinks say.
   */
  readonly segments: readonly Segment[];
  /** Whether segments are packed in one batch; else each is a batch. */
  readonly packed: boolean;
  readonly band: Band;
  /** Scores become `softcap * tanh(score / softcap)`; `null` for none. */
  readonly softcap: number | null;
  /** ALiBi's slopes, `[segment][query head]`. */
  readonly slopes: Float32Array | null;
  readonly bias: BroadcastView | null;
  readonly mask: MaskView | null;
  /** By query head. */
  readonly sinks: Float32Array | null;
  /** Which keys blocks of queries see: as a caller has it, or as runs where a function makes the keys. */
  readonly blockMask: BlockMask | KeyRuns | null;
  /** Score and mask functions; `null` for none. */
  readonly functions: Functions | null;
  /** How products are formed: with functions in f32. */
  readonly precision: Precision;
  /** How the caller wrote it: results are written alike. */
  readonly written: Written;
}

/** Order and shapes of what a caller handed over. */
export interface Written {
  readonly layout: Layout;
  readonly q: readonly number[];
  readonly k: readonly number[];
  readonly v: readonly number[];
  readonly bias: readonly number[] | null;
}

/** The plan of a call on tensors. */
export type TensorPlan<V extends AnyView = AnyView> = AttentionPlan<V, TensorKeys<V>>;

/** A call as it was read: nothing of it is read from the caller's objects again. */
export interface AttentionCall<Plan extends AttentionPlan = AttentionPlan> {
  readonly plan: Plan;
  readonly control: Control;
  /** The caller's tensor for the result, to be handed back; `null` where it gave none. */
  readonly out: AnyTensor | null;
  /** How a result is stored that has a tensor of its own. */
  readonly storage: Storage;
  /** Whether what rounding takes from `lse` is kept: for gradients. */
  readonly keepsRest?: boolean;
  /** What is read besides a plan's inputs. */
  readonly alsoReads?: readonly AnyView[];
}

/** The tensors that a call reads, by name; `null` for what was not given. */
export function inputsOf({ q, kv, bias, mask }: AttentionPlan) {
  const { k, v } = kv.kind === "tensors" ? kv : { k: null, v: null };
  return { q, k, v, bias, mask };
}

/** Whether a view may share an element with something that the call reads. */
export function mayBeRead(plan: AttentionPlan, view: AnyView): boolean {
  return mayOverlapAny(view, Object.values(inputsOf(plan)));
}

/** Whether scores are anything but scaled products within one band. */
export function hasTerms(plan: AttentionPlan): boolean {
  const { softcap, slopes, bias, mask, sinks, blockMask } = plan;
  return [softcap, slopes, bias, mask, sinks, blockMask].some((term) => term !== null);
}

/** Query rows over all batches and heads: what progress is counted in. */
export function countRows({ batch, queryHeads, queries }: AttentionPlan): number {
  return batch * queryHeads * queries;
}

/** A window that was read has two sides. */
function bandOf(causal: boolean, window: AttentionOptions["window"]): Band {
  const [left, right] = window as readonly (number | null)[] | undefined ?? [null, null];
  return { left: left ?? Infinity, right: Math.min(right ?? Infinity, causal ? 0 : Infinity) };
}

/**
 * Products of a query with a key that a call needs, over all batches and heads: those within bands,
 * lengths and the blocks that are visited.
 */
export function countScores({ segments, band, queryHeads, blockMask }: AttentionPlan): number {
  let scores = 0;
  for (const segment of segments) scores += scoresWithin(segment, band);
  return scores * queryHeads * (blockMask?.visited ?? 1);
}

/** What a caller can do to a running call, of the options that were read. */
function controlOf({ signal, encoder, onProgress }: AttentionOptions): Control {
  return { signal, encoder, onProgress };
}

/**
 * Reads a call and decides what it means.
 *
 * @param unlisted Options that are refused where it runs, by a message of its own.
 */
export function readAttention(
  q: AnyTensor | ReadTensor,
  k: AnyTensor | ReadTensor,
  v: AnyTensor | ReadTensor,
  options: AttentionOptions = {},
  unlisted?: readonly string[],
): AttentionCall<TensorPlan> {
  const given = readAttentionOptions(options, optionNames, cannot, unlisted);
  return callOf(planGiven(q, k, v, given), given);
}

/** The meaning of a call alone. */
export function planAttention(
  q: AnyTensor,
  k: AnyTensor,
  v: AnyTensor,
  options: AttentionOptions = {},
): TensorPlan {
  return readAttention(q, k, v, options).plan;
}

function callOf<Plan extends AttentionPlan>(
  plan: Plan,
  given: AttentionOptions,
): AttentionCall<Plan> {
  const { out, q } = plan;
  return {
    plan,
    control: controlOf(given),
    out: given.out ?? null,
    storage: { dtype: q.dtype, like: out === null ? q.data : out.data },
  };
}

const ofBatches = { name: "batch", letter: "B" };

function planGiven(
  q: AnyTensor | ReadTensor,
  k: AnyTensor | ReadTensor,
  v: AnyTensor | ReadTensor,
  given: AttentionOptions,
): TensorPlan {
  const { causal = false, layout = "bhnd" } = given;
  const inputs = readInputs(q, k, v, layout);
  const [batch, queryHeads, queries, dim] = inputs.q.shape;
  const [, keyHeads, keys] = inputs.k.shape;
  const packed = readBoundaries(given, batch, queries, keys);
  const each: Each = {
    count: countSegments({ batch, packed }),
    ...(packed === null ? ofBatches : { name: "sequence" }),
  };
  const segments = segmentsOf({
    ...{ batch, queries, keys, packed, topLeft: causal === "top-left" },
    offsets: readOffsets(given.offset, each),
    lengths: readLengths(
      given.kvLengths,
      each,
      (index) =>
        packed === null
          ? [keys, "Nk"]
          : [packed.k[index + 1] - packed.k[index], `the keys of sequence ${index}`],
    ),
  });
  const extents: Extents = [batch, queryHeads, queries, keys], { chunk } = given;
  const blockMask = readBlockMask(given.blockMask, extents);
  return planOf(given, inputs.shapes, each, {
    batch,
    queryHeads,
    keyHeads,
    group: queryHeads / keyHeads,
    queries,
    keys,
    dim,
    valueDim: inputs.v.shape[3],
    q: inputs.q,
    kv: { kind: "tensors", k: inputs.k, v: inputs.v } as const,
    segments,
    packed: packed !== null,
    blockMask: chunk === undefined
      ? blockMask
      : blocksOfChunks(segments, packed !== null, extents, chunk, blockMask),
  });
}

/** What calls on tensors and calls on caches decide alike. */
function planOf<Keys extends TensorKeys | CachedKeys>(
  given: AttentionOptions,
  shapes: Pick<Written, "q" | "k" | "v">,
  each: Each,
  sizes: Pick<
    AttentionPlan<AnyView, Keys>,
    | ("batch" | "queryHeads" | "keyHeads" | "group" | "queries" | "keys" | "dim" | "valueDim")
    | ("q" | "kv" | "segments" | "packed" | "blockMask")
  >,
): AttentionPlan<AnyView, Keys> {
  const { batch, queryHeads, queries, keys, dim, valueDim } = sizes;
  const { causal = false, layout = "bhnd" } = given, rank = shapes.q.length;
  const outShape = [...shapes.q.slice(0, -1), valueDim];
  const extents: Extents = [batch, queryHeads, queries, keys];
  const { window, offset, alibi, chunk } = given, band = bandOf(causal !== false, window);
  const isAligned = !causal &&
    [window, offset, alibi, chunk].every((option) => option === undefined);
  const bias = readBias(given.bias, extents), functions = readFunctions(given, isAligned);
  return Object.freeze({
    ...sizes,
    out: given.out === undefined ? null : readOut(given.out, outShape, layout),
    outShape,
    lseShape: given.lse ? [batch, queryHeads, queries].slice(4 - rank) : null,
    scale: given.scale ?? 1 / Math.sqrt(dim),
    band: chunk === undefined ? band : bandWithin(band, chunk),
    softcap: given.softcap || null,
    slopes: readSlopes(alibi, each, queryHeads),
    bias: bias && bias.view,
    mask: readMask(given.mask, extents),
    sinks: readSinks(given.sinks, queryHeads),
    functions,
    precision: functions === null ? given.precision ?? "f32" : "f32",
    written: { layout, q: shapes.q, k: shapes.k, v: shapes.v, bias: bias && bias.shape },
  });
}

/** Every option of attention to a cache, by name. */
export const cachedNames = [
  ...optionNames,
  "lengths",
  "sequences",
  "tailMask",
  "parents",
] as const;

/**
 * Reads a call against a cache whose sequences have so many tokens, and decides what it means. The
 * cache must not change meanwhile: what is read may be a function of the caller's.
 *
 * @param ahead Whether tokens are counted that are still to be appended, pages of which come before the call runs.
 */
export function readCached(
  q: AnyTensor | ReadTensor,
  paged: PagedKeys,
  tokens: readonly number[],
  options: CacheAttentionOptions = {},
  ahead = false,
): AttentionCall {
  const given: CachedOptions = readAttentionOptions(
    options as CachedOptions,
    cachedNames,
    cannot,
    uncachedNames,
  );
  checkUncached(given);
  if (!ahead) checkPages(paged, leftOf(paged, tokens));
  return callOf(planOfCache(q, paged, tokens, given), given);
}

/** What may be among the options of such a call: some are refused by messages of their own. */
export type CachedOptions = Omit<AttentionOptions, "cuSeqlens"> & CacheAttentionOptions;

function planOfCache(
  given: AnyTensor | ReadTensor,
  { store, pages, kept: all }: PagedKeys,
  tokens: readonly number[],
  options: CachedOptions,
): AttentionPlan {
  const { layout = "bhnd" } = options, { kvHeads, headDim, valueDim } = store.layout;
  const sequences = readSequences(options.sequences, tokens.length, cannot);
  const packed = options.cuSeqlens !== undefined, count = sequences.length;
  const { q, shape } = readQueries(given, layout, [packed ? 1 : count, kvHeads, headDim]);
  const [batch, queryHeads, queries] = q.shape;
  const rows = readSequenceRows(options, sequences, [queries, "Nq"], cannot);
  const kept = all && keptFor(all, sequences, options);
  const own = sequences.map((one, at) => tokens[one] - (kept?.dropped[at] ?? 0));
  const keys = Math.max(0, ...own);
  const each: Each = packed ? { count, name: "sequence" } : { count, ...ofBatches };
  const segments = segmentsOfCache(options, each, rows, own, kept), { chunk } = options;
  const seen = maskOfTail(options, rows, queries, own, keys) ?? options.mask;
  const extents: Extents = [batch, queryHeads, queries, keys];
  const mask = chunk === undefined ? seen : bitsOfChunks(segments, packed, extents, chunk, seen);
  const plan = planOf(
    bare<AttentionOptions>(options as AttentionOptions, { mask }),
    { q: shape, k: [], v: [] },
    each,
    {
      ...{ batch, queryHeads, keyHeads: kvHeads, group: queryHeads / kvHeads, queries, keys },
      ...{ dim: headDim, valueDim, q, packed, blockMask: null },
      kv: { kind: "pages", store, pages: sequences.map((one) => pages[one]), kept } as const,
      segments,
    },
  );
  return kept === undefined ? plan : withinKept(plan, kept, store, rows);
}

/** Each sequence by its own length: the last of its queries that count stands on its last token. */
function segmentsOfCache(
  { causal = false, offset, lengths }: CachedOptions,
  each: Each,
  { sequences, packed, firsts, counts }: SequenceRows,
  tokens: readonly number[],
  kept: KeptTokens | undefined,
): readonly Segment[] {
  const offsets = readOffsets(offset, each);
  const isAligned = causal === true || causal === "bottom-right";
  if (isAligned && offsets === null && lengths === undefined) {
    checkAlignment(sequences, counts, tokens.map((left, at) => left + (kept?.dropped[at] ?? 0)));
  }
  return tokens.map((keys, index) => {
    const place = offsets?.[index] ?? (causal === "top-left" ? 0 : undefined);
    return {
      ...{ batch: packed ? 0 : index, firstQuery: firsts[index], queries: counts[index] },
      ...{ firstKey: 0, keys },
      offset: place === undefined ? keys - counts[index] : place - (kept?.dropped[index] ?? 0),
    };
  });
}

/** Options by which keys are told apart that a cache may have dropped. */
const unkept = ["mask", "bias", "chunk", "scoreMod", "maskMod"] as const;

/** What some sequences of a cache keep, and what cannot be asked of it. */
function keptFor(
  kept: KeptTokens,
  sequences: readonly number[],
  options: CachedOptions,
): KeptTokens {
  const given = unkept.find((name) => options[name] !== undefined);
  if (given !== undefined) {
    throw new TypeError(
      `${cannot}: \`${given}\` cannot be given with a cache that has \`keepLast\`: it is about all tokens, of ` +
        "which some are dropped",
    );
  }
  return { ...kept, dropped: sequences.map((one) => kept.dropped[one]) };
}

/** Rows see the first tokens, and of the others the last ones: those that are there. */
function withinKept(
  plan: AttentionPlan,
  { keepFirst, keepLast, dropped }: KeptTokens,
  { layout: { pageSize } }: PageStore,
  { sequences }: SequenceRows,
): AttentionPlan {
  const left = Math.min(plan.band.left, keepLast - 1);
  const border = Math.ceil(keepFirst / pageSize) * pageSize;
  for (const [at, { queries, offset }] of plan.segments.entries()) {
    const gone = dropped[at], first = offset - left;
    if (gone === 0 || queries === 0 || first >= border) continue;
    throw new RangeError(
      `${cannot}: the first query of sequence ${sequences[at]} stands on token ${
        offset + gone
      } and sees ` +
        `those from ${first + gone} on, of which those before ${
          border + gone
        } were dropped; attend before ` +
        "more is appended, or ask for a smaller `window`",
    );
  }
  return Object.freeze({
    ...plan,
    band: { ...plan.band, left },
    // Integers know nothing of keys that are seen from everywhere.
    precision: keepFirst > 0 ? "f32" : plan.precision,
  });
}

/** More queries than tokens are padded ones: aligned by the last of them, the first would see nothing. */
function checkAlignment(
  sequences: readonly number[],
  counts: readonly number[],
  tokens: readonly number[],
): void {
  const short = tokens.findIndex((length, at) => length > 0 && length < counts[at]);
  if (short < 0) return;
  throw new RangeError(
    `${cannot}: \`causal\` with Nq = ${
      counts[short]
    } queries needs \`lengths\` or \`offset\`, since ` +
      `sequence ${sequences[short]} has only ${
        tokens[short]
      } tokens; \`lengths\` says how many queries of ` +
      "each sequence count",
  );
}

/** The same against another cache, of as many tokens: of the sequences that the plan's segments are of. */
export function onPages(
  plan: AttentionPlan,
  { store, pages }: PagedKeys,
  sequences: readonly number[],
): AttentionPlan {
  const own = sequences.map((one) => pages[one]);
  const kv = { ...plan.kv as CachedKeys, store, pages: own };
  checkPages(kv, plan.segments.map(({ keys }) => keys));
  return { ...plan, kv };
}

/** Whether some rows are in no segment: those behind what `lengths` counts. */
export function hasUncounted({ packed, segments, queries }: AttentionPlan): boolean {
  return !packed && segments.some((segment) => segment.queries < queries);
}
