/**
 * workerd, the runtime of Cloudflare Workers, as far as it differs from all others.
 *
 * @module
 */

/**
 * Whether this is workerd. It compiles WebAssembly while a worker starts and at no time after, has no
 * threads, and checks the bounds of each access to linear memory.
 */
export function isWorkerd(): boolean {
  return globalThis.navigator?.userAgent === "Cloudflare-Workers";
}
