/**
 * One turn of the event loop.
 *
 * @module
 */

/** Settles after a turn: what was drawn is seen, and a click is noticed. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve));
}
