/**
 * Windows that are given by how many keys a row sees, its own among them.
 *
 * @module
 */

import { isWhole, kindOf } from "./words.ts";

function check(window: number, doing: string): void {
  if (isWhole(window) && window >= 1) return;
  throw new RangeError(
    `${doing}: \`window\` must be a whole number of keys >= 1, or [left, right], got ${
      kindOf(window)
    }`,
  );
}

/** The keys before a row's own, and none behind it. */
export function before(window: number, doing: string): [left: number, right: number] {
  check(window, doing);
  return [window - 1, 0];
}

/** The same number of keys to each side of a row's own: an even number is as the next odd one. */
export function around(window: number, doing: string): [left: number, right: number] {
  check(window, doing);
  const side = Math.floor(window / 2);
  return [side, side];
}
