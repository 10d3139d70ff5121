/**
 * The package where a classic script has brought it: its global, under the package's name.
 *
 * @module
 */

import type * as Package from "@flashtile/attention";

/** What of it the checks of a page use. */
export const { capabilities, createEngine, tensor } =
  (globalThis as unknown as { FlashTile: typeof Package }).FlashTile;
