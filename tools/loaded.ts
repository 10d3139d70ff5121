/**
 * What a bundled script loads.
 *
 * @module
 */

import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";

/** Scripts by their paths, from one that is the first on. */
export type Scripts = ReadonlyMap<string, string>;

const imports = /(?:from|import)\s*["'](\.{1,2}\/[^"']+)["']/g;
const lateImports = /import\(\s*["'](\.{1,2}\/[^"']+)["']\s*\)/g;

/** The scripts that a script needs before it runs, itself included; and `late` what it may load then. */
export function loaded(path: string, late: boolean, found = new Map<string, string>()): Scripts {
  if (found.has(path)) return found;
  const text = readFileSync(path, "utf8");
  found.set(path, text);
  for (const pattern of late ? [imports, lateImports] : [imports]) {
    for (const [, other] of text.matchAll(pattern)) loaded(join(dirname(path), other), late, found);
  }
  return found;
}
