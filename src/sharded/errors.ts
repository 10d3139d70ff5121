/**
 * What goes wrong between machines, and can be acted on.
 *
 * @module
 */

/**
 * Shards did not answer, and nobody else has what they hold: a part of the past is missing, and no result
 * was made without it. `restore()` goes on with what is there.
 */
export class ShardLostError extends Error {
  /** Tells it from other errors, also from another copy of the library. */
  override readonly name = "ShardLostError";
  /** Those that are missing: by their names, or as `group N` where none of a group was ever seen. */
  readonly shards: readonly string[];
  /** Tokens of all sequences whose keys and values they hold. */
  readonly tokens: number;

  /** Says who is missing, and why that is thought. */
  constructor(doing: string, shards: readonly string[], tokens: number, reason: string) {
    super(`${doing}: lost ${shards.join(", ")} with ${tokens} tokens, ${reason}`);
    this.shards = shards;
    this.tokens = tokens;
  }
}

/** Why a shard, or the server between, does not do what it is asked. */
export type RefusalReason =
  | "version"
  | "epoch"
  | "stale"
  | "behind"
  | "conflict"
  | "sizes"
  | "shape"
  | "full"
  | "payload"
  | "name"
  | "permission"
  | "closed"
  | "failed";

/** All of them, in the order of their numbers in messages. */
export const refusalReasons = [
  "version",
  "epoch",
  "stale",
  "behind",
  "conflict",
  "sizes",
  "shape",
  "full",
  "payload",
  "name",
  "permission",
  "closed",
  "failed",
] as const satisfies readonly RefusalReason[];

/** A shard, or the server between, refuses what it is asked: the message says why, and what to do. */
export class ShardRefusedError extends Error {
  /** Tells it from other errors, also from another copy of the library. */
  override readonly name = "ShardRefusedError";
  /** Who refuses: a shard's name, or `server`. */
  readonly shard: string;
  /**
   * `"version"`: of another version; `"epoch"`: another coordinator has the cache now; `"conflict"`: other tokens
   * are at these positions; `"sizes"`: it holds another model's cache; `"shape"`: the message does not fit;
   * `"full"`: no room, and nothing of the call stays; `"payload"`: more bytes than the server lets through;
   * `"name"`: another shard has the name; `"permission"`: the server's permissions; `"closed"`: the
   * connection was closed, or drains; `"failed"`: whatever else it said.
   */
  readonly reason: RefusalReason;

  /** Says who, and why. */
  constructor(doing: string, shard: string, reason: RefusalReason, text: string) {
    super(`${doing}: ${text}`);
    this.shard = shard;
    this.reason = reason;
  }
}
