/**
 * The package's name in what users read.
 *
 * @module
 */

/** The package's name on JSR, but where that is what is spoken of. */
export const nameOnJsr = /(?<!jsr:|JSR \(`)@flashtile\/attention/g;

/** A text that names the package as JSR has it, with npm's name. */
export function renamed(text: string): string {
  return text.replaceAll(nameOnJsr, "flashtile");
}
