/**
 * A shard on a connection: what comes in is done one after the other and answered.
 *
 * @module
 */

import { reasonOf } from "../../check/errors.ts";
import { isExtent, isWhole, kindOf, readOptions } from "../../check/words.ts";
import type { Engine } from "../../engine/engine.ts";
import { machineryFor } from "../../functions/default_engine.ts";
import { clock, yieldTurn } from "../../runtime.ts";
import {
  backTo,
  checkConnection,
  checkPrefix,
  checkToken,
  type ConnectionMessage,
  Line,
  newIdentity,
  type ShardConnection,
  toAll,
  toShard,
} from "../connection.ts";
import { ShardRefusedError } from "../errors.ts";
import type { Bodies, Kind, ShardBody } from "../messages/bodies.ts";
import { decode, encode, type Header, type Message, version } from "../messages/message.ts";
import { Refusal } from "../refusal.ts";
import type { ShardStore } from "../store.ts";
import { type Pull, Shard } from "./shard.ts";

/** Options of `serveShard()`. */
export interface ServeShardOptions {
  /** A connection to the server; it stays the caller's. */
  readonly connection: ShardConnection;
  /** What all subjects of the cache begin with; the server's permissions can be by it. */
  readonly prefix: string;
  /** The group whose pages it holds: from 0 on. Shards of one group are replicas of one another. */
  readonly group: number;
  /** Its name, which no other shard of the cache has. */
  readonly name: string;
  /** Where it computes, and keeps its pages. */
  readonly engine: Engine | Engine<GPUBuffer>;
  /** Most bytes of keys and values; as many as there is memory for by default. */
  readonly maxBytes?: number | undefined;
  /** Where `save()` of the cache puts its pages, and `restore()` finds them. */
  readonly store?: ShardStore | undefined;
}

const serveNames = [
  "connection",
  "prefix",
  "group",
  "name",
  "engine",
  "maxBytes",
  "store",
] as const satisfies readonly (keyof ServeShardOptions)[];

/** What a shard has and does. */
export interface ShardStats {
  /** Its name. */
  readonly name: string;
  /** Whose pages it has. */
  readonly group: number;
  /** The epoch of its coordinator; 0 before the first. */
  readonly epoch: number;
  /** Changes of that are counted by it. */
  readonly generation: number;
  /** Tokens of each sequence that are here. */
  readonly lengths: readonly number[];
  /** Bytes that keys and values take. */
  readonly bytes: number;
  /** Messages that were done. */
  readonly answered: number;
  /** Messages that were refused. */
  readonly refused: number;
  /** What came and was no message. */
  readonly malformed: number;
  /** Messages that wait. */
  readonly waiting: number;
  /** Bytes of messages that came. */
  readonly bytesIn: number;
  /** Bytes of messages that went. */
  readonly bytesOut: number;
}

/** A shard that serves. */
export interface ServedShard extends AsyncDisposable {
  /** What it has and does. */
  stats(): ShardStats;
  /** Resolves when it serves no longer: after `close()`, or with what ended it. */
  readonly ended: Promise<ShardRefusedError | undefined>;
  /** Ends it, and gives its memory back to the engine. */
  close(): Promise<void>;
}

const cannot = "Cannot serve a shard";

/** Groups of a cache at most. */
export const mostGroups = 1024;

/** How long another shard of the same name is waited for, in milliseconds. */
const namePatience = 250;

/** How long another shard may take to give bytes, in milliseconds, and how often it is asked. */
const pullPatience = 2_000, pullTries = 5;

/** Messages that may wait; what is more is dropped, since who asks asks again. */
const mostWaiting = 256;

/** Bytes of an answer before what it is about. */
const answerOverhead = 128;

interface Read extends Omit<ServeShardOptions, "engine"> {
  readonly engine: Engine;
  readonly maxBytes: number;
}

function readServing(given: ServeShardOptions): Read {
  const options = readOptions(given, serveNames, cannot);
  const { connection, prefix, group, name, engine, maxBytes = Infinity, store } = options;
  checkConnection(connection, cannot);
  checkPrefix(prefix, cannot);
  checkToken("name", name, cannot);
  if (!isExtent(group) || group >= mostGroups) {
    throw new RangeError(
      `${cannot}: \`group\` must be a whole number from 0 to ${mostGroups - 1}, got ${
        kindOf(group)
      }`,
    );
  }
  if (maxBytes !== Infinity && !(isWhole(maxBytes) && maxBytes >= 1)) {
    throw new RangeError(
      `${cannot}: \`maxBytes\` must be a whole number of at least 1, got ${kindOf(maxBytes)}`,
    );
  }
  if (machineryFor(engine, cannot) === undefined) {
    throw new TypeError(`${cannot}: \`engine\` must be what \`createEngine()\` gave`);
  }
  const { put, get } = Object(store) as Partial<ShardStore>;
  if (store !== undefined && (typeof put !== "function" || typeof get !== "function")) {
    throw new TypeError(
      `${cannot}: \`store\` must have \`put()\` and \`get()\`, got ${kindOf(store)}`,
    );
  }
  return { ...options, engine: engine as Engine, maxBytes };
}

