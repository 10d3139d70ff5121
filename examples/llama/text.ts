/**
 * Bytes of a model as text for a terminal.
 *
 * @module
 */

/** Turns bytes into text while they arrive. */
export class TextStream {
  readonly #decoder = new TextDecoder("utf-8");

  /**
   * Takes the next bytes.
   *
   * @returns The characters that they complete; bytes of an unfinished character are kept.
   */
  push(bytes: Uint8Array): string {
    return printable(this.#decoder.decode(bytes, { stream: true }));
  }

  /** Ends the text; an unfinished character becomes U+FFFD. */
  end(): string {
    return printable(this.#decoder.decode());
  }
}

/**
 * Replaces control characters but line feed and tab by U+FFFD. A model that samples bytes can make
 * an escape sequence by chance, and a terminal would obey it.
 */
function printable(text: string): string {
  return text.replace(/[^\P{Cc}\n\t]/gu, "\ufffd");
}
