/**
 * What some calls have beside the rest: products that are formed by integers, or score and mask functions. What a call asks of
 * who does that, which is loaded with the first call of one.
 *
 * @module
 */

import type { Binding } from "../device/buffers.ts";
import type { Submission } from "../device/submission.ts";
import type { Constants } from "../shader/template.ts";
import type { Box } from "../transfer/box.ts";
import type { Region } from "../transfer/regions.ts";
import type { KeyRange } from "./key_ranges.ts";
import type { tableBytes } from "./tables.ts";

/** What is looked at of a region's tensors. */
export interface PlacedRows {
  readonly q: Binding;
  /** Which have room for what is made of them. */
  readonly tables: { readonly binding: Binding } | null;
  readonly keys: readonly { readonly keyRange: KeyRange }[];
}

/** And of those of a range of its keys. */
export interface PlacedColumns {
  readonly keyRange: KeyRange;
  readonly k: Binding;
  readonly v: Binding;
}

/** What a call has beside the rest. */
export interface Extension {
  /** The forward shader. */
  code(constants: Constants): string;
  /** Bytes of what is made of the keys of a box. */
  bytes(box: Box): number;
  /** Bytes of a region's tables, with all that is made there. */
  readonly room: typeof tableBytes;
  /** What is written there, behind all else. */
  words?(region: Region, keyRanges: readonly KeyRange[]): Uint32Array<ArrayBuffer>;
  /**
   * Has made what a range of keys needs.
   *
   * @param uniforms Of the forward shader without; gives them with what it is told besides.
   */
  make(
    region: Region,
    rows: PlacedRows,
    columns: PlacedColumns,
    uniforms: Uint8Array<ArrayBuffer>,
    submission: Submission,
  ): Uint8Array<ArrayBuffer>;
}
