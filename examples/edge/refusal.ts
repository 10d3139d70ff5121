/**
 * Requests that are not served, and why.
 *
 * @module
 */

/** A request's own fault. The message is for whoever sent it. */
export class Refusal extends Error {
  override readonly name = "Refusal";
  /** The HTTP status. */
  readonly status: number;
  /** Headers beside it. */
  readonly headers: Readonly<Record<string, string>>;

  /**
   * @param status The HTTP status.
   * @param message One sentence: what is wrong, and what would be right.
   * @param headers Headers that the status asks for.
   */
  constructor(status: number, message: string, headers: Readonly<Record<string, string>> = {}) {
    super(message);
    this.status = status;
    this.headers = headers;
  }
}
