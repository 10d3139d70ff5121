/**
 * A stream: keys are gathered in blocks of so many, whatever they are pushed in, so that bits do not
 * depend on that. Each block is attended to by one call, whose result is added to those before.
 *
 * @module
 */

import { readOut } from "../../check/tensors.ts";
import { cannot } from "../../check/words.ts";
import type { Machinery } from "../../contract/backend.ts";
import { isGpuBuffer } from "../../tensor/dtype.ts";
import { type AnyView, type Extents, viewOf } from "../../tensor/tensor.ts";
import { runUsedAttention } from "../attention/operation.ts";
import type { AttentionCall, TensorPlan } from "../attention/plan.ts";
import type { KeptResult } from "../attention/result.ts";
import { scoresWithin, type Segment } from "../attention/segments.ts";
import type { Target } from "../attention/target.ts";
import { type Call, runUsed } from "../call.ts";
import { mergeAttention, type MergePlan } from "../merge/operation.ts";
import { type Block, HostBlock, rowsOf } from "./blocks.ts";
import { GpuBlock, gpuOf, GpuSums } from "./on_gpu.ts";
import type { Pushed, StreamCall } from "./options.ts";
import { HostSums, type Sums } from "./sums.ts";

/** Keys of a block, at most: those that calls sum in one part. */
const mostKeys = 2048;

/** Bytes of a block, at most, unless it would have fewer keys than a tile. */
const mostBytes = 64 * 2 ** 20;
const fewestKeys = 64;

/** Keys of a block: by shapes alone, so that bits depend on nothing else. */
function keysPerBlock(k: Extents, v: Extents): number {
  const fitting = mostBytes / (k[0] * k[1] * (k[3] + v[3]) * 4);
  return Math.min(mostKeys, Math.max(fewestKeys, Math.floor(fitting / fewestKeys) * fewestKeys));
}

/** The block for rows that are like some. */
async function blockFor(machinery: Machinery, like: AnyView, rows: number): Promise<Block> {
  const { shape: [batch, heads, , width], dtype } = like;
  const shape: Extents = [batch, heads, rows, width];
  return isGpuBuffer(like.data)
    ? new GpuBlock(machinery, await gpuOf(machinery, like.data), shape)
    : new HostBlock(machinery.own, shape, dtype);
}

/** Why a stream takes no more. */
interface End {
  readonly error: unknown;
}

/** A stream, from its first keys on. */
export class Stream {
  readonly #asked: Machinery | Promise<Machinery>;
  readonly #call: StreamCall;
  /** What is done so far: each step waits for the one before. */
  #done: Promise<unknown> = Promise.resolve();
  #end: End | undefined;
  #isFinished = false;
  #isReleased = false;
  #shapes: { readonly k: Extents; readonly v: Extents } | undefined;
  /** Of keys and of values, where there are such. */
  #blocks: Block[] = [];
  #sums: Sums | undefined;
  /** How its keys and values are stored: others begin a block. */
  #stored = "";
  /** Keys before the block, and in it. */
  #before = 0;
  #count = 0;
  /** Whether the sinks were seen, with the first block that was attended to. */
  #hasBegun = false;

  constructor(asked: Machinery | Promise<Machinery>, call: StreamCall) {
    this.#asked = asked;
    this.#call = call;
  }

  /** Attends to keys once they are read. */
  async push(read: Promise<Pushed>): Promise<void> {
    try {
      this.#checkOpen("push to");
      await this.#inTurn(async (machinery) => await this.#take(machinery, (await read)[0]));
    } finally {
      await read.then(([, leave]) => leave(), () => {});
    }
  }

  /** The result over all keys. */
  async finish(): Promise<object> {
    this.#checkOpen("finish");
    this.#isFinished = true;
    const result = await this.#inTurn((machinery) => this.#result(machinery));
    this.#release();
    return result;
  }

