/**
 * How shaders read and write tensors and pages.
 *
 * @module
 */

import type { CacheDType } from "../../contract/pages.ts";
import type { DType } from "../../tensor/dtype.ts";
import type { Constants } from "./template.ts";

/** How a shader reads or writes a tensor: in vectors of four neighbours, or element by element. */
export interface Access {
  readonly dtype: DType;
  readonly vectors: boolean;
}

/** The same of pages. */
export interface PageAccess {
  readonly dtype: CacheDType;
  readonly vectors: boolean;
  /** Whether each page begins with means, which its rows are stored minus. */
  readonly smooth?: boolean;
}

/** What tells shaders how to read and write tensors, by their names; those that are `null` are not there. */
export function accessFlags(tensors: Readonly<Record<string, PageAccess | null>>): Constants {
  const flags: Record<string, number> = {};
  for (const [name, access] of Object.entries(tensors)) {
    if (access === null) continue;
    flags[`${name}_${access.dtype}`] = 1;
    flags[`${name}_vec`] = Number(access.vectors);
    if (access.smooth) flags[`${name}_smooth`] = 1;
  }
  return flags;
}
