/**
 * The error of a demo that was given something it cannot use.
 *
 * @module
 */

/**
 * A file, an option or a prompt that the demo cannot use. The message is one sentence that names
 * it and says what to do, so the command line shows it alone, without a stack trace.
 */
export class InputError extends Error {
  override readonly name = "InputError";
}
