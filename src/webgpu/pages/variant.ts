/**
 * Which shader writes rows into pages.
 *
 * @module
 */

import { type Access, accessFlags, type PageAccess } from "../shader/access.ts";
import { codeOf } from "../shader/sources.ts";

/** Threads of the shader that writes pages. */
export const appendThreads = 64;

/** Fields of its uniforms. */
export const appendFields = {
  rows: "tensor",
  dim: "u32",
  dim_vectors: "u32",
  /** In words; batches are pages. */
  pages: "tensor",
  /** Word of a page where the means of the first head are. */
  mean_at: "u32",
  /** What a sum of rows is multiplied by, and whether it is added to what is there. */
  mean_scale: "f32",
  is_more: "u32",
} as const;

/** The WGSL of the shader that writes rows of a tensor into pages, or their `mean` instead. */
export function appendCode(rows: Access, pages: PageAccess, mean = false): string {
  const constants: Record<string, number> = {
    ...{ THREADS: appendThreads, SMOOTH: Number(pages.smooth ?? false), MEAN: Number(mean) },
    ...accessFlags({ rows, pages }),
  };
  return codeOf("append.wgsl", appendFields, constants);
}
