/**
 * A shard: the pages that a group has of all sequences and layers, and what is done with them, message by message.
 * It knows nothing of connections.
 *
 * @module
 */

import type { KvCache } from "../../cache/kv_cache.ts";
import { reasonOf } from "../../check/errors.ts";
import type { Engine } from "../../engine/engine.ts";
import type { Elements } from "../../tensor/dtype.ts";
import type { HostTensor } from "../../tensor/tensor.ts";
import type {
  Action,
  Attending,
  Bodies,
  Cell,
  Introduction,
  Kept,
  Kind,
  ReportBody,
  SequencePages,
  ShardBody,
  StepBody,
} from "../messages/bodies.ts";
import type { Block } from "../messages/bytes.ts";
import type { Header, Message, MessageOf } from "../messages/message.ts";
import { Refusal } from "../refusal.ts";
import { differenceOf, mostLayers, mostPlaces, type ShardedSizes } from "../sizes.ts";
import type { ShardStore } from "../store.ts";
import { attendRuns, emptyPart } from "./attend.ts";
import {
  checkFull,
  dropPages,
  FetchedPages,
  fullPages,
  type HeldPages,
  isAscending,
} from "./moving.ts";
import { OwnPages } from "./pages.ts";
import { AppendRecords, hashOf } from "./records.ts";
import { runsOf } from "./runs.ts";

/** Who a shard is, and what it may have. */
export interface ShardSettings {
  readonly name: string;
  readonly group: number;
  readonly engine: Engine;
  readonly maxBytes: number;
  /** Most bytes of an answer. */
  readonly maxPayload: number;
  readonly store: ShardStore | undefined;
}

/** An answer. */
export type Answer = { [K in Kind]: { readonly kind: K; readonly body: Bodies[K] } }[Kind];

/** Asks another shard for bytes of what it has. */
export type Pull = (
  from: ShardBody,
  part: number,
  only?: SequencePages | null,
) => Promise<Uint8Array>;

/** Everything that a cache needs: made at once, replaced at once. */
interface Held extends HeldPages {
  readonly sizes: ShardedSizes;
  /** By layer and sequence. */
  readonly records: readonly (readonly AppendRecords[])[];
}

const done: Answer = { kind: "done", body: {} };

const notAborted = { aborted: false };

/** Sequences of a report at most, so that it stays below what a message may have. */
const reportBytes = 32_768;

function elementsOf({ data }: Block, rows: number, width: number, name: string): void {
  if (data.length === rows * width) return;
  throw new Refusal("shape", `${name} has ${data.length} elements, expected ${rows} x ${width}`);
}

/** What a group has. */
export class Shard {
  readonly #settings: ShardSettings;
  #held: Held | undefined;
  #granted = { epoch: 0, coordinator: 0 };
  #joined = 0;
  #generation = 0;
  #changed: readonly Kept[] = [];
  /** Bytes that others pull, of the part that was asked for last. */
  #pulled: { readonly what: string; readonly bytes: Uint8Array } | undefined;
  /** Pages that wait for the change by which they are taken. */
  #fetched: FetchedPages | undefined;

  constructor(settings: ShardSettings) {
    this.#settings = settings;
  }

