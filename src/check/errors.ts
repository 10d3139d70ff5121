/**
 * Errors that a caller can act on, and what anything that was thrown says. Everything else is a
 * `TypeError` (a wrong kind of thing) or a `RangeError` (a wrong value, shape or size).
 *
 * @module
 */

/**
 * The backend that was asked for cannot serve on this machine. The message says why; ask for
 * another one, or for `"auto"`.
 */
export class BackendUnavailableError extends Error {
  /** Tells it from other errors, also from another realm. */
  override readonly name = "BackendUnavailableError";
  /** The backend that was asked for, as `createEngine` takes it. */
  readonly backend: string;

  /** Says which backend, and why it cannot. */
  constructor(backend: string, reason: string, options?: ErrorOptions) {
    super(`Cannot use the ${backend} backend: ${reason}`, options);
    this.backend = backend;
  }
}

/**
 * The GPU device went away while a call was running. The call's result is lost, the engine is not:
 * the next call asks for a new device.
 */
export class DeviceLostError extends Error {
  /** Tells it from other errors, also from another realm. */
  override readonly name = "DeviceLostError";

  /** Says why the device went. */
  constructor(reason: string, options?: ErrorOptions) {
    super(`Lost the GPU device: ${reason}`, options);
  }
}

/** What anything that was thrown says. */
export function reasonOf(thrown: unknown): string {
  const { message } = Object(thrown) as { message?: unknown };
  return String((typeof thrown === "string" ? thrown : message) || "no reason was given");
}

/**
 * Throws a signal's reason when it is aborted. Signals are taken by their shape: those of polyfills may
 * lack `throwIfAborted`.
 */
export function throwIfAborted(signal: SignalLike | null | undefined): void {
  if (signal?.aborted) throw signal.reason;
}

/** What stops a call: an `AbortSignal`, also one of a polyfill or of another realm. */
export interface SignalLike {
  /** Whether it was aborted. */
  readonly aborted: boolean;
  /** What an aborted call rejects with. */
  readonly reason?: unknown;
}
