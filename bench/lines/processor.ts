/**
 * What is asked depends on the processor: on its widest vectors, and on how many it multiplies at once.
 *
 * @module
 */

import { readFileSync } from "node:fs";

/** What Linux says of it. */
export interface Processor {
  readonly avx512: boolean;
  /** AMD's third generation. */
  readonly zen3: boolean;
}

function fieldOf(text: string, name: string): string {
  return text.match(new RegExp(`^${name}\\s*: (.*)$`, "m"))?.[1] ?? "";
}

/** Models of AMD's family 25 that are of the fourth generation. */
const zen4: readonly (readonly [from: number, to: number])[] = [[16, 31], [96, 127], [160, 175]];

/** Looks. */
export function findProcessor(): Processor {
  let text = "";
  try {
    text = readFileSync("/proc/cpuinfo", "utf8");
  } catch {
    // Elsewhere than on Linux nothing is known.
  }
  const family = Number(fieldOf(text, "cpu family")), model = Number(fieldOf(text, "model"));
  return {
    avx512: /\bavx512f\b/.test(fieldOf(text, "flags")),
    zen3: family === 25 && !zen4.some(([from, to]) => from <= model && model <= to),
  };
}
