/**
 * Abort signals, by shape: they also come from polyfills, which may lack `throwIfAborted`.
 *
 * @module
 */

/** Throws a signal's reason when it is aborted. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw signal.reason;
}