/** In whose epoch another shard is asked, and which: whoever has the name by default. */
interface AskedOf extends Pick<Header, "epoch" | "coordinator"> {
  readonly identity?: number;
}

/** An answer to a question of ours. */
interface Asked {
  /** Who must give it; anybody by default. */
  readonly identity: number | undefined;
  /** Takes the answer; that there is none, where nothing is given. */
  end(message?: Message): void;
}

class Serving implements ServedShard {
  readonly ended: Promise<ShardRefusedError | undefined>;
  readonly #given: Read;
  readonly #line: Line;
  readonly #shard: Shard;
  readonly #identity = newIdentity();
  readonly #waiting: { readonly message: Message; readonly reply: string }[] = [];
  readonly #awaited = new Map<number, Asked>();
  readonly #counts = { answered: 0, refused: 0, malformed: 0, bytesIn: 0, bytesOut: 0 };
  #asked = 0;
  #isBusy = false;
  #isOver = false;
  #finish: (error: ShardRefusedError | undefined) => void = () => {};

  constructor(given: Read) {
    this.#given = given;
    const { connection, prefix, name, group, engine, maxBytes, store } = given;
    this.ended = new Promise((resolve) => this.#finish = resolve);
    this.#line = new Line(connection, prefix, cannot, (error) => this.#end(error));
    const { maxPayload } = this.#line;
    this.#shard = new Shard({ name, group, engine, maxBytes, maxPayload, store });
  }

  /** Begins to listen, unless another shard has the name. */
  async begin(): Promise<void> {
    const { prefix, name } = this.#given, fail = (error: ShardRefusedError) => this.#end(error);
    this.#listen(backTo(prefix, this.#identity), (message) => this.#takeAnswer(message), fail);
    const other = await this.#ask(name, "ping", {}, namePatience);
    if (other !== undefined) {
      const text = `another shard has the name ${name}, give this one its own`;
      const error = new ShardRefusedError(cannot, name, "name", text);
      this.#end(error);
      throw error;
    }
    for (const subject of [toAll(prefix), toShard(prefix, name)]) {
      this.#listen(subject, (message, reply) => this.#take(message, reply), fail);
    }
    await this.#line.flush();
    const error = this.#isOver ? await this.ended : undefined;
    if (error !== undefined) throw error;
  }

  stats(): ShardStats {
    const { name, group } = this.#given, { epoch, generation, lengths, bytes } = this.#shard;
    const waiting = this.#waiting.length;
    return { name, group, epoch, generation, lengths, bytes, waiting, ...this.#counts };
  }

  close(): Promise<void> {
    this.#end(undefined);
    return this.ended.then(() => {});
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #listen(
    subject: string,
    take: (message: Message, reply: string | undefined) => void,
    onFault: (error: ShardRefusedError) => void,
  ): void {
    this.#line.listen(subject, (given) => {
      if (given.data.length === 0) return this.#endAsked(); // The server says that nobody listens.
      const message = this.#read(given);
      if (message !== undefined) take(message, given.reply);
    }, onFault);
  }

