/**
 * Segments: queries that see keys together. Those of a batch, or of a sequence that is packed with
 * others.
 *
 * @module
 */

/** Queries of one batch or packed sequence, and the keys that they may see. */
export interface Segment {
  /** Batch of the tensors that both are in. */
  readonly batch: number;
  /** Where its queries are among the rows of `q`. */
  readonly firstQuery: number;
  readonly queries: number;
  /** Where its keys are among the rows of `k`, and how many of them count. */
  readonly firstKey: number;
  readonly keys: number;
  /** Query `i` is aligned with key `i + offset`, both counted from the segment's first. */
  readonly offset: number;
  /** Rows before its first as functions count them, where it is a part of one; 0 where nothing is said. */
  readonly rowsBefore?: number;
}

/** Boundaries of packed sequences, from 0 on. */
export interface Boundaries {
  readonly q: readonly number[];
  readonly k: readonly number[];
}

/** What makes the segments of a call. */
export interface Division {
  readonly batch: number;
  readonly queries: number;
  readonly keys: number;
  /** Whether query 0 is aligned with key 0; else the last query with the last key. */
  readonly topLeft: boolean;
  readonly packed: Boundaries | null;
  /** Given offsets and numbers of keys, one per segment. */
  readonly offsets: readonly number[] | null;
  readonly lengths: readonly number[] | null;
}

/** How many segments there are. */
export function countSegments({ batch, packed }: Pick<Division, "batch" | "packed">): number {
  return packed === null ? batch : packed.q.length - 1;
}

/** The segments of a call, in the order of its rows. */
export function segmentsOf(division: Division): readonly Segment[] {
  const { queries, keys, topLeft, packed, offsets, lengths } = division;
  const segments: Segment[] = [], count = countSegments(division);
  for (let index = 0; index < count; index++) {
    const place = packed === null
      ? { batch: index, firstQuery: 0, queries, firstKey: 0, keys }
      : sequence(packed, index);
    segments.push({
      ...place,
      keys: lengths?.[index] ?? place.keys,
      // By all keys of the segment: lengths do not move the alignment.
      offset: offsets?.[index] ?? (topLeft ? 0 : place.keys - place.queries),
    });
  }
  return segments;
}

function sequence({ q, k }: Boundaries, index: number) {
  return {
    batch: 0,
    firstQuery: q[index],
    queries: q[index + 1] - q[index],
    firstKey: k[index],
    keys: k[index + 1] - k[index],
  };
}

/** Keys `aligned - left <= j <= aligned + right` are seen; `Infinity` is open. */
export interface Band {
  readonly left: number;
  readonly right: number;
}

/** Scores of a segment within a band: pairs of a query and a key that it sees. */
export function scoresWithin({ queries, keys, offset }: Segment, { left, right }: Band): number {
  return Math.max(
    0,
    keysBefore(offset + right + 1, queries, keys) - keysBefore(offset - left, queries, keys),
  );
}

/** Keys before key `i + shift`, summed over the queries `i`. */
function keysBefore(shift: number, queries: number, keys: number): number {
  // Query by query: none, one more each, all.
  const rising = Math.min(Math.max(0, -shift), queries);
  const full = Math.min(Math.max(rising, keys - shift), queries);
  const ascent = full > rising ? (full - rising) * (rising + shift + full - 1 + shift) / 2 : 0;
  return ascent + (queries - full) * keys;
}
