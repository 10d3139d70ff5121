/**
 * Questions and answers: each question waits for the answers that it needs, and for nothing less. What is not
 * answered is sent again; no timer ends a question as if it had been.
 *
 * @module
 */

import type { SignalLike } from "../../check/errors.ts";
import { clock } from "../../runtime.ts";
import {
  backTo,
  type ConnectionMessage,
  Line,
  type ShardConnection,
  toAll,
  toShard,
} from "../connection.ts";
import { ShardLostError, ShardRefusedError } from "../errors.ts";
import type { Bodies, Kind } from "../messages/bodies.ts";
import {
  decode,
  encode,
  type Header,
  type Message,
  type MessageOf,
  version,
} from "../messages/message.ts";
import { isOut, type Member, Members } from "./members.ts";

/** Whom a question is for. */
export interface Wanted {
  readonly group: number;
  /** Whether each shard of the group that lives must answer; else one of them. */
  readonly all: boolean;
}

/** A question. */
export interface Question<K extends Kind = Kind> {
  readonly kind: K;
  readonly body: Bodies[K];
  readonly layer?: number;
  readonly wanted: readonly Wanted[];
  /** The only shard that it is for, where it is for one. */
  readonly member?: Member;
  /** A shard that those who are asked have to ask themselves. */
  readonly needed?: Member;
  /** Whether it may take longer than the deadline, as long as who is asked lives. */
  readonly isLong?: boolean;
  /** Whether an answer has the sizes that it must have. */
  accepts?(message: Message): boolean;
}

/** What a coordinator was granted, and where it is in its changes. */
export interface Standing {
  readonly epoch: number;
  readonly coordinator: number;
  readonly generation: number;
}

/** A question that waits. */
interface Pending {
  readonly question: Question;
  readonly bytes: Uint8Array;
  readonly header: Header;
  readonly begun: number;
  sent: number;
  readonly answers: Map<Member, Message>;
  readonly signal: SignalLike | null | undefined;
  resolve(answers: ReadonlyMap<Member, Message>): void;
  reject(error: unknown): void;
}

/** Who is there is asked. */
interface Finding {
  readonly request: number;
  told(message: MessageOf<"pong">): void;
  fail(): void;
}

/** Counts of what went over the line. */
export interface Traffic {
  /** Questions that were sent, once or again; without those whether shards live. */
  readonly messagesOut: number;
  /** Their bytes. */
  readonly bytesOut: number;
  /** Messages that came back. */
  readonly messagesIn: number;
  /** Their bytes. */
  readonly bytesIn: number;
  /** Messages that were sent once more. */
  readonly again: number;
}

/** When things are sent again, and given up. */
export interface Patience {
  readonly heartbeat: number;
  readonly deadline: number;
}

/** Refusals that pass: the message comes again, or another was meant. */
const passing: readonly string[] = ["behind", "stale"];

/** The coordinator's side of the line. */
export class Exchange {
  readonly line: Line;
  readonly #doing: string;
  readonly #patience: Patience;
  readonly #identity: number;
  readonly #pending = new Map<number, Pending>();
  readonly #traffic = { messagesOut: 0, bytesOut: 0, messagesIn: 0, bytesIn: 0, again: 0 };
  /** Tokens that a group has, for errors. */
  readonly #tokensOf: (group: number) => number;
  #finding: Finding | undefined;
  #members = new Members();
  #standing: Standing;
  #requests = 0;
  #timer: unknown;
  #fault: unknown;
  #isOver = false;

