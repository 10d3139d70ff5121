/**
 * SentencePiece with pieces that are merged by their scores, as Llama 1 and 2, Mistral and Gemma have it; what
 * is in no piece becomes bytes (Kudo and Richardson, arXiv 1808.06226).
 *
 * @module
 */

import { kindOfArray } from "../../tensor/arrays.ts";
import { kindOf } from "../../check/words.ts";
import type { GgufValue, Metadata } from "../files/gguf.ts";
import { mergeByScore } from "./merge.ts";
import type { TextStream, Tokenizer } from "./tokenizer.ts";

const cannot = "Cannot read the vocabulary";

/** What a piece is: a text, one that is never cut, a byte, a sign that is no text, or in place of what is unknown. */
export type PieceKind = "text" | "whole" | "byte" | "control" | "unknown";

/** A piece of a vocabulary. */
export interface Piece {
  /** With plain spaces. */
  readonly text: string;
  readonly score: number;
  readonly kind: PieceKind;
}

/** A vocabulary, and what becomes of texts before they are cut. */
export interface Vocabulary {
  readonly pieces: readonly Piece[];
  readonly begin: number | undefined;
  readonly end: number | undefined;
  /** Whether a prompt is given the beginning token. */
  readonly addsBegin: boolean;
  /** Whether a space is put in front of a text, which decoding leaves out. */
  readonly addsSpace: boolean;
}

/** The byte of a piece such as `<0x0A>`. */
function byteOf(text: string): number | undefined {
  const [, digits] = text.match(/^<0x([0-9A-Fa-f]{2})>$/) ?? [];
  return digits === undefined ? undefined : parseInt(digits, 16);
}

/** A vocabulary's pieces by what they are. */
function indexOf({ pieces }: Vocabulary) {
  const texts = new Map<string, number>(), bytes = new Map<number, number>();
  const wholes = new Map<string, string[]>(); // By the first character.
  let unknown: number | undefined;
  pieces.forEach(({ text, kind }, id) => {
    if (kind === "unknown") unknown ??= id;
    if (kind === "byte") bytes.set(byteOf(text)!, id);
    if (kind !== "text" && kind !== "whole" || text === "") return;
    if (!texts.has(text)) texts.set(text, id); // The first of several of the same text.
    if (kind !== "whole") return;
    const [first] = text, all = wholes.get(first);
    if (all === undefined) wholes.set(first, [text]);
    else all.push(text);
  });
  for (const all of wholes.values()) all.sort((a, b) => b.length - a.length);
  return { texts, bytes, wholes, unknown };
}

/** Pieces of a text: those that are never cut, the longest where several begin, and of the rest what merging gives. */
function cut(
  text: string,
  wholes: ReadonlyMap<string, readonly string[]>,
  merge: (part: string) => string[],
): string[] {
  if (wholes.size === 0) return merge(text);
  const parts: string[][] = [];
  let from = 0;
  for (let at = 0; at < text.length;) {
    const whole = wholes.get(String.fromCodePoint(text.codePointAt(at)!))
      ?.find((one) => text.startsWith(one, at));
    if (whole === undefined) at++;
    else {
      parts.push(merge(text.slice(from, at)), [whole]);
      from = at += whole.length;
    }
  }
  return [...parts, merge(text.slice(from))].flat();
}

/** A tokenizer of a vocabulary. */
export function tokenizerOf(vocabulary: Vocabulary): Tokenizer {
  const { pieces, begin, end, addsBegin, addsSpace } = vocabulary;
  const { texts, bytes, wholes, unknown } = indexOf(vocabulary), encoder = new TextEncoder();
  const scoreOf = (piece: string) => {
    const id = texts.get(piece);
    return id === undefined ? undefined : pieces[id].score;
  };
  /** A piece's token; those of its bytes where it is none, and of what has none for them nothing. */
  const idsOf = (piece: string): number[] => {
    const id = texts.get(piece);
    if (id !== undefined) return [id];
    return Array.from(encoder.encode(piece), (byte) => bytes.get(byte) ?? unknown)
      .filter((byte) => byte !== undefined);
  };
  const utf8 = pieces.map(() => undefined as Uint8Array | undefined);
  /** Bytes that a token stands for. */
  const bytesOf = (id: number): Uint8Array => {
    const piece = pieces[id];
    if (piece === undefined) {
      throw new RangeError(
        `Cannot decode: ids must be whole numbers below ${pieces.length}, got ${kindOf(id)}`,
      );
    }
    const isText = piece.kind === "text" || piece.kind === "whole";
    return utf8[id] ??= piece.kind === "byte"
      ? Uint8Array.of(byteOf(piece.text)!)
      : encoder.encode(isText ? piece.text : "");
  };
  const stream = (before: ArrayLike<number> = []): TextStream => {
    const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    const last = before.length === 0 ? undefined : before[before.length - 1];
    let isFirst = addsSpace && (last === undefined || last === begin);
    return {
      push(id) {
        const own = bytesOf(id), drop = isFirst && own[0] === 0x20 ? 1 : 0;
        if (own.length > 0) isFirst = false;
        if (id === begin) isFirst = addsSpace;
        return decoder.decode(own.subarray(drop), { stream: true });
      },
      end: () => decoder.decode(),
    };
  };
  return {
    ...{ size: pieces.length, begin, end, addsBegin, stream },
    encode(text) {
      if (text === "") return [];
      const spaced = addsSpace ? ` ${text}` : text;
      return cut(spaced, wholes, (part) => mergeByScore(part, scoreOf)).flatMap(idsOf);
    },
    decode(ids) {
      const { push, end } = stream();
      return Array.from(ids, push).join("") + end();
    },
  };
}

