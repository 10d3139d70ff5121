/**
 * A cache that many machines hold, as its coordinator has it: it knows who has which page, and no key.
 *
 * @module
 */

import { type SignalLike, throwIfAborted } from "../../check/errors.ts";
import { isExtent, kindOf, readOptions } from "../../check/words.ts";
import type { AnyTensor } from "../../tensor/tensor.ts";
import { checkToken, newIdentity } from "../connection.ts";
import { ShardLostError, ShardRefusedError } from "../errors.ts";
import type { Action } from "../messages/bodies.ts";
import type { ShardedSizes } from "../sizes.ts";
import { batchesOf, bodyOf, leastPayload, type PlacedCell } from "./batches.ts";
import { Exchange, type Traffic, type Wanted } from "./exchange.ts";
import { join, type Joined } from "./join.ts";
import { isOut } from "./members.ts";
import {
  cannotMake,
  type ReadCacheOptions,
  readCacheOptions,
  type ShardedCacheOptions,
} from "./options.ts";
import { PageMap, type PageMove } from "./page_map.ts";
import { isPartOf, Parts, type ShardedResult } from "./parts.ts";
import {
  readAppend,
  readAttend,
  type ReadCall,
  readStep,
  type ShardedAppendOptions,
  type ShardedAttendOptions,
  type ShardedStepOptions,
} from "./read.ts";
import { turn } from "./turning.ts";

/** Options of `restore()`. */
export interface RestoreOptions {
  /** What `save()` was given: everything becomes as it was then. Without it what is still there stays. */
  readonly saved?: string | undefined;
}

/** What a coordinator knows of a shard. */
export interface ShardState {
  /** Its name. */
  readonly name: string;
  /** Whose pages it has. */
  readonly group: number;
  /** Whether it answers; one that does not stays out until `restore()`. */
  readonly lives: boolean;
}

/** A cache that many machines hold. Made by `shardedCache()`. Calls are done one after the other. */
export interface ShardedCache extends AsyncDisposable {
  /** Sizes that it was made with. */
  readonly options: ShardedSizes & { readonly groups: number; readonly replicas: number };
  /** Tokens of each sequence that all layers have. */
  readonly lengths: readonly number[];
  /** Tokens of each sequence in a layer. */
  lengthsOf(layer: number): readonly number[];
  /** The shards that it works with. */
  readonly shards: readonly ShardState[];
  /** The epoch that its shards have granted. */
  readonly epoch: number;
  /** What went over the line so far. */
  readonly traffic: Traffic;
  /**
   * Appends tokens to a layer. Resolves when every shard of their groups that lives has them.
   *
   * @param layer Which, from 0 on.
   * @param k Keys `[B, Hkv, n, D]`, and `v` values `[B, Hkv, n, Dv]`: f32, f16 or bf16 in arrays.
   * @throws {RangeError} When shapes do not fit.
   * @throws {ShardLostError} When shards do not answer. `restore()` goes on.
   * @throws {ShardRefusedError} When a shard is full, or whatever else it says; nothing of the call stays.
   */
  append(layer: number, k: AnyTensor, v: AnyTensor, options?: ShardedAppendOptions): Promise<void>;
  /**
   * Attention to a layer, exact: as if one machine had all of it.
   *
   * @param q Queries `[B, Hq, n, D]`.
   * @throws {ShardLostError} When shards do not answer: never is a part taken for the whole.
   */
  attend(layer: number, q: AnyTensor, options?: ShardedAttendOptions): Promise<ShardedResult>;
  /**
   * Turns queries and keys by their positions where `rope` says how, appends, and attends with the queries of the same
   * tokens, by one message for as much as the server lets through. `q` and `k` stay as they are.
   */
  step(
    layer: number,
    q: AnyTensor,
    k: AnyTensor,
    v: AnyTensor,
    options?: ShardedStepOptions,
  ): Promise<ShardedResult>;
  /** Keeps the first tokens of a sequence, in all layers. */
  truncate(sequence: number, length: number): Promise<void>;
  /** Lets another sequence continue from the tokens of one: shards share the memory until one of them grows. */
  fork(from: number, to: number): Promise<void>;
  /** Forgets all tokens of a sequence, or of all. */
  free(sequence?: number): Promise<void>;
  /**
   * Has the shards put everything into their stores under a name.
   *
   * @throws {ShardRefusedError} When a shard has no store, or that fails.
   */
  save(name: string): Promise<void>;
  /**
   * Takes the cache anew: with the shards that are there, under a new epoch. Replicas that are behind or empty
   * get what the others of their group have. What is behind a gap is forgotten: see `lengths`, and append the rest
   * again.
   *
   * @throws {ShardLostError} When there is no shard of a group.
   */
  restore(options?: RestoreOptions): Promise<void>;
  /**
   * Moves full pages, some at a time, until no group has two more than another: after a group was added. Other calls go
   * on between; pages that forks share are each sequence's own where they move.
   *
   * @returns How many pages have moved.
   * @throws {ShardLostError} When shards do not answer. `restore()` goes on, and nothing is lost that somebody has.
   * @throws {ShardRefusedError} When a shard is full, or does not get them; those stay where they were.
   */
  rebalance(): Promise<number>;
  /** Ends the coordinator. Shards keep what they have, for the next. */
  close(): Promise<void>;
}

