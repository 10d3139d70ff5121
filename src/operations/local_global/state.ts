/**
 * Decoding of blocks and summaries: what is kept from step to step.
 *
 * @module
 */

import { bare } from "../../check/words.ts";
import { HeldArray } from "../../tensor/arrays.ts";
import type { Backend, EngineTensor, Machinery } from "../../contract/backend.ts";
import { isGpuBuffer, type TensorData } from "../../tensor/dtype.ts";
import { useAll } from "../../tensor/lending.ts";
import { type AnyView, type ReadTensor, viewOf } from "../../tensor/tensor.ts";
import type { TensorPlan } from "../attention/plan.ts";
import type { AttentionResult } from "../attention/result.ts";
import { runUsed } from "../call.ts";
import {
  attendingNames,
  type AttendingOptions,
  callOf,
  type Given,
  planAttending,
  readAttending,
} from "../linear/attending.ts";
import { placed } from "../linear/operation.ts";
import { Turns } from "../linear/turns.ts";
import { checkRows, readBlock, readPool, viewOfPool } from "./plan.ts";
import { cannotStep, type Kept, localGlobalStep } from "./tokens.ts";
import type { LocalGlobalOptions } from "./plan.ts";

/** What messages of `createLocalGlobalState()` begin with. */
export const cannotCreate = "Cannot compute `createLocalGlobalState()`";

/** Options of `createLocalGlobalState()`. */
export interface LocalGlobalStateOptions
  extends Pick<LocalGlobalOptions, "block" | "pool" | "scale" | "layout"> {}

/** Every option, by name. */
export const stateNames = [
  "block",
  "pool",
  "scale",
  "layout",
] as const satisfies readonly (keyof LocalGlobalStateOptions)[];

/** Options of a step. */
export interface LocalGlobalStepOptions extends Pick<AttendingOptions, "lse" | "out" | "signal"> {}

const stepNames = attendingNames.filter((name) => name !== "scale" && name !== "layout");

/** Tensors that are kept. */
interface Memory {
  readonly k: EngineTensor<TensorData>;
  readonly v: EngineTensor<TensorData>;
  readonly room: number;
}

/** Batches, heads and columns, which are the same in each step. */
type Sizes = Pick<TensorPlan, "batch" | "queryHeads" | "keyHeads" | "dim" | "valueDim">;

/** Summaries that there is room for at first. */
const leastRoom = 8;

/** A decoder's state. */
export class StateOfBlocks {
  readonly #asked: () => Machinery | Promise<Machinery>;
  readonly #options: LocalGlobalStateOptions;
  readonly #block: number;
  /** What was given, by itself: how it fits is known with the first rows. */
  readonly #pool: unknown;
  readonly #turns: Turns;
  #sizes: Sizes | undefined;
  #memory: Memory | undefined;
  #rows = 0;

