/**
 * What the writers of micro-kernels share: AssemblyScript never unrolls and has no arrays of registers, so that lines are
 * made one by one.
 *
 * @module
 */

/** What a function makes of each index below `count`. */
export function times<T>(count: number, make: (index: number) => T): T[] {
  return Array.from({ length: count }, (_, index) => make(index));
}

/** Lines one step further in. */
export function indent(lines: readonly string[]): string[] {
  return lines.map((line) => `  ${line}`);
}
