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

/** Rows, or keys, of whole tiles of any shader: how many of these are beside a row changes no bit of it. */
export const tileUnit = 64;

/** Query positions whose rows, over the heads of a group, fill whole tiles. */
export function positionUnit(group: number): number {
  let unit = tileUnit;
  for (let rest = group; rest % 2 === 0 && unit > 1; rest /= 2) unit /= 2;
  return unit;
}

/** Two halves of a range; where it is more than a unit, they meet at a multiple of it. */
export function halve([from, to]: Range, unit = tileUnit): [Range, Range] {
  const half = Math.ceil((to - from) / 2);
  const middle = from + (to - from > unit ? Math.ceil(half / unit) * unit : half);
  return [[from, middle], [middle, to]];
}

/**
 * The parts of a region, or of whatever has ranges, each of which fits or cannot be cut any further, in
 * order; its first axes are cut first. `fits` is asked anew for each, so that it may learn from those before:
 * what it learns may cut positions, of which whole ones are `unit`, at multiples of it alone.
 */
export function* cutRegion<Ranges extends { readonly [Axis in keyof Ranges]: Range }>(
  whole: Ranges,
  fits: (region: Ranges) => boolean,
  unit = tileUnit,
): Generator<Ranges> {
  const rest = [whole], axes = Object.keys(whole) as (keyof Ranges)[];
  while (rest.length > 0) {
    const region = rest.pop()!;
    const axis = fits(region) ? undefined : axes.find((one) => extent(region[one]) > 1);
    if (axis === undefined) yield region;
    else {
      const halves = halve(region[axis], axis === "positions" ? unit : tileUnit);
      for (const half of halves.reverse()) rest.push({ ...region, [axis]: half });
    }
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
