/**
 * Messages as bytes:
 *
 * ```text
 * 0   "FTSH"
 * 4   version, kind, and two bytes of 0
 * 8   checksum: FNV-1a over all words but this one
 * 12  request     a number of the sender's that its answer repeats
 * 16  epoch
 * 20  coordinator who was granted the epoch: two may ask for one number
 * 24  generation
 * 28  sender      another number each time that a shard is started
 * 32  layer
 * 36  what the kind says
 * ```
 *
 * Numbers are 32 bits, little-endian.
 *
 * @module
 */

import { type Bodies, codings, type Kind, kinds } from "./bodies.ts";
import { ByteReader, ByteWriter, MalformedError } from "./bytes.ts";

/** What every message has. */
export interface Header {
  readonly request: number;
  readonly epoch: number;
  readonly coordinator: number;
  readonly generation: number;
  readonly sender: number;
  readonly layer: number;
}

/** A message of a kind. */
export interface MessageOf<K extends Kind> {
  readonly kind: K;
  readonly header: Header;
  readonly body: Bodies[K];
}

/** A message. */
export type Message = { [K in Kind]: MessageOf<K> }[Kind];

/** What bytes are that are no message of this version. */
export interface OtherVersion {
  readonly kind: "other version";
  readonly version: number;
}

const magic = 0x48535446; // "FTSH"

/** The version of messages. */
export const version = 1;

/** Bytes before what a kind says. */
export const headerBytes = 36;

const headerNames = [
  "request",
  "epoch",
  "coordinator",
  "generation",
  "sender",
  "layer",
] as const satisfies readonly (keyof Header)[];

/** FNV-1a over words. */
export function checksumOf(words: Uint32Array, hash = 0x811c9dc5): number {
  for (let at = 0; at < words.length; at++) hash = Math.imul(hash ^ words[at], 0x01000193);
  return hash >>> 0;
}

/** The checksum of a message: over all words but the third. */
function checksumIn(words: Uint32Array): number {
  return checksumOf(words.subarray(3), checksumOf(words.subarray(0, 2)));
}

function wordsOf({ buffer, byteOffset, length }: Uint8Array): Uint32Array {
  return new Uint32Array(buffer, byteOffset, length / 4);
}

/** A message as bytes. @param room Bytes that are expected. */
export function encode<K extends Kind>(
  kind: K,
  header: Header,
  body: Bodies[K],
  room?: number,
): Uint8Array<ArrayBuffer> {
  const to = new ByteWriter(room);
  to.word(magic);
  to.word(version | kinds.indexOf(kind) << 8);
  to.word(0);
  for (const name of headerNames) to.word(header[name]);
  codings[kind].write(to, body);
  const { bytes } = to, words = wordsOf(bytes);
  words[2] = checksumIn(words);
  return bytes;
}

/**
 * Reads a message: bytes of anybody's, at any place of their buffer.
 *
 * @returns `undefined` where they are no message.
 */
export function decode(given: Uint8Array): Message | OtherVersion | undefined {
  if (given.length < headerBytes || given.length % 4 !== 0) return undefined;
  const bytes = new Uint8Array(given), words = wordsOf(bytes); // A copy, which begins at a word.
  if (words[0] !== magic) return undefined;
  const told = words[1] & 0xff, kind = kinds[words[1] >>> 8];
  if (told !== version) return { kind: "other version", version: told };
  if (kind === undefined || words[2] !== checksumIn(words)) return undefined;
  const header = Object.fromEntries(headerNames.map((name, at) => [name, words[3 + at]]));
  try {
    const from = new ByteReader(bytes, headerBytes), body = codings[kind].read(from);
    from.end();
    return { kind, header: header as unknown as Header, body } as Message;
  } catch (error) {
    if (error instanceof MalformedError) return undefined;
    throw error;
  }
}
