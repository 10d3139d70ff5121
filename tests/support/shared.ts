/**
 * Models and real weights beside the checkout, which are never part of it: where they are missing, tests say so.
 *
 * @module
 */

import { existsSync, readFileSync } from "node:fs";

const folder = "../shared";

/** A file's bytes. */
export function sharedBytes(path: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(readFileSync(`${folder}/${path}`));
}

/** A file's JSON. */
// deno-lint-ignore no-explicit-any -- Of whatever shape the file has.
export function sharedJson(path: string): any {
  return JSON.parse(readFileSync(`${folder}/${path}`, "utf8"));
}

/** Options of a test that needs a file: it is left out where that is missing. */
export function withShared(path: string): { skip?: string } {
  return existsSync(`${folder}/${path}`) ? {} : { skip: `${folder}/${path} is missing` };
}
