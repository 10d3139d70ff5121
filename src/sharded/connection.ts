/**
 * Connections to a NATS server, typed by what is used of them, so that the library imports none; and what is sent
 * over them.
 *
 * @module
 */

import { kindOf } from "../check/words.ts";
import { type RefusalReason, ShardRefusedError } from "./errors.ts";

/** A message as a connection gives it. */
export interface ConnectionMessage {
  /** What it was published under. */
  readonly subject: string;
  /** Bytes that may stand anywhere in their buffer. */
  readonly data: Uint8Array;
  /** Where an answer goes. */
  readonly reply?: string | undefined;
}

/** What ends the interest in a subject. */
export interface ConnectionSubscription {
  /** Ends it. */
  unsubscribe(): void;
}

/**
 * A connection to a NATS server, as `connect()` of `@nats-io/transport-node` or `wsconnect()` of `@nats-io/nats-core`
 * gives it. Its credentials, TLS and reconnecting are the caller's.
 */
export interface ShardConnection {
  /** Sends a message. */
  publish(subject: string, payload?: Uint8Array, options?: { reply?: string }): void;
  /** Listens to a subject. */
  subscribe(
    subject: string,
    options: { callback: (error: Error | null, message: ConnectionMessage) => void },
  ): ConnectionSubscription;
  /** Resolves when the server has what was sent before. */
  flush(): Promise<void>;
  /** Whether it was closed. */
  isClosed(): boolean;
  /** Whether it sends what it has, and takes no more. */
  isDraining(): boolean;
  /** Resolves when it is closed, with the reason if there is one. */
  closed(): Promise<void | Error>;
  /** What happens to it: errors of permissions come this way. */
  status?(): AsyncIterable<unknown>;
  /** What the server has said of itself. */
  readonly info?:
    | { readonly version?: string | undefined; readonly max_payload?: number | undefined }
    | undefined;
}

/** Bytes of a message that every server lets through. */
const usualPayload = 1_048_576;

/** The oldest server: those before tell nobody that there is no one who listens. */
const oldestServer = [2, 2] as const;

const methods = ["publish", "subscribe", "flush", "isClosed", "isDraining", "closed"] as const;

/** Checks that a value is a connection, and that it is open. */
export function checkConnection(
  given: unknown,
  doing: string,
): asserts given is ShardConnection {
  const missing = methods.find((name) =>
    typeof (Object(given) as Record<string, unknown>)[name] !== "function"
  );
  if (missing === undefined) return;
  throw new TypeError(
    `${doing}: \`connection\` must be a connection of @nats-io/transport-node or nats-core, ` +
      `got ${kindOf(given)} without \`${missing}()\``,
  );
}

/** Checks a name that is a part of subjects. */
export function checkToken(name: string, value: unknown, doing: string): asserts value is string {
  if (typeof value === "string" && /^[\w-]{1,64}$/.test(value)) return;
  throw new TypeError(
    `${doing}: \`${name}\` must be 1 to 64 letters, digits, "_" and "-", got ${kindOf(value)}`,
  );
}

/** Checks what subjects begin with. */
export function checkPrefix(value: unknown, doing: string): asserts value is string {
  if (typeof value === "string" && value.length <= 128 && /^[\w-]+(\.[\w-]+)*$/.test(value)) return;
  throw new TypeError(
    `${doing}: \`prefix\` must be names with dots between, as "tenant.cache", got ${kindOf(value)}`,
  );
}

/** A connection, and the subjects of one cache on it. */
export class Line {
  readonly prefix: string;
  /** Most bytes of a message. */
  readonly maxPayload: number;
  readonly #connection: ShardConnection;
  readonly #doing: string;
  readonly #subscriptions: ConnectionSubscription[] = [];
  #watched: AsyncIterator<unknown> | undefined;
  #isOver = false;