  /** Who it is. */
  get introduction(): Introduction {
    const { name, group } = this.#settings;
    return { name, group, granted: this.#granted.epoch };
  }

  /** The epoch that it serves. */
  get epoch(): number {
    return this.#joined;
  }

  get generation(): number {
    return this.#generation;
  }

  /** Bytes that keys and values take. */
  get bytes(): number {
    return this.#held?.caches.reduce((sum, { bytes }) => sum + bytes, 0) ?? 0;
  }

  /** Tokens of each sequence, in the layer that has most. */
  get lengths(): readonly number[] {
    return this.#held?.pages.map((_, sequence) => this.#most(sequence)) ?? [];
  }

  /** Does what a message says. @throws {Refusal} Where it does not. */
  async answer(message: Message, pull: Pull): Promise<Answer> {
    if (message.kind === "ping") return { kind: "pong", body: this.introduction };
    if (message.kind === "grant") return this.#grant(message);
    this.#checkEpoch(message.header);
    switch (message.kind) {
      case "step":
        return await this.#step(message);
      case "change":
        return this.#change(message);
      case "pull":
        return await this.#give(message);
      case "copy":
        return await this.#copy(message, pull);
      case "fetch":
        return await this.#fetch(message, pull);
      case "save":
        return await this.#save(message.body.name);
      case "load":
        return await this.#load(message.body.name);
    }
    throw new Refusal("shape", `a ${message.kind} is no question`);
  }

  /** Gives the memory back. */
  free(): void {
    this.#forgetFetched();
    for (const cache of this.#held?.caches ?? []) cache[Symbol.dispose]();
    this.#held = undefined;
    this.#pulled = undefined;
  }

  #grant({ header: { epoch, coordinator }, body: { sizes, first } }: MessageOf<"grant">): Answer {
    const granted = this.#granted;
    const isAgain = epoch === granted.epoch && coordinator === granted.coordinator;
    if (epoch <= granted.epoch && !isAgain) {
      throw new Refusal("epoch", `epoch ${granted.epoch} was granted to another coordinator`);
    }
    const other = this.#held && differenceOf(this.#held.sizes, sizes);
    if (other !== undefined && this.lengths.some((length) => length > 0)) {
      const { name } = this.#settings;
      throw new Refusal("sizes", `${name} holds another model's cache: it has ${other}`);
    }
    if (this.#held === undefined || other !== undefined) this.#make(sizes);
    this.#granted = { epoch, coordinator };
    return { kind: "report", body: this.#report(first) };
  }

  #make(sizes: ShardedSizes): void {
    const { layers, batch, ...layout } = sizes, { engine } = this.#settings;
    if (layers < 1 || layers > mostLayers || layers * batch > mostPlaces) {
      throw new Refusal(
        "sizes",
        `${layers} layers of ${batch} sequences are more than a shard keeps`,
      );
    }
    this.free();
    const each = <T>(count: number, make: () => T) => Array.from({ length: count }, make);
    const caches: KvCache[] = [];
    try {
      for (let layer = 0; layer < layers; layer++) {
        caches.push(engine.kvCache({ batch, ...layout }));
      }
    } catch (error) {
      for (const cache of caches) cache.free();
      throw new Refusal("sizes", reasonOf(error));
    }
    this.#held = {
      ...{ sizes, caches },
      pages: each(batch, () => new OwnPages(sizes.pageSize)),
      records: each(layers, () => each(batch, () => new AppendRecords())),
    };
  }

  #report(first: number): ReportBody {
    const { pages, caches } = this.#now, sequences = [];
    let words = 0;
    for (let sequence = first; sequence < pages.length && 4 * words < reportBytes; sequence++) {
      const lengths = caches.map(({ lengths }) => lengths[sequence]), { numbers } = pages[sequence];
      sequences.push({ pages: numbers, lengths });
      words += numbers.length + lengths.length + 2;
    }
    return {
      ...this.introduction,
      ...{ generation: this.#generation, joined: this.#joined, changed: this.#changed },
      ...{ first, sequences },
    };
  }

  get #now(): Held {
    if (this.#held !== undefined) return this.#held;
    throw new Refusal("behind", "no sizes were said");
  }

  #checkEpoch({ epoch, coordinator }: Header): void {
    const granted = this.#granted;
    if (epoch === granted.epoch && coordinator === granted.coordinator) return;
    if (epoch > granted.epoch) throw new Refusal("behind", `epoch ${epoch} was not granted yet`);
    throw new Refusal("epoch", `epoch ${granted.epoch} was granted to another coordinator`);
  }

