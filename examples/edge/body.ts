/**
 * What a request brings, nothing in it trusted.
 *
 * @module
 */

import { Refusal } from "./refusal.ts";

/** Most bytes of a body; as many texts as are taken, written in whatever way, fit. */
export const mostBodyBytes = 65_536;

/** Most texts of a request. */
export const mostTexts = 16;

/** Most bytes of all texts of a request: what its time is spent on. */
export const mostTextBytes = 1024;

/** The fields of a body. */
export type Fields = Readonly<Record<string, unknown>>;

/**
 * Reads a body of JSON. One that is too long is given up where it is, before anything is parsed.
 *
 * @param request The request.
 * @param known The fields that it may have.
 * @throws {Refusal} When it is not JSON, too long, no object, or has a field that is not known.
 */
export async function readFields(request: Request, known: readonly string[]): Promise<Fields> {
  if (!/^application\/json\s*(;|$)/i.test(request.headers.get("content-type") ?? "")) {
    throw new Refusal(415, "the body must be JSON, with `content-type: application/json`");
  }
  const fields = parse(await readBytes(request));
  for (const name of Object.keys(fields)) {
    if (known.includes(name)) continue;
    const names = known.map((one) => `\`${one}\``).join(" and ");
    throw new Refusal(400, `there is no field ${JSON.stringify(name)}, only ${names}`);
  }
  return fields;
}

/** Stops as soon as there are too many: a length that is announced need not be true. */
async function readBytes(request: Request): Promise<Uint8Array<ArrayBuffer>> {
  const tooLong = () => new Refusal(413, `the body must have at most ${mostBodyBytes} bytes`);
  if (Number(request.headers.get("content-length")) > mostBodyBytes) throw tooLong();
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  let length = 0;
  for await (const chunk of request.body ?? []) {
    if ((length += chunk.length) > mostBodyBytes) throw tooLong();
    chunks.push(chunk);
  }
  return new Uint8Array(await new Blob(chunks).arrayBuffer());
}

function parse(bytes: Uint8Array<ArrayBuffer>): Fields {
  let text: string, value: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new Refusal(400, "the body is not UTF-8");
  }
  try {
    value = JSON.parse(text);
  } catch {
    throw new Refusal(400, "the body is not JSON");
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Fields;
  throw new Refusal(400, "the body must be a JSON object");
}

/** What a model says of the texts that it reads. */
export interface Reader {
  /** Tokens of a text at most. */
  readonly maxTokens: number;
  /** How many a text has. */
  tokensOf(text: string): number;
}

/** A text, and its bytes in UTF-8. */
interface Sized {
  readonly text: string;
  readonly bytes: number;
}

/** What is wrong with a text shows from what costs least first. */
function sizedOf(value: unknown, name: string): Sized {
  if (typeof value !== "string") throw new Refusal(400, `\`${name}\` must be a string`);
  if (value === "") throw new Refusal(400, `\`${name}\` is empty`);
  if (!value.isWellFormed()) throw new Refusal(400, `\`${name}\` has half a surrogate pair`);
  return { text: value, bytes: new TextEncoder().encode(value).length };
}

function checkBytes(all: readonly Sized[], name: string): void {
  const total = all.reduce((sum, { bytes }) => sum + bytes, 0);
  if (total <= mostTextBytes) return;
  throw new Refusal(
    413,
    `\`${name}\` has ${total} bytes in UTF-8, expected at most ${mostTextBytes} in all`,
  );
}

function checkTokens({ text }: Sized, name: string, reader: Reader): void {
  const tokens = reader.tokensOf(text), { maxTokens } = reader;
  if (tokens <= maxTokens) return;
  throw new Refusal(
    413,
    `\`${name}\` has ${tokens} tokens, the model reads at most ${maxTokens}`,
  );
}

/**
 * Checks a text.
 *
 * @param value What should be one.
 * @param name What messages call it.
 * @param reader The model that is to read it.
 */
export function textOf(value: unknown, name: string, reader: Reader): string {
  const sized = sizedOf(value, name);
  checkBytes([sized], name);
  checkTokens(sized, name, reader);
  return sized.text;
}

/** Checks a list of texts. */
export function textsOf(value: unknown, name: string, reader: Reader): string[] {
  if (!Array.isArray(value)) throw new Refusal(400, `\`${name}\` must be an array of strings`);
  if (value.length === 0) throw new Refusal(400, `\`${name}\` is empty`);
  if (value.length > mostTexts) {
    throw new Refusal(413, `\`${name}\` has ${value.length} texts, expected at most ${mostTexts}`);
  }
  const all = value.map((one, at) => sizedOf(one, `${name}[${at}]`));
  checkBytes(all, name);
  for (const [at, sized] of all.entries()) checkTokens(sized, `${name}[${at}]`, reader);
  return all.map(({ text }) => text);
}