/**
 * The tokenizer of a vocabulary file of the llama2.c project: a number, then for each piece its score (f32), its
 * length (i32) and its bytes. The first three pieces are no text: unknown, beginning and end.
 *
 * @param bytes The file.
 * @throws {RangeError} When it is cut off, or something else.
 */
export function sentencePiece(bytes: Uint8Array): Tokenizer {
  if (kindOfArray(bytes) !== "Uint8Array") {
    throw new TypeError(`${cannot}: it must be a Uint8Array, got ${kindOf(bytes)}`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length), pieces: Piece[] = [];
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  const longest = bytes.length < 4 ? 0 : view.getInt32(0, true);
  let at = 4;
  while (at < bytes.length) {
    const score = at + 8 > bytes.length ? NaN : view.getFloat32(at, true);
    const length = at + 8 > bytes.length ? -1 : view.getInt32(at + 4, true);
    if (!(length >= 0 && length <= longest && at + 8 + length <= bytes.length)) {
      throw new RangeError(
        `${cannot}: piece ${pieces.length}, at byte ${at} of ${bytes.length}, would have ${length} ` +
          `bytes, and the longest ${longest}: the file is cut off, or none of llama2.c`,
      );
    }
    const text = decoder.decode(bytes.subarray(at + 8, at + 8 + length));
    const kind = pieces.length === 0
      ? "unknown"
      : pieces.length < 3
      ? "control"
      : byteOf(text) === undefined
      ? "text"
      : "byte";
    pieces.push({ text, score, kind });
    at += 8 + length;
  }
  if (pieces.length < 4) {
    throw new RangeError(`${cannot}: it has ${pieces.length} pieces, and is no file of llama2.c`);
  }
  return tokenizerOf({ pieces, begin: 1, end: 2, addsBegin: true, addsSpace: true });
}

/** Kinds of pieces by their numbers in GGUF. */
const kinds: readonly PieceKind[] = [
  ...["text", "text", "unknown", "control", "whole", "control", "byte"] as const,
];

/** What stands for a space in SentencePiece's own vocabularies. */
const spaceSign = /\u2581/g;

function idIn(metadata: Metadata, name: string, size: number): number | undefined {
  const id = metadata.get(`tokenizer.ggml.${name}`);
  if (id === undefined) return undefined;
  if (Number.isInteger(id) && (id as number) >= 0 && (id as number) < size) return id as number;
  throw new RangeError(
    `${cannot}: \`tokenizer.ggml.${name}\` must be below ${size}, got ${kindOf(id)}`,
  );
}

/** A list of as many numbers as there are pieces; `undefined` where there is none. */
function numbersIn(metadata: Metadata, name: string, size: number): ArrayLike<number> | undefined {
  const list = metadata.get(`tokenizer.ggml.${name}`) as GgufValue | undefined;
  if (list === undefined) return undefined;
  const { length } = Object(list) as ArrayLike<unknown>;
  if (typeof list === "object" && length === size) return list as ArrayLike<number>;
  throw new RangeError(
    `${cannot}: \`tokenizer.ggml.${name}\` must have ${size} numbers, one a piece, got ${
      length ?? kindOf(list)
    }`,
  );
}

/**
 * The tokenizer of a GGUF file's vocabulary, where it is of the kind `llama`.
 *
 * @throws {RangeError} When it is of another kind, or its lists do not fit.
 */
export function ggufTokenizer(metadata: Metadata): Tokenizer {
  const kind = metadata.get("tokenizer.ggml.model"), tokens = metadata.get("tokenizer.ggml.tokens");
  if (kind !== "llama") {
    throw new RangeError(
      `${cannot}: the GGUF file's is of the kind ${kindOf(kind)}, and "llama" can be read: ` +
        "give a tokenizer beside the file",
    );
  }
  if (!Array.isArray(tokens) || !tokens.every((one) => typeof one === "string")) {
    throw new RangeError(`${cannot}: \`tokenizer.ggml.tokens\` must be a list of texts`);
  }
  const size = tokens.length, types = numbersIn(metadata, "token_type", size);
  const scores = numbersIn(metadata, "scores", size);
  const pieces = tokens.map((token: string, id): Piece => {
    const kind = kinds[types?.[id] ?? 1] ?? "control";
    return {
      text: token.replace(spaceSign, " "),
      score: scores?.[id] ?? 0,
      kind: kind === "byte" && byteOf(token) === undefined ? "text" : kind,
    };
  });
  return tokenizerOf({
    pieces,
    begin: idIn(metadata, "bos_token_id", size),
    end: idIn(metadata, "eos_token_id", size),
    addsBegin: metadata.get("tokenizer.ggml.add_bos_token") !== false,
    addsSpace: metadata.get("tokenizer.ggml.add_space_prefix") !== false,
  });
}
