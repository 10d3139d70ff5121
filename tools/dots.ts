/**
 * The signs of single tests. Where it writes to no terminal, Deno's dot reporter gives each a line of
 * its own: thousands of lines around the few that tell something.
 *
 * @module
 */

import process from "node:process";
import type { Readable } from "node:stream";
import { stripVTControlCharacters } from "node:util";

/** The sign of a test in a line of its own, in colours or not; `undefined` of another line. */
export function signOf(line: string): string | undefined {
  const plain = stripVTControlCharacters(line).trimEnd();
  return /^[.,!]$/.test(plain) ? plain : undefined;
}

/** A text without the lines of tests that passed or were skipped. */
export function withoutDots(text: string): string {
  const isDot = (line: string) => [".", ","].includes(signOf(line) ?? "");
  return text.split("\n").filter((line) => !isDot(line)).join("\n");
}

/** Signs in a row, until it is full. */
const rowLength = 80;

/** Writes what comes in pieces, signs in rows. */
export class DotRows {
  readonly #write: (text: string) => void;
  /** What has come of a line that is not whole yet. */
  #rest = "";
  /** Signs in the row that was begun. */
  #inRow = 0;

  /** @param write Writes a piece. */
  constructor(write: (text: string) => void) {
    this.#write = write;
  }

  /** Takes the next piece. */
  push(text: string): void {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop()!;
    for (const line of lines) this.#line(line);
  }

  /** Ends the row, and the last line. */
  end(): void {
    this.#endRow();
    this.#write(this.#rest);
    this.#rest = "";
  }

  #line(line: string): void {
    const sign = signOf(line);
    if (sign === undefined) {
      this.#endRow();
      this.#write(`${line}\n`);
      return;
    }
    this.#write(sign);
    if (++this.#inRow === rowLength) this.#endRow();
  }

  #endRow(): void {
    if (this.#inRow > 0) this.#write("\n");
    this.#inRow = 0;
  }
}

/** Copies what a process writes to where this one writes, signs in rows; settles when it has ended. */
export function copyInRows(from: Readable): Promise<void> {
  const rows = new DotRows((text) => void process.stdout.write(text));
  from.setEncoding("utf8").on("data", (text: string) => rows.push(text));
  return new Promise((resolve) =>
    from.on("close", () => {
      rows.end();
      resolve();
    })
  );
}
