/**
 * Errors: caught, and compared word for word.
 *
 * @module
 */

import { assertEquals, assertInstanceOf, AssertionError } from "@std/assert";

/** What `act` throws or rejects with. */
export async function errorOf(act: () => unknown): Promise<unknown> {
  try {
    await act();
  } catch (error) {
    return error;
  }
  throw new AssertionError("Expected an error, got none");
}

/** A class of errors. */
export type ErrorClass = new (...given: never[]) => Error;

/** Asserts that `act` throws or rejects with exactly this class and message. */
export async function assertRefused(
  act: () => unknown,
  expected: ErrorClass,
  message: string,
): Promise<void> {
  const error = await errorOf(act);
  assertInstanceOf(error, expected);
  assertEquals((error as Error).message, message);
  assertEquals((error as Error).constructor, expected);
}

/** A message about an unknown option as functions have it, which know one more than methods. */
export function withEngine(message: string): string {
  return message.replace(/, known are [^;]*/, "$&, engine");
}
