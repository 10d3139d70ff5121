/**
 * What was appended last, so that the same again is known from others at the same positions.
 *
 * @module
 */

import { checksumOf } from "../messages/message.ts";

/** Tokens that were appended in one go. */
export interface AppendRecord {
  readonly position: number;
  readonly rows: number;
  /** Of their keys and values. */
  readonly hash: number;
}

/** As many as can be under way. */
const most = 64;

/** The checksum of some arrays. */
export function hashOf(arrays: readonly ArrayBufferView[]): number {
  let hash = 0x811c9dc5;
  for (const { buffer, byteOffset, byteLength } of arrays) {
    const bytes = new Uint8Array(buffer, byteOffset, byteLength);
    const padded = new Uint8Array(Math.ceil(byteLength / 4) * 4);
    padded.set(bytes);
    hash = checksumOf(new Uint32Array(padded.buffer), hash);
  }
  return hash;
}

/** Records of a sequence in a layer. */
export class AppendRecords {
  readonly #records: AppendRecord[] = [];

  add(record: AppendRecord): void {
    this.#records.push(record);
    if (this.#records.length > most) this.#records.shift();
  }

  /** Whether the same was appended; `undefined` where that is not known any more. */
  has({ position, rows, hash }: AppendRecord): boolean | undefined {
    const found = this.#records.find((one) => one.position === position);
    return found && (found.rows === rows && found.hash === hash);
  }

  clear(): void {
    this.#records.length = 0;
  }
}