/** Messages of a call that are under way at most. */
const mostUnderWay = 4;

/** Pages that move in one go at most: who gets them has them twice meanwhile. */
const mostMoving = 16;

/** What messages of errors begin with. */
const cannot = "Cannot use the sharded cache";

class Coordinator implements ShardedCache {
  readonly options: ShardedCache["options"];
  readonly #given: ReadCacheOptions;
  readonly #exchange: Exchange;
  readonly #identity = newIdentity();
  #map: PageMap;
  /** Tokens by layer and sequence. */
  #lengths: number[][];
  #last: Promise<unknown> = Promise.resolve();
  /** Why only `restore()` can go on. */
  #lost: unknown;

  constructor(given: ReadCacheOptions) {
    const { connection, prefix, groups, replicas, sizes, heartbeat, deadline } = given;
    this.#given = given;
    this.options = Object.freeze({ ...sizes, groups, replicas });
    this.#map = new PageMap(sizes.batch, groups, sizes.pageSize);
    this.#lengths = this.#allOf(new Array<number>(sizes.batch).fill(0));
    const patience = { heartbeat, deadline }, tokensOf = (group: number) => this.#tokensOf(group);
    this.#exchange = new Exchange(
      ...[connection, prefix, this.#identity, patience, cannot, tokensOf] as const,
    );
  }

  /** Takes the cache. */
  async begin(): Promise<void> {
    try {
      await this.#exchange.line.flush();
      this.#take(await this.#join(true, undefined));
    } catch (error) {
      this.#exchange.end(new Error(`${cannot}: it was not made`));
      throw error;
    }
  }