  #checkGeneration({ epoch, generation }: Header): void {
    if (this.#joined !== epoch) throw new Refusal("behind", `epoch ${epoch} has not begun`);
    if (generation === this.#generation) return;
    const reason = generation < this.#generation ? "stale" : "behind";
    throw new Refusal(reason, `generation is ${this.#generation}, the message's ${generation}`);
  }

  async #step({ header, body }: MessageOf<"step">): Promise<Answer> {
    this.#checkGeneration(header);
    const { cells, tokens, queries } = body, { layer } = header;
    const rows = this.#checkStep(body, layer);
    const cache = this.#now.caches[layer];
    const asked = queries && { cache, attending: queries, q: queries.q, rows, signal: notAborted };
    const part = asked && emptyPart(asked);
    let first = 0;
    for (const wave of wavesOf(cells)) {
      const from = first;
      for (const cell of wave) {
        if (tokens && cell.owner === this.#settings.group) this.#append(layer, cell, first, tokens);
        this.#checkHeld(layer, cell);
        first += cell.rows;
      }
      if (asked && part) {
        await attendRuns(asked, this.#runs(layer, wave, from, asked.attending), part);
      }
    }
    return part ? { kind: "part", body: part } : done;
  }

  /** Checks that a message fits the cache, before anything of it is used. @returns Its rows. */
  #checkStep({ cells, tokens, queries }: StepBody, layer: number): number {
    const { sizes, caches } = this.#now, { batch, kvHeads, headDim, valueDim } = sizes;
    const refuse = (text: string) => {
      throw new Refusal("shape", text);
    };
    if (layer >= caches.length) refuse(`layer is ${layer}, there are ${caches.length}`);
    const { group } = this.#settings;
    let rows = 0;
    for (const cell of cells) {
      const { sequence, position, length, held } = cell;
      if (sequence >= batch) refuse(`sequence is ${sequence}, there are ${batch}`);
      if (cell.rows < 1 || position + cell.rows > length) {
        refuse("rows are not within the sequence");
      }
      if (held.length <= group) refuse(`there are ${held.length} groups, this is ${group}`);
      rows += cell.rows;
    }
    if (tokens !== null) {
      elementsOf(tokens.k, rows, kvHeads * headDim, "k");
      elementsOf(tokens.v, rows, kvHeads * valueDim, "v");
    }
    if (queries !== null) {
      const { queryHeads, q } = queries;
      if (queryHeads === 0 || queryHeads % kvHeads !== 0) {
        refuse(`Hq is ${queryHeads}, no multiple of ${kvHeads}`);
      }
      elementsOf(q, rows, queryHeads * headDim, "q");
      const answer = 64 + rows * queryHeads * (valueDim + 1) * 4;
      if (answer > this.#settings.maxPayload) {
        throw new Refusal(
          "payload",
          `the answer would have ${answer} bytes, the server lets ` +
            `${this.#settings.maxPayload} through`,
        );
      }
    }
    return rows;
  }

  /** Appends rows of a cell, if they are not there already. */
  #append(
    layer: number,
    { sequence, position, rows }: Cell,
    first: number,
    { k, v }: { readonly k: Block; readonly v: Block },
  ): void {
    const { sizes, caches, pages, records } = this.#now;
    const { pageSize, kvHeads, headDim, valueDim } = sizes, page = Math.floor(position / pageSize);
    const own = pages[sequence], there = caches[layer].lengths[sequence];
    if (position % pageSize + rows > pageSize) throw new Refusal("shape", "rows of two pages");
    const [keys, values] = [[k, headDim], [v, valueDim]].map(([block, dim]) => {
      const { data } = block as Block, width = kvHeads * (dim as number);
      return data.subarray(first * width, (first + rows) * width);
    });
    const record = { position, rows, hash: hashOf([keys, values]) };
    const isNew = !own.has(page);
    if (isNew && !(own.takes(page) && position % pageSize === 0)) {
      throw new Refusal("behind", `page ${page} of sequence ${sequence} does not go on here`);
    }
    const at = own.before(position);
    if (at < there) {
      return this.#checkSame(records[layer][sequence].has(record), sequence, position);
    }
    if (at > there) throw new Refusal("behind", `${there} tokens where there should be ${at}`);
    this.#write(layer, sequence, [keys, values], [k.dtype, v.dtype], rows);
    if (isNew) own.add(page);
    records[layer][sequence].add(record);
  }

