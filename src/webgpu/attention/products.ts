/**
 * Products that are formed by other than f32: what a call asks of who does that, which is loaded with the first call of
 * one.
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

/** How the products of a plan are formed. */
export interface Products {
  /** The forward shader. */
  code(constants: Constants): string;
  /** Bytes of what is made of the keys of a box. */
  bytes(box: Box): number;
  /** Bytes of a region's tables, with all that is made there. */
  readonly room: typeof tableBytes;
  /**
   * Has operands made of a range of keys.
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