  /** Reads options that nobody changes. */
  constructor(asked: () => Machinery | Promise<Machinery>, options: LocalGlobalStateOptions) {
    const { pool, ...given } = readAttending(options, stateNames, cannotCreate);
    this.#asked = asked;
    this.#block = readBlock(given.block, cannotCreate);
    // Of any number of heads, until these are known.
    this.#pool = pool === undefined ? undefined : Object.freeze({
      ...readPool(pool, this.#block, undefined, cannotCreate),
    });
    this.#options = bare(given);
    this.#turns = new Turns(cannotStep, () => this.#free(this.#memory));
  }

  /** Rows so far. */
  get rows(): number {
    return this.#rows;
  }

  /** New rows; steps follow one another in the order in which they were asked for. */
  async step(
    tensors: Given,
    options: LocalGlobalStepOptions = {},
  ): Promise<AttentionResult<never>> {
    this.#turns.checkOpen();
    const given = readAttending(options, stepNames, cannotStep);
    const { layout, scale } = this.#options;
    const forward = planAttending(
      tensors,
      bare<LocalGlobalOptions>(given, { layout, scale }),
      cannotStep,
    );
    checkRows(forward, cannotStep);
    this.#checkSizes(forward);
    const pool = this.#poolFor(forward), { q, kv: { k, v }, out } = forward;
    const leave = useAll([q, k, v, out, pool]);
    try {
      return await this.#turns.take(() => this.#run(forward, pool, given));
    } finally {
      leave();
    }
  }

  /** Gives its memory back, once no step uses it any more. */
  close(): void {
    this.#turns.close();
  }

  #free(memory: Memory | undefined): void {
    memory?.k.free();
    memory?.v.free();
  }

  #checkSizes({ batch, queryHeads, keyHeads, dim, valueDim }: TensorPlan): void {
    const sizes = { batch, queryHeads, keyHeads, dim, valueDim }, known = this.#sizes ??= sizes;
    const names = {
      batch: "B",
      queryHeads: "Hq",
      keyHeads: "Hkv",
      dim: "D",
      valueDim: "Dv",
    } as const;
    for (const name of Object.keys(names) as (keyof Sizes)[]) {
      if (sizes[name] === known[name]) continue;
      throw new RangeError(
        `${cannotStep}: ${names[name]} must be ${known[name]} as in the first step, got ${
          sizes[name]
        }`,
      );
    }
  }

  #poolFor({ keyHeads }: TensorPlan): AnyView | null {
    if (this.#pool === undefined) return null;
    const pool = readPool(this.#pool, this.#block, keyHeads, cannotStep) as ReadTensor;
    return viewOfPool(pool, this.#block);
  }

  async #run(
    forward: TensorPlan,
    pool: AnyView | null,
    given: LocalGlobalStepOptions,
  ): Promise<AttentionResult<never>> {
    const { own } = await this.#asked();
    const memory = this.#memory, after = this.#roomFor(own, forward), isNew = after !== memory;
    const plan = {
      ...{ forward, block: this.#block, pool, past: this.#rows, kept: keptOf(after) },
      before: isNew && memory !== undefined ? keptOf(memory) : null,
    };
    const { kept, before } = plan; // All else of it is in use already.
    const leave = useAll([kept.k, kept.v, ...(before === null ? [] : [before.k, before.v])]);
    try {
      const call = callOf(plan, given, pool === null ? [] : [pool], cannotStep);
      const result = await runUsed(own, placed(localGlobalStep, call));
      this.#rows += forward.queries;
      this.#memory = after;
      if (isNew) this.#free(memory);
      return result as AttentionResult<never>;
    } catch (error) {
      if (isNew) this.#free(after);
      throw error;
    } finally {
      leave();
    }
  }

  /**
   * Where a step's rows go. Those of a block that is over are written over by the next: where that happens within a
   * step, it has memory of its own, so that there is a way back.
   */
  #roomFor(backend: Backend, { queries, keyHeads, batch, dim, valueDim }: TensorPlan): Memory {
    const block = this.#block, memory = this.#memory, end = this.#rows + queries;
    const needed = Math.floor(end / block), { room = 0 } = memory ?? {};
    const stays = this.#rows % block + queries <= block;
    if (memory !== undefined && stays && needed <= room) return memory;
    const least = Math.ceil(Math.max(leastRoom, needed) / 8) * 8;
    const more = needed <= room ? room : Math.max(2 * room, least);
    const make = (columns: number) =>
      backend.tensor([batch, keyHeads, more + block, columns], "f32");
    const k = make(dim);
    try {
      return { k, v: make(valueDim), room: more };
    } catch (error) {
      k.free();
      throw error;
    }
  }
}

/** How backends see what is kept. */
function keptOf({ k, v, room }: Memory): Kept {
  const view = ({ data, shape, dtype }: EngineTensor<TensorData>) =>
    viewOf({
      ...{ data: isGpuBuffer(data) ? data : new HeldArray(data as Float32Array), shape },
      dtype: dtype!,
    }, "bhnd");
  return { k: view(k), v: view(v), room };
}