  constructor(
    connection: ShardConnection,
    prefix: string,
    identity: number,
    patience: Patience,
    doing: string,
    tokensOf: (group: number) => number,
  ) {
    this.#identity = identity;
    this.#patience = patience;
    this.#doing = doing;
    this.#tokensOf = tokensOf;
    this.#standing = { epoch: 0, coordinator: identity, generation: 0 };
    const fail = (error: ShardRefusedError) => this.fail(error);
    this.line = new Line(connection, prefix, doing, fail);
    this.line.listen(backTo(prefix, identity), (message) => this.#take(message), fail);
    this.#timer = clock.after(patience.heartbeat, () => this.#tick());
  }

  get members(): Members {
    return this.#members;
  }

  set members(members: Members) {
    this.#members = members;
  }

  get standing(): Standing {
    return this.#standing;
  }

  set standing(standing: Standing) {
    this.#standing = standing;
  }

  get traffic(): Traffic {
    return { ...this.#traffic };
  }

  /** Sends a question. @returns The answers that it needs. */
  ask<K extends Kind>(
    question: Question<K>,
    signal?: SignalLike | null,
  ): Promise<ReadonlyMap<Member, Message>> {
    if (this.#fault !== undefined) return Promise.reject(this.#fault);
    const request = this.#requests = (this.#requests + 1) >>> 0;
    const { layer = 0, kind, body } = question;
    const header = { ...this.#standing, request, sender: this.#identity, layer };
    const bytes = encode(kind, header, body);
    if (bytes.length > this.line.maxPayload) return Promise.reject(this.#tooLong(bytes.length));
    return new Promise((resolve, reject) => {
      const now = clock.now(), answers = new Map<Member, Message>();
      const times = { begun: now, sent: now };
      const pending = { question, bytes, header, ...times, answers, signal, resolve, reject };
      this.#pending.set(request, pending);
      this.#listenTo(signal, pending);
      this.#send(pending);
    });
  }

  /**
   * Asks who is there, now and with every heartbeat.
   *
   * @param fail Told when nobody can answer any more.
   * @returns What ends the telling.
   */
  find(told: (message: MessageOf<"pong">) => void, fail: () => void): () => void {
    // What was asked before may be answered by who is no more.
    const request = this.#requests = (this.#requests + 1) >>> 0;
    this.#finding = { request, told, fail };
    this.#ping();
    return () => this.#finding = undefined;
  }

  /** Ends everything that waits, and whatever is asked from now on. */
  fail(error: unknown): void {
    this.#fault ??= error;
    for (const pending of [...this.#pending.values()]) this.#reject(pending, error);
    this.#finding?.fail();
  }

  /** Throws where everything was ended. */
  checkOpen(): void {
    if (this.#fault !== undefined) throw this.#fault;
    this.line.checkOpen();
  }

  end(error: Error): void {
    this.#isOver = true;
    clock.cancel(this.#timer);
    this.fail(error);
    this.line.end();
  }

  /** That shards are missing. */
  lost(shards: readonly Member[], groups: readonly number[], reason: string): ShardLostError {
    const names = shards.map(({ name }) => name);
    for (const group of groups) {
      if (!shards.some((shard) => shard.group === group)) names.push(`group ${group}`);
    }
    const tokens = groups.reduce((sum, group) => sum + this.#tokensOf(group), 0);
    return new ShardLostError(this.#doing, names, tokens, reason);
  }

  #tooLong(length: number): ShardRefusedError {
    const { maxPayload } = this.line;
    return new ShardRefusedError(
      this.#doing,
      "server",
      "payload",
      `a message would have ${length} bytes, the server lets ${maxPayload} through (\`max_payload\`)`,
    );
  }

  #listenTo(signal: SignalLike | null | undefined, pending: Pending): void {
    const { addEventListener } = Object(signal) as Partial<AbortSignal>;
    if (typeof addEventListener !== "function") return; // Looked at with every heartbeat.
    const abort = () => this.#reject(pending, signal!.reason);
    (signal as AbortSignal).addEventListener("abort", abort, { once: true });
    const { resolve, reject } = pending;
    const forget = () => (signal as AbortSignal).removeEventListener("abort", abort);
    pending.resolve = (answers) => (forget(), resolve(answers));
    pending.reject = (error) => (forget(), reject(error));
  }

  #send({ question: { member }, bytes, header }: Pending): void {
    const { prefix } = this.line;
    const subject = member === undefined ? toAll(prefix) : toShard(prefix, member.name);
    try {
      this.line.send(subject, bytes, backTo(prefix, this.#identity));
      this.#traffic.messagesOut++;
      this.#traffic.bytesOut += bytes.length;
    } catch (error) {
      const pending = this.#pending.get(header.request);
      if (pending !== undefined) this.#reject(pending, error);
    }
  }

  #ping(): void {
    const request = this.#finding?.request ?? 0;
    const header = { ...this.#standing, request, sender: this.#identity, layer: 0 };
    const { prefix } = this.line;
    try {
      this.line.send(toAll(prefix), encode("ping", header, {}), backTo(prefix, this.#identity));
    } catch {
      // Questions that wait are told by the connection itself.
    }
  }

  #tick(): void {
    if (this.#isOver) return;
    const { heartbeat, deadline } = this.#patience, now = clock.now();
    this.#members.strike();
    this.#ping();
    for (const pending of [...this.#pending.values()]) {
      const { signal, begun, question } = pending;
      if (signal?.aborted) this.#reject(pending, signal.reason);
      else if (this.#checkLiving(pending)) continue;
      else if (now - begun > deadline && !question.isLong) this.#giveUp(pending, deadline);
      else if (now - pending.sent >= heartbeat) {
        pending.sent = now;
        this.#traffic.again++;
        this.#send(pending);
      }
    }
    this.#timer = clock.after(heartbeat, () => this.#tick());
  }

  /** Ends a question that has its answers since somebody is out, or can have them no more. @returns Whether it did. */
  #checkLiving(pending: Pending): boolean {
    const { question: { wanted, needed } } = pending;
    const dead = wanted.filter(({ group }) =>
      this.#asked(pending, group).every((member) => isOut(member) && !pending.answers.has(member))
    ).map(({ group }) => group);
    const members = dead.flatMap((group) => this.#asked(pending, group));
    if (needed !== undefined && isOut(needed)) {
      dead.push(needed.group);
      members.push(needed);
    }
    if (dead.length > 0) {
      const silence = 4 * this.#patience.heartbeat;
      this.#reject(pending, this.lost(members, dead, `not heard of for ${silence} ms`));
      return true;
    }
    return this.#finish(pending);
  }

  #giveUp(pending: Pending, deadline: number): void {
    const groups = this.#lacking(pending).map(({ group }) => group);
    const members = groups.flatMap((group) => this.#asked(pending, group))
      .filter((member) => !pending.answers.has(member));
    this.#reject(pending, this.lost(members, groups, `no answer within ${deadline} ms`));
  }

  #asked({ question: { member } }: Pending, group: number): readonly Member[] {
    return member === undefined ? this.#members.of(group) : [member];
  }

  /** Groups of whom more must answer. */
  #lacking(pending: Pending): Wanted[] {
    const { answers, question: { wanted } } = pending;
    return wanted.filter(({ group, all }) => {
      const asked = this.#asked(pending, group);
      if (!asked.some((member) => answers.has(member))) return true;
      return all && asked.some((member) => !isOut(member) && !answers.has(member));
    });
  }

  #finish(pending: Pending): boolean {
    if (this.#lacking(pending).length > 0) return false;
    this.#pending.delete(pending.header.request);
    pending.resolve(pending.answers);
    return true;
  }

  #reject(pending: Pending, error: unknown): void {
    if (this.#pending.delete(pending.header.request)) pending.reject(error);
  }

  #take({ data }: ConnectionMessage): void {
    if (data.length === 0) return; // The server says that nobody listens: so far.
    this.#traffic.messagesIn++;
    this.#traffic.bytesIn += data.length;
    const message = decode(data);
    if (message === undefined) return;
    if (message.kind === "other version") return this.#failVersion(message.version);
    const { kind, header } = message, member = this.#members.find(header.sender);
    if (member !== undefined && !isOut(member)) member.strikes = 0;
    if (kind === "pong") {
      if (header.request === this.#finding?.request) this.#finding.told(message);
      return;
    }
    if (kind === "refused" && message.body.reason === "version") {
      return this.#refuse(undefined, "shard", message.body);
    }
    const pending = this.#pending.get(header.request);
    if (pending === undefined || member === undefined || isOut(member)) return;
    if (!isAnswerTo(header, pending.header) || pending.answers.has(member)) return;
    if (!pending.question.wanted.some(({ group }) => group === member.group)) return;
    if (kind === "refused") return this.#refuse(pending, member.name, message.body);
    if (pending.question.accepts?.(message) === false) return;
    pending.answers.set(member, message);
    this.#finish(pending);
  }

  #failVersion(theirs: number): void {
    const text = `a shard has version ${theirs} of messages, this coordinator has ${version}`;
    this.fail(new ShardRefusedError(this.#doing, "shard", "version", text));
  }

  #refuse(pending: Pending | undefined, shard: string, { reason, text }: Bodies["refused"]): void {
    if (passing.includes(reason)) return;
    const error = new ShardRefusedError(this.#doing, shard, reason, text);
    if (pending === undefined) return this.fail(error);
    // Whoever has the cache now, it is not this coordinator.
    if (reason === "epoch" && pending.question.kind !== "grant") this.fail(error);
    else this.#reject(pending, error);
  }
}

/** Whether an answer is to this very question. */
function isAnswerTo(answer: Header, question: Header): boolean {
  return answer.epoch === question.epoch && answer.coordinator === question.coordinator &&
    answer.generation === question.generation && answer.layer === question.layer;
}
