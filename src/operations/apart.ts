/**
 * Results in a buffer that is read.
 *
 * @module
 */

import type { Used } from "../contract/operation.ts";
import { isGpuBuffer } from "../tensor/dtype.ts";

/** Checks that a result goes to another buffer than what is read: a GPU cannot do both in one pass. */
export function checkApart(
  { data }: Used,
  reads: Readonly<Record<string, Used | null>>,
  doing: string,
): void {
  if (!isGpuBuffer(data)) return;
  for (const [name, read] of Object.entries(reads)) {
    if (read?.data !== data) continue;
    throw new RangeError(
      `${doing}: \`out\` must be another GPUBuffer than \`${name}\`, ` +
        "a GPU cannot read and write one in one pass",
    );
  }
}