  get lengths(): readonly number[] {
    const [first] = this.#lengths;
    return first.map((_, at) => Math.min(...this.#lengths.map((lengths) => lengths[at])));
  }

  lengthsOf(layer: number): readonly number[] {
    this.#checkLayer(layer);
    return [...this.#lengths[layer]];
  }

  get shards(): readonly ShardState[] {
    return this.#exchange.members.all
      .map((member) => ({ name: member.name, group: member.group, lives: !isOut(member) }));
  }

  get epoch(): number {
    return this.#exchange.standing.epoch;
  }

  get traffic(): Traffic {
    return this.#exchange.traffic;
  }

  async append(
    layer: number,
    k: AnyTensor,
    v: AnyTensor,
    options: ShardedAppendOptions = {},
  ): Promise<void> {
    const call = readAppend(k, v, options, this.#given.sizes, "Cannot append");
    this.#checkCall(layer, call);
    await this.#enqueue(() => this.#append(layer, call), call.signal);
  }

  async attend(
    layer: number,
    q: AnyTensor,
    options: ShardedAttendOptions = {},
  ): Promise<ShardedResult> {
    const call = readAttend(q, options, this.#given.sizes);
    this.#checkCall(layer, call);
    return await this.#enqueue(() => this.#attend(layer, call), call.signal);
  }

  async step(
    layer: number,
    q: AnyTensor,
    k: AnyTensor,
    v: AnyTensor,
    options: ShardedStepOptions = {},
  ): Promise<ShardedResult> {
    const { call, turning } = readStep([q, k, v], options, this.#given.sizes);
    this.#checkCall(layer, call);
    return await this.#enqueue(async () => {
      if (turning !== null) await turn(turning, this.#lengths[layer]);
      return await this.#step(layer, call);
    }, call.signal);
  }

  async truncate(sequence: number, length: number): Promise<void> {
    this.#checkSequence(sequence);
    if (!isExtent(length)) {
      throw new RangeError(
        `Cannot truncate: \`length\` must be a whole number >= 0, got ${kindOf(length)}`,
      );
    }
    await this.#enqueue(async () => {
      const most = Math.max(...this.#lengths.map((lengths) => lengths[sequence]));
      if (length > most) {
        throw new RangeError(
          `Cannot truncate: sequence ${sequence} has ${most} tokens, fewer than ${length}`,
        );
      }
      await this.#change([{ do: "keep", sequence, length, layer: null }]);
    });
  }

  async fork(from: number, to: number): Promise<void> {
    this.#checkSequence(from);
    this.#checkSequence(to);
    if (from !== to) await this.#enqueue(() => this.#change([{ do: "fork", from, to }]));
  }

  async free(sequence?: number): Promise<void> {
    if (sequence !== undefined) return await this.truncate(sequence, 0);
    await this.#enqueue(() => this.#change([{ do: "free" }]));
  }

  async save(name: string): Promise<void> {
    checkToken("name", name, "Cannot save");
    await this.#enqueue(async () => {
      await this.#exchange.ask({ kind: "save", body: { name }, wanted: this.#all, isLong: true });
    });
  }

  async restore(options: RestoreOptions = {}): Promise<void> {
    const { saved } = readOptions(options, ["saved"], "Cannot restore");
    if (saved !== undefined) checkToken("saved", saved, "Cannot restore");
    await this.#enqueue(
      async () => {
        this.#lost = undefined;
        await this.#orLost(async () => this.#take(await this.#join(false, saved)));
      },
      null,
      true,
    );
  }

  async rebalance(): Promise<number> {
    for (let moved = 0;;) {
      const count = await this.#enqueue(() => this.#moveSome());
      if (count === 0) return moved;
      moved += count;
    }
  }

  // deno-lint-ignore require-await -- as an interface of others
  async close(): Promise<void> {
    this.#exchange.end(new Error(`${cannot}: it was closed`));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  get #all(): Wanted[] {
    return Array.from({ length: this.#given.groups }, (_, group) => ({ group, all: true }));
  }

  #allOf(lengths: readonly number[]): number[][] {
    return Array.from({ length: this.#given.sizes.layers }, () => [...lengths]);
  }

  #join(needsAll: boolean, saved: string | undefined): Promise<Joined> {
    const [exchange, options, identity] = [this.#exchange, this.#given, this.#identity];
    const most = needsAll || saved !== undefined ? undefined : this.lengths;
    return join({ exchange, options, identity, doing: cannotMake, saved, needsAll, most });
  }

  #take({ map, lengths }: Joined): void {
    this.#map = map;
    this.#lengths = this.#allOf(lengths);
  }

  /** Tokens of all sequences that a group has. */
  #tokensOf(group: number): number {
    const { lengths } = this;
    return lengths.reduce((sum, length, at) => sum + this.#map.held(at, length)[group], 0);
  }

  /** Does something when everything before is done. */
  async #enqueue<Result>(
    act: () => Promise<Result>,
    signal?: SignalLike | null,
    isRestoring = false,
  ): Promise<Result> {
    const before = this.#last;
    let resolve = () => {};
    this.#last = new Promise<void>((done) => resolve = done);
    await before;
    try {
      throwIfAborted(signal);
      this.#exchange.checkOpen();
      if (this.#lost !== undefined && !isRestoring) throw this.#lost;
      return await act();
    } finally {
      resolve();
    }
  }

  /** Whatever goes wrong here, only `restore()` goes on. */
  async #orLost<Result>(act: () => Promise<Result>): Promise<Result> {
    try {
      return await act();
    } catch (error) {
      this.#lost = error;
      throw error;
    }
  }

  async #append(layer: number, call: ReadCall): Promise<void> {
    const before = [...this.#lengths[layer]];
    await this.#orBack(layer, before, () => this.#send(layer, call, before));
    this.#grow(layer, before, call);
  }

  async #attend(layer: number, call: ReadCall): Promise<ShardedResult> {
    const before = this.#lengths[layer], { queries, counts } = call;
    const short = before.findIndex((length, at) => counts[at] > length);
    if (short >= 0) {
      throw new RangeError(
        `Cannot attend: sequence ${short} has ${before[short]} tokens and ${
          counts[short]
        } queries ` +
          "that count, append first or give `lengths`",
      );
    }
    const parts = new Parts(call, this.#given.sizes, this.#given.groups);
    await this.#orLostShard(() => this.#send(layer, call, before, queries && parts));
    return await parts.merge();
  }

  async #step(layer: number, call: ReadCall): Promise<ShardedResult> {
    const before = [...this.#lengths[layer]], { queries } = call;
    if (!queries!.isCausal) {
      // A row sees those behind it, which must be there.
      await this.#append(layer, { ...call, queries: null });
      return await this.#orBack(
        layer,
        before,
        () => this.#attend(layer, { ...call, tokens: null }),
      );
    }
    const parts = new Parts(call, this.#given.sizes, this.#given.groups);
    const merged = await this.#orBack(layer, before, async () => {
      await this.#send(layer, call, before, parts);
      return await parts.merge();
    });
    this.#grow(layer, before, call);
    return merged;
  }

