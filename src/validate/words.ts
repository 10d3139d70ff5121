/**
 * What every check has in common: how messages name things, and what a whole number is.
 *
 * @module
 */

/** What the messages of a call begin with. */
export const cannot = "Cannot attend";

/** What a value is, in a message. */
export function kindOf(value: unknown): string {
  if (value === null) return "null";
  if (typeof value === "object" || typeof value === "function") {
    return value.constructor?.name ?? typeof value;
  }
  return typeof value === "string" ? JSON.stringify(value) : String(value);
}

export function isWhole(value: unknown): value is number {
  return Number.isSafeInteger(value);
}

export function isExtent(value: unknown): value is number {
  return isWhole(value) && value >= 0;
}

/** Checks that `value` is an object whose keys are all known. */
export function checkKeys(value: object, known: readonly string[], doing: string): void {
  if (typeof value !== "object" || value === null) {
    throw new TypeError(`${doing}: options must be an object, got ${kindOf(value)}`);
  }
  for (const key of Object.keys(value)) {
    if (known.includes(key)) continue;
    throw new TypeError(`${doing}: unknown option \`${key}\`, known are ${known.join(", ")}`);
  }
}

/** Checks that a value is one of a few. */
export function checkOneOf(
  name: string,
  value: unknown,
  allowed: readonly unknown[],
  doing = cannot,
): void {
  if (value === undefined || allowed.includes(value)) return;
  throw new TypeError(
    `${doing}: \`${name}\` must be one of ${allowed.map(kindOf).join(", ")}, got ${kindOf(value)}`,
  );
}

/** Checks the order of the axes. */
export function checkLayoutName(layout: unknown, doing = cannot): void {
  checkOneOf("layout", layout, ["bhnd", "bnhd"], doing);
}
