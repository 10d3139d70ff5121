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

/** Axes of a region. */
export type Axis = keyof Region;

/** Extent of a range. */
export function extent([from, to]: Range): number {
  return to - from;
}

/** The first of the axes along which a region can be halved. */
function divisible(region: Region): Axis | undefined {
  return (["batch", "heads", "positions"] as const).find((axis) => extent(region[axis]) > 1);
}

/** Two halves along an axis; those of many positions meet at a multiple of 64. */
export function halve(region: Region, axis: Axis): [Region, Region] {
  const [from, to] = region[axis];
  const half = Math.ceil((to - from) / 2);
  const middle = from + (half > 64 ? Math.ceil(half / 64) * 64 : half);
  return [{ ...region, [axis]: [from, middle] }, { ...region, [axis]: [middle, to] }];
}

/**
 * The regions of a box, each of which fits or cannot be cut any further, in order. `fits` is asked
 * anew for each, so that it may learn from those before.
 */
export function* cutRegion(whole: Region, fits: (region: Region) => boolean): Generator<Region> {
  const rest = [whole];
  while (rest.length > 0) {
    const region = rest.pop()!;
    const axis = fits(region) ? undefined : divisible(region);
    if (axis === undefined) yield region;
    else rest.push(...halve(region, axis).reverse());
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