  #read({ data, reply }: ConnectionMessage): Message | undefined {
    this.#counts.bytesIn += data.length;
    const message = decode(data);
    if (message === undefined) {
      this.#counts.malformed++;
      return undefined;
    }
    if (message.kind !== "other version") return message;
    const text =
      `${this.#given.name} has version ${version} of messages, asked is ${message.version}`;
    const header = { request: 0, epoch: 0, coordinator: 0, generation: 0, layer: 0 };
    if (reply !== undefined) this.#send(reply, header, "refused", { reason: "version", text });
    return undefined;
  }

  /** Does what others ask, one after the other; that it lives it tells at once. */
  #take(message: Message, reply: string | undefined): void {
    // Nobody else's subjects are answered to.
    if (reply === undefined || !reply.startsWith(`${this.#given.prefix}.`)) return;
    if (message.kind === "ping") {
      return this.#send(reply, message.header, "pong", this.#shard.introduction);
    }
    const { header } = message;
    const isAgain = this.#waiting.some(({ message: { header: other } }) =>
      other.request === header.request && other.sender === header.sender &&
      other.epoch === header.epoch
    );
    if (isAgain || this.#waiting.length >= mostWaiting) return;
    this.#waiting.push({ message, reply });
    this.#work();
  }

  async #work(): Promise<void> {
    if (this.#isBusy) return;
    this.#isBusy = true;
    while (this.#waiting.length > 0 && !this.#isOver) {
      const { message, reply } = this.#waiting[0];
      await this.#answer(message, reply);
      this.#waiting.shift();
      // Else who asks whether it lives would wait for all that waits.
      if (this.#waiting.length > 0) await yieldTurn();
    }
    this.#isBusy = false;
    if (this.#isOver) this.#free();
  }

  async #answer(message: Message, reply: string): Promise<void> {
    const { header } = message;
    const { epoch, coordinator } = header;
    try {
      const pull: Pull = (...given) => this.#pull({ epoch, coordinator }, ...given);
      const { kind, body } = await this.#shard.answer(message, pull);
      this.#counts.answered++;
      this.#send(reply, header, kind, body);
    } catch (error) {
      this.#counts.refused++;
      const reason = error instanceof Refusal ? error.reason : "failed";
      const text = reasonOf(error).slice(0, 1000);
      this.#send(reply, header, "refused", { reason, text });
    }
  }

  #send<K extends Kind>(
    subject: string,
    header: Omit<Header, "sender">,
    kind: K,
    body: Bodies[K],
  ): void {
    const bytes = encode(kind, { ...header, sender: this.#identity }, body);
    try {
      this.#line.send(subject, bytes);
      this.#counts.bytesOut += bytes.length;
    } catch {
      // Who asks asks again, or knows that the connection is closed.
    }
  }

  /** Reads a part of what another shard has, in pieces that the server lets through. */
  async #pull(
    { epoch, coordinator }: Pick<Header, "epoch" | "coordinator">,
    from: ShardBody,
    part: number,
    only: Bodies["pull"]["only"] = null,
  ): Promise<Uint8Array> {
    const most = this.#line.maxPayload - answerOverhead, parts: Uint8Array[] = [];
    let offset = 0;
    for (let total = 1; offset < total;) {
      const data = await this.#pullPiece(from, { part, offset, most, only }, {
        ...{ epoch, coordinator },
      });
      const { bytes } = data;
      total = data.total;
      if (bytes.length === 0 && offset < total) {
        throw new Refusal("failed", `${from.name} gave nothing`);
      }
      parts.push(bytes);
      offset += bytes.length;
    }
    const all = new Uint8Array(offset);
    for (let at = 0; at < all.length;) {
      const piece = parts.shift()!;
      all.set(piece, at);
      at += piece.length;
    }
    return all;
  }

  async #pullPiece(
    { name, identity }: ShardBody,
    body: Bodies["pull"],
    of: Pick<Header, "epoch" | "coordinator">,
  ): Promise<Bodies["data"]> {
    for (let attempt = 0; attempt < pullTries; attempt++) {
      const answer = await this.#ask(name, "pull", body, pullPatience, { ...of, identity });
      if (answer?.kind === "data") return answer.body;
      if (answer?.kind === "refused") throw new Refusal(answer.body.reason, answer.body.text);
      // Who asked for it asks for something else by now.
      if (this.#waiting.length > 1) break;
    }
    throw new Refusal("failed", `${name} does not answer`);
  }

  /** Asks another shard. @returns `undefined` where it does not answer in time. */
  #ask<K extends Kind>(
    name: string,
    kind: K,
    body: Bodies[K],
    patience: number,
    { identity, ...of }: AskedOf = { epoch: 0, coordinator: 0 },
  ): Promise<Message | undefined> {
    const request = ++this.#asked, { prefix } = this.#given;
    const header = { ...of, request, generation: 0, layer: 0 };
    return new Promise((resolve) => {
      const end = (message?: Message) => {
        clock.cancel(timer);
        this.#awaited.delete(request);
        resolve(message);
      };
      const timer = clock.after(patience, () => end());
      this.#awaited.set(request, { identity, end });
      const bytes = encode(kind, { ...header, sender: this.#identity }, body);
      try {
        this.#line.send(toShard(prefix, name), bytes, backTo(prefix, this.#identity));
      } catch {
        end();
      }
    });
  }

  /** Whoever is asked for a name is not there. */
  #endAsked(): void {
    for (const { end } of this.#awaited.values()) end();
  }

  #takeAnswer(message: Message): void {
    const { request, sender } = message.header, asked = this.#awaited.get(request);
    if (asked?.identity === undefined || asked.identity === sender) asked?.end(message);
  }

  #end(error: ShardRefusedError | undefined): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#line.end();
    if (!this.#isBusy) this.#free();
    this.#finish(error);
  }

  #free(): void {
    try {
      this.#shard.free();
    } catch {
      // Its engine was closed, and has everything back.
    }
  }
}

/**
 * Serves as a shard of a cache that many machines hold: keeps the pages that are dealt to its group, and
 * attends to them. Runs in Node, Deno and Bun, and wherever a connection and an engine do.
 *
 * ```ts ignore
 * import { createEngine } from "@flashtile/attention";
 * import { serveShard } from "@flashtile/attention/sharded";
 * import { connect } from "@nats-io/transport-node";
 *
 * const connection = await connect({ servers: "nats://127.0.0.1:4222" });
 * const engine = await createEngine({ backend: "wasm" });
 * const shard = await serveShard({ connection, prefix: "demo", group: 0, name: "a", engine });
 * console.log(shard.stats().bytes); // 0
 * ```
 *
 * @returns What tells what it has, and ends it.
 * @throws {TypeError} When an argument is of a wrong kind, or an option is unknown.
 * @throws {RangeError} When a number is out of range.
 * @throws {ShardRefusedError} When another shard has the name, the server does not permit the subjects or is too
 * old, or the connection is closed.
 */
export async function serveShard(options: ServeShardOptions): Promise<ServedShard> {
  const serving = new Serving(readServing(options));
  await serving.begin();
  return serving;
}
