/**
 * Numbers as the page writes them.
 *
 * @module
 */

/** Three digits, as 0.123, 1.23, 12.3, 123 and 1230. */
export function short(number: number): string {
  if (!Number.isFinite(number)) return String(number);
  const digits = number > 0 ? Math.floor(Math.log10(number)) : 0;
  return number.toFixed(Math.min(3, Math.max(0, 2 - digits)));
}

/** A small number, as 1.2e-7. */
export function small(number: number): string {
  return number === 0 ? "0" : number.toExponential(1);
}
