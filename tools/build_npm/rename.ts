/**
 * The package's name in what users read.
 *
 * @module
 */

/** A text that names the package as JSR has it, with npm's name. */
export function renamed(text: string): string {
  return text.replaceAll("@flashtile/attention", "flashtile");
}