  /**
   * @param doing What messages of errors begin with.
   * @param onFault Told when the connection ends, or the server refuses a subject.
   */
  constructor(
    connection: ShardConnection,
    prefix: string,
    doing: string,
    onFault: (error: ShardRefusedError) => void,
  ) {
    this.prefix = prefix;
    this.#connection = connection;
    this.#doing = doing;
    this.checkOpen();
    this.maxPayload = connection.info?.max_payload ?? usualPayload;
    this.#checkServer();
    connection.closed().then((error) => {
      const why = error ? `: ${error.message}` : "";
      if (!this.#isOver) onFault(this.#refusal("closed", `the connection was closed${why}`));
    });
    this.#watch(onFault);
  }

  /** Throws where nothing can be sent any more. */
  checkOpen(): void {
    const isClosed = this.#connection.isClosed();
    if (!isClosed && !this.#connection.isDraining()) return;
    throw this.#refusal("closed", `the connection ${isClosed ? "was closed" : "drains"}`);
  }

  /** Sends bytes, where the connection is open; it may buffer them while it reconnects. */
  send(subject: string, bytes: Uint8Array, reply?: string): void {
    this.checkOpen();
    this.#connection.publish(subject, bytes, reply === undefined ? undefined : { reply });
  }

  /** Listens to a subject. */
  listen(
    subject: string,
    take: (message: ConnectionMessage) => void,
    onFault: (error: ShardRefusedError) => void,
  ): void {
    const callback = (error: Error | null, message: ConnectionMessage) => {
      if (error === null || error === undefined) return take(message);
      const text = `the server refuses to let ${subject} be heard: ${error.message}`;
      if (!this.#isOver) onFault(this.#refusal("permission", text));
    };
    this.#subscriptions.push(this.#connection.subscribe(subject, { callback }));
  }

  flush(): Promise<void> {
    return this.#connection.flush();
  }

  /** Ends all interest; the connection stays the caller's. */
  end(): void {
    this.#isOver = true;
    for (const one of this.#subscriptions.splice(0)) {
      if (!this.#connection.isClosed()) one.unsubscribe();
    }
    this.#watched?.return?.();
  }

  #checkServer(): void {
    const { version } = this.#connection.info ?? {};
    const numbers = version?.match(/^(\d+)\.(\d+)/)?.slice(1).map(Number);
    if (numbers === undefined) return;
    const [major, minor] = numbers, [least, leastMinor] = oldestServer;
    if (major > least || (major === least && minor >= leastMinor)) return;
    throw this.#refusal(
      "version",
      `the server is nats-server ${version}, needed is ${oldestServer.join(".")} or later`,
    );
  }

  async #watch(onFault: (error: ShardRefusedError) => void): Promise<void> {
    const watched = this.#connection.status?.()[Symbol.asyncIterator]();
    this.#watched = watched;
    try {
      while (watched !== undefined && !this.#isOver) {
        const { done, value } = await watched.next();
        if (done || this.#isOver) return;
        const { type, error } = Object(value) as { type?: unknown; error?: { message?: unknown } };
        const text = String(error?.message ?? "");
        if (type !== "error" || !/permission/i.test(text) || !text.includes(this.prefix)) continue;
        onFault(this.#refusal("permission", `the server refuses: ${text}`));
      }
    } catch {
      // What ends the connection is told by `closed()`.
    }
  }

  #refusal(reason: RefusalReason, text: string): ShardRefusedError {
    return new ShardRefusedError(this.#doing, "server", reason, text);
  }
}

/** Every shard of a cache hears this. */
export const toAll = (prefix: string) => `${prefix}.all`;

/** One shard hears this. */
export const toShard = (prefix: string, name: string) => `${prefix}.shard.${name}`;

/** Answers to whoever asks under a number. */
export const backTo = (prefix: string, sender: number) => `${prefix}.back.${sender.toString(16)}`;

/** A number that nobody else is likely to have; never 0. */
export function newIdentity(): number {
  const [number] = crypto.getRandomValues(new Uint32Array(1));
  return number || 1;
}
