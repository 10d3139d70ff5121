/**
 * Numbers as the story writes them.
 *
 * @module
 */

/** A whole number with its thousands apart. */
export function whole(number: number): string {
  return number.toLocaleString("en");
}

/** How many times as much, as 0.123, 1.23, 12.3 or 123. */
export { short } from "../browser/format.ts";

/** A count in few signs, as 512, 13.1 K, 4.26 M. */
export function brief(number: number): string {
  const units = ["", " K", " M", " G", " T"];
  let unit = 0, rest = number;
  while (rest >= 999.5 && unit < units.length - 1) {
    rest /= 1000;
    unit++;
  }
  const digits = unit === 0 ? 0 : rest < 9.995 ? 2 : rest < 99.95 ? 1 : 0;
  return rest.toFixed(digits) + units[unit];
}
