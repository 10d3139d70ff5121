/**
 * Where pages are kept beside the shards, typed by what is used of it: an object store of JetStream, or a folder.
 *
 * @module
 */

/** Bytes by name. Of JetStream's object store `putBlob()` and `getBlob()` do it, in pieces of 128 KiB. */
export interface ShardStore {
  /** Keeps bytes under a name; what was there is replaced. */
  put(name: string, bytes: Uint8Array): Promise<unknown>;
  /** The bytes that are kept under a name; `null` where there are none. */
  get(name: string): Promise<Uint8Array | null>;
}