  #grow(layer: number, before: readonly number[], { counts }: ReadCall): void {
    this.#lengths[layer] = before.map((length, at) => length + counts[at]);
  }

  /** Sends the messages of a call, some at a time. */
  async #send(
    layer: number,
    call: ReadCall,
    before: readonly number[],
    parts: Parts | null = null,
  ): Promise<void> {
    const { sizes, groups } = this.#given, { maxPayload } = this.#exchange.line;
    const batches = batchesOf(call, before, sizes, this.#map, { maxPayload, groups });
    let failure: { readonly error: unknown } | undefined;
    const work = async () => {
      for (const cells of batches) {
        if (failure !== undefined) return;
        try {
          await this.#ask(layer, call, cells, parts);
        } catch (error) {
          failure ??= { error };
        }
      }
    };
    await Promise.all(Array.from({ length: mostUnderWay }, work));
    if (failure !== undefined) throw failure.error;
  }

  async #ask(
    layer: number,
    call: ReadCall,
    cells: readonly PlacedCell[],
    parts: Parts | null,
  ): Promise<void> {
    const { sizes: { valueDim }, groups } = this.#given, { tokens, queries, signal } = call;
    const owners = new Set(tokens ? cells.map(({ owner }) => owner) : []);
    const answering = queries ? Array.from({ length: groups }, (_, group) => group) : [...owners];
    const wanted = answering.map((group) => ({ group, all: owners.has(group) }));
    const answers = await this.#exchange.ask({
      ...{ kind: "step", body: bodyOf(call, cells), layer, wanted },
      accepts: (message) =>
        queries ? isPartOf(message, cells, queries.queryHeads, valueDim) : message.kind === "done",
    }, signal);
    if (parts === null) return;
    const taken = new Set<number>();
    for (const [{ group }, message] of answers) {
      if (message.kind !== "part" || taken.has(group)) continue;
      taken.add(group);
      parts.take(group, cells, message.body);
    }
  }

  async #orLostShard<Result>(act: () => Promise<Result>): Promise<Result> {
    try {
      return await act();
    } catch (error) {
      if (error instanceof ShardLostError) this.#lost = error;
      throw error;
    }
  }

  /** Does something that appends; where it fails, nothing of it stays. */
  async #orBack<Result>(
    layer: number,
    before: readonly number[],
    act: () => Promise<Result>,
  ): Promise<Result> {
    try {
      return await act();
    } catch (error) {
      if (error instanceof ShardLostError) this.#lost = error;
      if (this.#lost === undefined && !this.#isOver(error)) await this.#back(layer, before);
      throw error;
    }
  }

  #isOver(error: unknown): boolean {
    return error instanceof ShardRefusedError &&
      (error.reason === "epoch" || error.reason === "closed");
  }

  async #back(layer: number, before: readonly number[]): Promise<void> {
    const actions = before.map((length, sequence): Action => ({
      ...{ do: "keep", sequence, length, layer },
    }));
    try {
      await this.#change(actions);
    } catch {
      // What went wrong first is what the caller is told; that only `restore()` goes on is kept.
    }
  }

  /** Moves some pages. @returns How many. */
  async #moveSome(): Promise<number> {
    const { lengths } = this, { pageSize } = this.#given.sizes;
    const full = lengths.map((length) => Math.floor(length / pageSize));
    const move = this.#map.nextMove(full, mostMoving);
    if (move === undefined) return 0;
    const { sequence, pages, from, to } = move;
    await this.#fetch(move);
    // Whatever goes wrong here, one of both has them, or each.
    await this.#change([{ do: "take", sequence, pages, group: to }]);
    await this.#change([{ do: "drop", sequence, pages, group: from }]);
    this.#map.move(move);
    return pages.length;
  }

  /** Has a group get pages, which it forgets where not all of its shards have them. */
  async #fetch(move: PageMove): Promise<void> {
    const { sequence, pages, from, to } = move, givers = this.#exchange.members.of(from);
    const needed = givers.find((member) => !isOut(member)) ?? givers[0];
    const { name, identity } = needed;
    try {
      await this.#exchange.ask({
        ...{ kind: "fetch", needed },
        body: { giver: { name, identity }, sequence, pages, group: to },
        ...{ wanted: [{ group: to, all: true }], isLong: true },
      });
    } catch (error) {
      const others = givers.some((member) => !isOut(member));
      if (error instanceof ShardLostError && !(isOut(needed) && others)) this.#lost = error;
      else if (!this.#isOver(error)) await this.#change([]).catch(() => {});
      if (isOut(needed) && others && this.#lost === undefined) return await this.#fetch(move);
      throw error;
    }
  }

  /** Changes all shards, as a new generation. */
  async #change(actions: readonly Action[]): Promise<void> {
    const { standing } = this.#exchange, generation = standing.generation + 1;
    this.#exchange.standing = { ...standing, generation };
    await this.#orLost(() =>
      this.#exchange.ask({ kind: "change", body: { begins: false, actions }, wanted: this.#all })
    );
    for (const action of actions) this.#note(action);
  }

  /** Notes what a change has done. */
  #note(action: Action): void {
    const { batch } = this.#given.sizes;
    if (action.do === "free") {
      for (let at = 0; at < batch; at++) {
        this.#note({ do: "keep", sequence: at, length: 0, layer: null });
      }
    } else if (action.do === "fork") {
      const { from, to } = action;
      this.#map.fork(from, to);
      for (const lengths of this.#lengths) lengths[to] = lengths[from];
    } else if (action.do === "keep") {
      const { sequence, length, layer } = action;
      for (const [at, lengths] of this.#lengths.entries()) {
        if (layer === null || layer === at) lengths[sequence] = Math.min(lengths[sequence], length);
      }
      this.#map.keep(sequence, Math.max(...this.#lengths.map((lengths) => lengths[sequence])));
    }
  }

  #checkLayer(layer: unknown): asserts layer is number {
    const { layers } = this.#given.sizes;
    if (isExtent(layer) && layer < layers) return;
    throw new RangeError(
      `${cannot}: \`layer\` must be a whole number from 0 to ${layers - 1}, got ${kindOf(layer)}`,
    );
  }

  #checkSequence(sequence: unknown): asserts sequence is number {
    const { batch } = this.#given.sizes;
    if (isExtent(sequence) && sequence < batch) return;
    throw new RangeError(
      `${cannot}: the sequence must be a whole number from 0 to ${batch - 1}, got ${
        kindOf(sequence)
      }`,
    );
  }

  #checkCall(layer: number, call: ReadCall): void {
    this.#checkLayer(layer);
    const { sizes, groups } = this.#given, { maxPayload } = this.#exchange.line;
    const needed = leastPayload(call, sizes, groups);
    if (needed <= maxPayload) return;
    throw new ShardRefusedError(
      ...[cannot, "server", "payload"] as const,
      `a row needs a message of ${needed} bytes, the server lets ${maxPayload} through; ` +
        "set its `max_payload` higher",
    );
  }
}