  #checkSame(isSame: boolean | undefined, sequence: number, position: number): void {
    if (isSame) return;
    const where = `position ${position} of sequence ${sequence}`;
    if (isSame === undefined) throw new Refusal("stale", `${where} was appended long ago`);
    throw new Refusal("conflict", `other tokens are at ${where}`);
  }

  #write(
    layer: number,
    sequence: number,
    [keys, values]: readonly Elements[],
    [kDType, vDType]: readonly Block["dtype"][],
    rows: number,
  ): void {
    const { caches, sizes: { kvHeads, headDim, valueDim } } = this.#now;
    const cache = caches[layer], before = cache.lengths[sequence], { maxBytes } = this.#settings;
    const rowsIn = (data: Elements, dtype: Block["dtype"], dim: number): HostTensor => ({
      ...{ data, dtype, shape: [1, rows, kvHeads, dim] },
    });
    const k = rowsIn(keys, kDType, headDim), v = rowsIn(values, vDType, valueDim);
    try {
      cache.append(k, v, { layout: "bnhd", sequences: [sequence] });
    } catch (error) {
      throw new Refusal("full", `${this.#settings.name} is full: ${reasonOf(error)}`);
    }
    if (this.bytes <= maxBytes) return;
    const { bytes } = this;
    cache.truncate(sequence, before);
    throw new Refusal(
      "full",
      `${this.#settings.name} is full: it would have ${bytes} bytes, \`maxBytes\` is ${maxBytes}`,
    );
  }

  /** Checks that the group has what rows are to see: nothing may be missing. */
  #checkHeld(layer: number, { sequence, length, held }: Cell): void {
    const { caches, pages } = this.#now, there = caches[layer].lengths[sequence];
    const expected = held[this.#settings.group];
    if (there >= expected && Math.min(there, pages[sequence].before(length)) === expected) return;
    throw new Refusal("behind", `${there} tokens where there should be ${expected}`);
  }

  /** @param first The first row of the cells among those of the message. */
  #runs(layer: number, cells: readonly Cell[], first: number, band: Attending) {
    const { caches, pages } = this.#now, { lengths } = caches[layer];
    return cells.flatMap((cell) => {
      const own = pages[cell.sequence], there = lengths[cell.sequence];
      const before = (position: number) => Math.min(there, own.before(position));
      const runs = runsOf(cell, first, band, before, there);
      first += cell.rows;
      return runs;
    });
  }

  #change({ header: { epoch, generation }, body }: MessageOf<"change">): Answer {
    const { begins, actions } = body;
    if (!begins && this.#joined !== epoch) {
      throw new Refusal("behind", `epoch ${epoch} has not begun`);
    }
    if (this.#joined === epoch && generation === this.#generation) return done;
    if (this.#joined === epoch && generation < this.#generation) {
      throw new Refusal("stale", `generation is ${this.#generation}`);
    }
    if (!begins && generation !== this.#generation + 1) {
      throw new Refusal("behind", `generation is ${this.#generation}, the message's ${generation}`);
    }
    for (const action of actions) this.#checkAction(action);
    for (const action of actions) this.#act(action);
    this.#forgetFetched();
    this.#changed = actions.flatMap(keptBy);
    this.#generation = generation;
    if (begins) this.#joined = epoch;
    return done;
  }

  #checkAction(action: Action): void {
    const { sizes: { batch, layers } } = this.#now;
    const sequences = action.do === "free"
      ? []
      : action.do === "fork"
      ? [action.from, action.to]
      : [action.sequence];
    const layer = action.do === "keep" && action.layer !== null ? action.layer : 0;
    if (!sequences.every((sequence) => sequence < batch) || layer >= layers) {
      throw new Refusal("shape", `sequences are ${batch}, layers ${layers}`);
    }
    const isOurs = "group" in action && action.group === this.#settings.group;
    if (isOurs && action.do === "drop") checkFull(this.#now, action);
    if (isOurs && action.do === "take" && !this.#fetched?.are(action)) {
      throw new Refusal("failed", "pages were not fetched");
    }
  }

  #act(action: Action): void {
    const { caches, pages, records, sizes } = this.#now;
    if (action.do === "keep") return this.#keep(action);
    if (action.do === "take" || action.do === "drop") {
      if (action.group !== this.#settings.group) return;
      if (action.do === "drop") dropPages(this.#now, action);
      else this.#fetched!.take(pages[action.sequence]);
      for (const ofLayer of records) ofLayer[action.sequence].clear();
      return;
    }
    if (action.do === "fork") {
      const { from, to } = action;
      if (from === to) return;
      for (const cache of caches) cache.fork(from, to);
      pages[to].replace(pages[from].numbers);
      for (const ofLayer of records) ofLayer[to].clear();
      return;
    }
    this.#make(sizes);
  }

  #keep({ sequence, length, layer }: Action & { do: "keep" }): void {
    const { caches, pages, records } = this.#now, own = pages[sequence];
    const count = own.before(length);
    for (const [at, cache] of caches.entries()) {
      if (layer !== null && layer !== at) continue;
      if (cache.lengths[sequence] > count) cache.truncate(sequence, count);
      records[at][sequence].clear();
    }
    own.keep(this.#most(sequence));
  }

  #most(sequence: number): number {
    return Math.max(...this.#held!.caches.map(({ lengths }) => lengths[sequence]));
  }

  /** Bytes of a part: of a layer, of some of its pages, or of what pages there are. */
  async #part(part: number, only: SequencePages | null = null): Promise<Uint8Array> {
    const { caches, pages } = this.#now;
    if (part < caches.length) {
      return await (only ? fullPages(this.#now, part, only) : caches[part].save());
    }
    if (part > caches.length) {
      throw new Refusal("shape", `part is ${part}, there are ${caches.length}`);
    }
    return new TextEncoder().encode(JSON.stringify(pages.map(({ numbers }) => numbers)));
  }

  async #give({ body: { part, offset, most, only } }: MessageOf<"pull">): Promise<Answer> {
    const what = JSON.stringify([part, only]);
    if (offset === 0 || this.#pulled?.what !== what) {
      this.#pulled = { what, bytes: await this.#part(part, only) };
    }
    const { bytes } = this.#pulled, total = bytes.length;
    if (!(Number.isInteger(offset) && offset >= 0)) {
      throw new Refusal("shape", `offset is ${offset}`);
    }
    return { kind: "data", body: { total, bytes: bytes.subarray(offset, offset + most) } };
  }

  /** Gets pages from a shard of another group; who is not of the group that they are for has nothing to do. */
  async #fetch({ header, body }: MessageOf<"fetch">, pull: Pull): Promise<Answer> {
    this.#checkGeneration(header);
    const { group, maxBytes, name } = this.#settings;
    if (body.group !== group || this.#fetched?.are(body)) return done;
    this.#forgetFetched();
    const fetched = new FetchedPages(this.#now, body), { bytes } = fetched;
    if (this.bytes + bytes > maxBytes) {
      const text = `it would have ${this.bytes + bytes} bytes, \`maxBytes\` is ${maxBytes}`;
      throw new Refusal("full", `${name} is full: ${text}`);
    }
    await fetched.get((part) => pull(body.giver, part, body), name);
    this.#fetched = fetched;
    return done;
  }

  #forgetFetched(): void {
    this.#fetched?.drop();
    this.#fetched = undefined;
  }

  /** Becomes what another shard of its group is. */
  async #copy({ body }: MessageOf<"copy">, pull: Pull): Promise<Answer> {
    const granted = this.#granted;
    await this.#restore((part) => pull(body, part));
    if (granted !== this.#granted) {
      throw new Refusal("stale", "another epoch was granted meanwhile");
    }
    return done;
  }

  async #restore(read: (part: number) => Promise<Uint8Array>): Promise<void> {
    const { sizes } = this.#now;
    this.#make(sizes); // What was there is another past.
    this.#joined = 0;
    const held = this.#now;
    try {
      const pages = pagesIn(await read(sizes.layers), sizes.batch);
      for (const [at, cache] of held.caches.entries()) cache.load(await read(at));
      for (const [at, own] of held.pages.entries()) own.replace(pages[at]);
      for (const [at, { numbers }] of held.pages.entries()) {
        const fits = held.caches.every(({ lengths }) =>
          Math.ceil(lengths[at] / sizes.pageSize) <= numbers.length
        );
        if (!fits) throw new Refusal("failed", "the pages are not those of the bytes");
      }
      if (this.bytes > this.#settings.maxBytes) {
        throw new Refusal(
          "full",
          `${this.#settings.name} is full: \`maxBytes\` is below ${this.bytes}`,
        );
      }
    } catch (error) {
      if (this.#held === held) this.#make(sizes);
      throw error;
    }
  }

  async #save(name: string): Promise<Answer> {
    const { layers } = this.#now.sizes, { group } = this.#settings;
    for (let part = 0; part <= layers; part++) {
      await this.#stored.put(objectOf(name, group, part), await this.#part(part));
    }
    return done;
  }

  async #load(name: string): Promise<Answer> {
    const { group } = this.#settings;
    await this.#restore(async (part) => {
      const bytes = await this.#stored.get(objectOf(name, group, part));
      if (bytes !== null) return bytes;
      throw new Refusal("failed", `the store has no ${objectOf(name, group, part)}`);
    });
    return done;
  }

  get #stored(): ShardStore {
    const { store, name } = this.#settings;
    if (store !== undefined) return store;
    throw new Refusal("failed", `${name} has no \`store\``);
  }
}

