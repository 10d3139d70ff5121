/**
 * Splits: when the keys of a head are seen in parts that are combined, as FlashDecoding does.
 *
 * @module
 */

/** Keys of a part. */
const keysPerPart = 512;

/** Rows of a head, at most, whose keys are split: they alone would leave most of a GPU idle. */
export const splitRows = 64;

/**
 * How so many keys are cut for so many query rows of a head. By the head alone, whatever else is in
 * the call, so that a row has the same bits in any batch.
 */
export function chooseParts(
  keys: number,
  rows: number,
): { readonly partKeys: number; readonly parts: number } {
  if (rows > splitRows || keys <= keysPerPart) return { partKeys: Math.max(1, keys), parts: 1 };
  return { partKeys: keysPerPart, parts: Math.ceil(keys / keysPerPart) };
}