/**
 * A cache whose tokens are on other machines: each has pages of them, and a step asks all for attention to
 * theirs and merges the answers exactly (FlashAttention's rule for blocks, Dao et al., arXiv 2205.14135, section
 * 3.1, over a network). Shards are started by `serveShard()`.
 *
 * ```ts ignore
 * import { shardedCache } from "@flashtile/attention/sharded";
 * import { connect } from "@nats-io/transport-node";
 *
 * const connection = await connect({ servers: "nats://127.0.0.1:4222" });
 * const sizes = { layers: 2, kvHeads: 2, headDim: 64 };
 * const cache = await shardedCache({ connection, prefix: "demo", groups: 3, ...sizes });
 * const q = { data: new Float32Array(8 * 64).fill(0.1), shape: [1, 8, 1, 64] };
 * const kv = { data: new Float32Array(2 * 64).fill(0.2), shape: [1, 2, 1, 64] };
 * const { out } = await cache.step(0, q, kv, kv);
 * console.log(out.shape); // [1, 8, 1, 64]
 * ```
 *
 * Takes a cache that another coordinator had: what its shards have stays, and the other is refused from then on.
 *
 * @throws {TypeError} When an argument is of a wrong kind, or an option is unknown.
 * @throws {RangeError} When a number is out of range.
 * @throws {ShardLostError} When not all shards are there within the deadline.
 * @throws {ShardRefusedError} When a shard holds another model's cache, or two have one name; when the server or
 * a shard is of another version, or does not permit it.
 */
export async function shardedCache(options: ShardedCacheOptions): Promise<ShardedCache> {
  const coordinator = new Coordinator(readCacheOptions(options));
  await coordinator.begin();
  return coordinator;
}