const objectOf = (name: string, group: number, part: number) => `${name}/${group}/${part}`;

/**
 * Cells that are appended before all of them attend: each of another sequence. Those of one follow one another, so that
 * each finds the group's tokens before it, and no more, which one call can see.
 */
function* wavesOf(cells: readonly Cell[]): Generator<Cell[]> {
  let wave: Cell[] = [];
  for (const cell of cells) {
    if (wave.some(({ sequence }) => sequence === cell.sequence)) {
      yield wave;
      wave = [];
    }
    wave.push(cell);
  }
  if (wave.length > 0) yield wave;
}

/** What a change leaves of sequences; nothing becomes other tokens where pages move. */
function keptBy(action: Action): Kept[] {
  if (action.do === "keep") return [{ sequence: action.sequence, length: action.length }];
  return action.do === "fork" ? [{ sequence: action.to, length: 0 }] : [];
}

/** Reads which pages there are, of bytes of anybody's. */
function pagesIn(bytes: Uint8Array, batch: number): number[][] {
  const refuse = () => {
    throw new Refusal("failed", "the pages are damaged");
  };
  let read: unknown;
  try {
    read = JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    refuse();
  }
  if (!Array.isArray(read) || read.length !== batch || !read.every(isAscending)) refuse();
  return read as number[][];
}
