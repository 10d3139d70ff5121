/**
 * Which shader writes rows into pages.
 *
 * @module
 */

import { type Access, accessFlags, type PageAccess } from "../shader/access.ts";
import { sources } from "../shader/sources.ts";
import { expand } from "../shader/template.ts";

/** Threads of the shader that writes pages. */
export const appendThreads = 64;

/** The WGSL of the shader that writes rows of a tensor into pages, or their `mean` instead. */
export function appendCode(q: Access, pages: PageAccess, mean = false): string {
  const constants: Record<string, number> = {
    ...{ THREADS: appendThreads, SMOOTH: Number(pages.smooth ?? false), MEAN: Number(mean) },
    ...accessFlags("q", q),
    ...accessFlags("o", pages),
  };
  return expand("append.wgsl", sources, constants);
}
