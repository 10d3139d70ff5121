/**
 * Regions: how a plan is cut so that each piece keeps the device's limits. A **region** is a box of
 * batches, key/value heads, query positions and columns of values; the keys of a region are seen
 * whole, or in windows whose results are combined.
 *
 * @module
 */

/** Workgroups along an axis of a dispatch, at most, on any device. */
export const mostWorkgroups = 65_535;

/** From the first to before the second. */
export type Range = readonly [from: number, to: number];

/** A part of a plan's work. */
export interface Region {
  readonly batch: Range;
  /** Key/value heads. */
  readonly heads: Range;
  /** Query positions. */
  readonly positions: Range;
}

/** Extent of a range. */
export function extent([from, to]: Range): number {
  return to - from;
}

/** Two halves of a range; those of many elements meet at a multiple of 64. */
export function halve([from, to]: Range): [Range, Range] {
  const half = Math.ceil((to - from) / 2);
  const middle = from + (half > 64 ? Math.ceil(half / 64) * 64 : half);
  return [[from, middle], [middle, to]];
}

/**
 * The parts of a region, or of whatever has ranges, each of which fits or cannot be cut any further, in
 * order; its first axes are cut first. `fits` is asked anew for each, so that it may learn from those before.
 */
export function* cutRegion<Ranges extends { readonly [Axis in keyof Ranges]: Range }>(
  whole: Ranges,
  fits: (region: Ranges) => boolean,
): Generator<Ranges> {
  const rest = [whole], axes = Object.keys(whole) as (keyof Ranges)[];
  while (rest.length > 0) {
    const region = rest.pop()!;
    const axis = fits(region) ? undefined : axes.find((one) => extent(region[one]) > 1);
    if (axis === undefined) yield region;
    else for (const half of halve(region[axis]).reverse()) rest.push({ ...region, [axis]: half });
  }
}

/** Ranges of at most `most`; where that takes more than one, as even as multiples of `unit` can be. */
export function cutRange([from, to]: Range, most: number, unit = 1): Range[] {
  if (to - from <= most) return [[from, to]];
  const count = Math.max(
    1,
    Math.ceil((to - from) / Math.max(unit, Math.floor(most / unit) * unit)),
  );
  const size = Math.ceil((to - from) / count / unit) * unit;
  return Array.from({ length: count }, (_, index) => {
    const begin = from + index * size;
    return [begin, Math.min(to, begin + size)] as const;
  });
}
