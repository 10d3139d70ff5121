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
  /** Whether each page begins with means that its rows are less. */
  readonly smooth?: boolean;
}

export function accessFlags(name: string, { dtype, vectors }: PageAccess): Constants {
  return { [`${name}_${dtype}`]: 1, [`${name}_vec`]: Number(vectors) };
}
