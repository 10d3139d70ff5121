/**
 * Stubs: a property of an object replaced for a while.
 *
 * @module
 */

/** Replaces `object[key]`, runs `use`, and puts the old value back whatever happens. */
export async function withStub<T extends object, K extends keyof T>(
  object: T,
  key: K,
  value: unknown,
  use: () => void | Promise<void>,
): Promise<void> {
  const old = Object.getOwnPropertyDescriptor(object, key);
  Object.defineProperty(object, key, { configurable: true, writable: true, value });
  try {
    await use();
  } finally {
    if (old === undefined) delete object[key];
    else Object.defineProperty(object, key, old);
  }
}

/** Takes `object[key]` away, runs `use`, and puts it back whatever happens. */
export async function without<T extends object>(
  object: T,
  key: keyof T,
  use: () => void | Promise<void>,
): Promise<void> {
  const old = Object.getOwnPropertyDescriptor(object, key);
  delete object[key];
  try {
    await use();
  } finally {
    if (old !== undefined) Object.defineProperty(object, key, old);
  }
}

/** Makes this runtime look as if it knew no binary that holds more than plain WebAssembly. */
export function withoutSimd(use: () => void | Promise<void>): Promise<void> {
  return withStub(WebAssembly, "validate", () => false, use);
}