  /** Ends it; what runs may go on, and nobody else has its memory before. */
  close(): void {
    if (this.#isReleased) return;
    this.#end ??= { error: new Error("Cannot use a stream after `close()`") };
    this.#done = this.#done.then(() => this.#release());
  }

  #checkOpen(doing: string): void {
    if (this.#isFinished) throw new Error(`Cannot ${doing} a stream after \`finish()\``);
  }

  /** Throws why it takes no more. */
  #checkGoing(machinery: Machinery): void {
    if (this.#end !== undefined) throw this.#end.error;
    machinery.own.checkOpen();
    const { signal } = this.#call.asked.control;
    if (signal?.aborted) throw signal.reason;
  }

  /** Does a step behind those before; where it fails, the stream ends. */
  #inTurn<T>(step: (machinery: Machinery) => Promise<T>): Promise<T> {
    const turn = this.#done.then(async () => {
      try {
        const machinery = await this.#asked;
        this.#checkGoing(machinery);
        return await step(machinery);
      } catch (error) {
        this.#end ??= { error };
        this.#release();
        throw error;
      }
    });
    this.#done = turn.catch(() => {});
    return turn;
  }

  /** Gives back all that it has. */
  #release(): void {
    if (this.#isReleased) return;
    this.#isReleased = true;
    this.#freeBlocks();
    this.#sums?.free();
    this.#call.leave();
  }

  #freeBlocks(): void {
    for (const one of this.#blocks.splice(0)) one.free();
  }

  /** Takes keys, block by block. */
  async #take(machinery: Machinery, { k, v }: Pushed[0]): Promise<void> {
    this.#checkLike(k.shape, v.shape);
    const most = keysPerBlock(k.shape, v.shape), keys = k.shape[2];
    const stored = [k, v].map(({ data, dtype }) => `${dtype} ${isGpuBuffer(data)}`).join();
    if (keys > 0 && stored !== this.#stored) {
      await this.#attendBlock(machinery);
      this.#freeBlocks();
      this.#stored = stored;
    }
    for (let from = 0; from < keys;) {
      const to = Math.min(keys, from + most - this.#count);
      await this.#gather(machinery, rowsOf(k, from, to), rowsOf(v, from, to), most);
      from = to;
      if (from < keys) this.#checkGoing(machinery);
    }
  }

  /** Takes keys that fit into the block, and attends to it once it is whole. */
  async #gather(machinery: Machinery, k: AnyView, v: AnyView, most: number): Promise<void> {
    const keys = k.shape[2], isWhole = this.#count === 0 && keys === most;
    if (this.#sees(most)) { // Else nobody will read them.
      // Buffers are read as they are stored, by shaders that may give other bits than the block's.
      if (isWhole && ![k, v].some(({ data }) => isGpuBuffer(data))) {
        await this.#attend(machinery, k, v);
        this.#before += keys;
        return;
      }
      for (const [at, rows] of [k, v].entries()) {
        this.#blocks[at] ??= await blockFor(machinery, rows, most);
        await this.#blocks[at].write(rows, this.#count);
      }
    }
    this.#count += keys;
    if (this.#count === most) await this.#attendBlock(machinery);
  }

  /** Checks that keys are like those before, and that values fit the result. */
  #checkLike(k: Extents, v: Extents): void {
    if (this.#shapes === undefined) this.#outOf(v[3]);
    const first = this.#shapes ??= { k, v };
    for (
      const [name, axis, got, expected] of [
        ["k", "Hkv", k[1], first.k[1]],
        ["v", "Dv", v[3], first.v[3]],
      ]
    ) {
      if (got === expected) continue;
      throw new RangeError(
        `${cannot}: \`${name}\` must have ${axis} = ${expected} as what was pushed before has, got ${got}`,
      );
    }
  }

  /** Where the caller wants the result, for values of so many numbers. */
  #outOf(width: number): AnyView | null {
    const { into, asked: { plan: { written: { q, layout } } } } = this.#call;
    return into && readOut(into, [...q.slice(0, -1), width], layout);
  }

  /** Where queries are among the next keys. */
  #segmentsOf(keys: number): readonly Segment[] {
    return this.#call.asked.plan.segments.map((segment) => ({
      ...segment,
      ...{ keys, offset: segment.offset - this.#before },
    }));
  }

  /** Whether any query sees any of the next keys. */
  #sees(keys: number): boolean {
    const { band } = this.#call.asked.plan;
    return this.#segmentsOf(keys).some((segment) => scoresWithin(segment, band) > 0);
  }

  /** Attends to what is in the block, and begins another. */
  async #attendBlock(machinery: Machinery): Promise<void> {
    const count = this.#count, [k, v] = this.#blocks;
    if (count > 0 && v !== undefined && this.#sees(count)) {
      await this.#attend(machinery, k.view(count), v.view(count));
    }
    this.#before += count;
    this.#count = 0;
  }

  /** Attends to keys, and adds the result to those before. */
  async #attend(machinery: Machinery, k: AnyView, v: AnyView): Promise<void> {
    this.#sums ??= await this.#makeSums(machinery, v.shape[3]);
    const call = this.#callFor(k, v, this.#sums);
    const result = await runUsedAttention(machinery, call) as KeptResult<Float32Array>;
    this.#hasBegun = true;
    await this.#sums.add(machinery, result);
  }

  async #makeSums(machinery: Machinery, width: number): Promise<Sums> {
    const { into, asked: { plan: { batch, queryHeads, queries, q } } } = this.#call;
    const shape: Extents = [batch, queryHeads, queries, width], { data } = into ?? q;
    return isGpuBuffer(data)
      ? new GpuSums(await gpuOf(machinery, data), shape)
      : new HostSums(machinery.own, shape);
  }

  /** The call for some of the keys, whose results are f32. */
  #callFor(k: AnyView, v: AnyView, { out, storage }: Sums): AttentionCall<TensorPlan> {
    const { asked } = this.#call, { plan } = asked, { batch, queryHeads, queries } = plan;
    const keyHeads = k.shape[1], keys = k.shape[2], valueDim = v.shape[3];
    const functions = plan.functions && { ...plan.functions, keysBefore: this.#before };
    return {
      ...asked,
      ...{ storage, keepsRest: true },
      plan: Object.freeze({
        ...plan,
        ...{ keyHeads, group: queryHeads / keyHeads, keys, valueDim, out, functions },
        kv: { kind: "tensors", k, v } as const,
        segments: this.#segmentsOf(keys),
        sinks: this.#hasBegun ? null : plan.sinks,
        outShape: [batch, queryHeads, queries, valueDim],
        lseShape: [batch, queryHeads, queries],
        written: { ...plan.written, layout: "bhnd" as const },
      }),
    };
  }

  /** The result, from the sums: merging stores it in any way. */
  async #result(machinery: Machinery): Promise<object> {
    await this.#attendBlock(machinery);
    const { asked: { plan, storage }, out, into } = this.#call, { layout, q } = plan.written;
    const width = this.#shapes?.v[3] ?? into?.shape.at(-1) ?? plan.dim, view = this.#outOf(width);
    if (!this.#hasBegun) await this.#attend(machinery, ...this.#nothing(width));
    this.#freeBlocks();
    const lse = { dtype: "f32", like: view?.data ?? storage.like, shape: plan.lseShape! } as const;
    const made = { out: { ...storage, shape: [...q.slice(0, -1), width] }, lse };
    const call: Call<MergePlan, Target | null, object> = {
      operation: mergeAttention,
      plan: this.#sums!.rest(),
      control: {},
      results: view === null ? made : { lse },
      target: (results) => ({
        out: view ?? viewOf(results.out, layout),
        lse: viewOf({ ...results.lse, shape: [...lse.shape, 1] }, "bhnd"),
      } as Target),
      finish: (results) => ({ out, ...results }),
    };
    return await runUsed(machinery, call);
  }

  /** No keys, and values of so many numbers. */
  #nothing(width: number): [AnyView, AnyView] {
    const { q } = this.#call.asked.plan, [batch, heads, , dim] = q.shape;
    return [{ ...q, shape: [batch, heads, 0, dim] }, { ...q, shape: [batch, heads, 0, width] }];
  }
}
