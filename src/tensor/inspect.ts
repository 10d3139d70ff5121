/**
 * What consoles say of an object: Node, Deno and Bun ask for it under one symbol, browsers do not.
 *
 * @module
 */

const asked = Symbol.for("nodejs.util.inspect.custom");

/** Has consoles say so of an object. Nobody else sees it: it is not copied with other properties. */
export function sayOf<T extends object>(object: T, say: (this: T) => string): T {
  return Object.defineProperty(
    object,
    asked,
    { __proto__: null, value: say } as PropertyDescriptor,
  );
}

/** What a tensor in an engine's memory is. */
export function tensorInWords(
  where: string,
  shape: readonly number[],
  dtype: string,
  isFreed: boolean,
): string {
  return `EngineTensor [${shape.join(", ")}], ${dtype}, ${isFreed ? "freed" : `in ${where}`}`;
}

/** Bytes as people read them. */
export function bytesInWords(bytes: number): string {
  const unit = bytes < 2 ** 20 ? 10 : bytes < 2 ** 30 ? 20 : 30;
  return `${Math.round(bytes / 2 ** unit * 10) / 10} ${{ 10: "KiB", 20: "MiB", 30: "GiB" }[unit]}`;
}
