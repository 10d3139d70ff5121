/**
 * A server of messages within the process: it loses, doubles, delays and reorders what a seed says, and connections
 * can be cut, both ways or one way, as if a machine had died.
 *
 * @module
 */

import type { ConnectionMessage, ShardConnection } from "@flashtile/attention/sharded";
import type { Random } from "./random.ts";

type Callback = (error: Error | null, message: ConnectionMessage) => void;

/** How often what goes wrong: chances of each message. */
export interface Faults {
  readonly drop: number;
  readonly double: number;
  /** Of being late, by up to so many milliseconds. */
  readonly late: number;
  readonly milliseconds: number;
}

/** A message on its way. */
interface Sent extends ConnectionMessage {
  readonly data: Uint8Array;
}

/** Nothing goes wrong. */
export const calm: Faults = { drop: 0, double: 0, late: 0, milliseconds: 0 };

/** The server. */
export class FakeNetwork {
  faults: Faults = calm;
  maxPayload = 1_048_576;
  version = "2.9.10";
  /** Told of each message that comes in. */
  told: (message: ConnectionMessage) => void = () => {};
  /** Every message that came in. */
  readonly sent: Sent[] = [];
  readonly #random: Random;
  readonly #connections = new Set<FakeConnection>();

  constructor(random: Random) {
    this.#random = random;
  }

  connect(): FakeConnection {
    const connection = new FakeConnection(this);
    this.#connections.add(connection);
    return connection;
  }

  /** Takes a message to all who listen, or as the faults say. */
  carry(message: Sent): void {
    this.sent.push(message);
    this.told(message);
    if (![...this.#connections].some((one) => one.listensTo(message.subject))) {
      const { reply } = message;
      if (reply !== undefined) this.#deliver({ subject: reply, data: new Uint8Array() });
      return;
    }
    const { drop, double } = this.faults;
    if (this.#random() < drop) return;
    for (let copies = this.#random() < double ? 2 : 1; copies > 0; copies--) this.#deliver(message);
  }

  #deliver(message: Sent): void {
    const { late, milliseconds } = this.faults;
    const give = () => {
      for (const connection of this.#connections) connection.give(message);
    };
    if (this.#random() < late) setTimeout(give, this.#random() * milliseconds);
    else queueMicrotask(give);
  }
}

/** A connection to it. */
export class FakeConnection implements ShardConnection {
  /** Whether what is sent comes out, and what comes in is heard: neither, where the machine is dead. */
  sends = true;
  hears = true;
  /** Subjects that the server does not let it hear. */
  refused: RegExp | undefined;
  isDrainingNow = false;
  readonly #network: FakeNetwork;
  readonly #listeners = new Map<Callback, string>();
  #isClosed = false;
  #close: () => void = () => {};
  readonly #closed = new Promise<void>((resolve) => this.#close = resolve);

  constructor(network: FakeNetwork) {
    this.#network = network;
  }

  get info() {
    return { max_payload: this.#network.maxPayload, version: this.#network.version };
  }

  /** Whether a subject is listened to, as far as the server knows. */
  listensTo(subject: string): boolean {
    return !this.#isClosed && [...this.#listeners.values()].includes(subject);
  }

  publish(subject: string, payload = new Uint8Array(), { reply }: { reply?: string } = {}): void {
    if (this.#isClosed) throw new Error("closed");
    if (payload.length > this.#network.maxPayload) throw new Error("max payload exceeded");
    // As in a larger buffer, at any byte of it.
    const data = new Uint8Array(payload.length + 1).subarray(1);
    data.set(payload);
    if (this.sends) this.#network.carry({ subject, data, reply });
  }

  subscribe(subject: string, { callback }: { callback: Callback }) {
    if (this.refused?.test(subject)) {
      queueMicrotask(() =>
        callback(new Error(`Permissions Violation for "${subject}"`), {} as never)
      );
    } else this.#listeners.set(callback, subject);
    return { unsubscribe: () => void this.#listeners.delete(callback) };
  }

  give(message: ConnectionMessage): void {
    if (!this.hears || this.#isClosed) return;
    for (const [callback, subject] of [...this.#listeners]) {
      if (subject === message.subject) callback(null, message);
    }
  }

  flush(): Promise<void> {
    return Promise.resolve();
  }

  isClosed(): boolean {
    return this.#isClosed;
  }

  isDraining(): boolean {
    return this.isDrainingNow;
  }

  closed(): Promise<void> {
    return this.#closed;
  }

  close(): void {
    this.#isClosed = true;
    this.#close();
  }

  /** The machine dies: nothing more is heard of it, and nothing by it. */
  die(): void {
    this.sends = this.hears = false;
  }
}
