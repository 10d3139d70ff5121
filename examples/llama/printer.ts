/**
 * Continuations on their way to the terminal. They are made side by side and read one after the other.
 *
 * @module
 */

import { TextStream } from "./text.ts";

/** Writes a text. */
export type Write = (text: string) => void | Promise<void>;

/**
 * Each prompt stands in a line of its own above its continuation; the first of these is written while
 * it is made, the others when it is finished.
 */
export class Printer {
  readonly #prompts: readonly string[];
  readonly #write: Write;
  readonly #streams: readonly TextStream[];
  readonly #waiting: string[];

  /**
   * @param prompts The prompts.
   * @param write Writes to the terminal.
   */
  constructor(prompts: readonly string[], write: Write) {
    this.#prompts = prompts;
    this.#write = write;
    this.#streams = prompts.map(() => new TextStream());
    this.#waiting = prompts.map(() => "");
  }

  /** Writes the first prompt. */
  async begin(): Promise<void> {
    await this.#write(this.#heading(0));
  }

  /**
   * Takes the next byte of a continuation.
   *
   * @param byte The byte.
   * @param prompt Number of the prompt that it continues.
   */
  async push(byte: number, prompt: number): Promise<void> {
    const text = this.#streams[prompt].push(Uint8Array.of(byte));
    if (prompt === 0) await this.#write(text);
    else this.#waiting[prompt] += text;
  }

  /** Ends the first continuation and writes the others. */
  async end(): Promise<void> {
    for (const [prompt, stream] of this.#streams.entries()) {
      const heading = prompt === 0 ? "" : this.#heading(prompt);
      await this.#write(`${heading}${this.#waiting[prompt]}${stream.end()}\n\n`);
    }
  }

  #heading(prompt: number): string {
    const bytes = new TextEncoder().encode(this.#prompts[prompt]);
    return `> ${new TextStream().push(bytes)}\n`;
  }
}
