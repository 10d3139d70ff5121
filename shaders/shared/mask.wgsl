// Which keys a query sees: query i those from i + band_first to i + band_last.

/// Keys from begin to end are seen by some row of a tile, from whole_begin to whole_end by all.
struct Seen {
  begin: u32,
  end: u32,
  whole_begin: u32,
  whole_end: u32,
}

/// Bounds for a tile of positions, within the keys from `start` to `end`. They begin at a whole tile of
/// keys, so that a row's sums do not depend on the rows beside it.
fn seen_keys(first_position: u32, last_position: u32, start: u32, end: u32) -> Seen {
  let low = i32(first_position);
  let high = i32(last_position);
  let begin = u32(max(i32(start), low + p.band_first));
  return Seen(
    start + (begin - start) / BC * BC,
    u32(max(0, min(i32(end), high + p.band_last + 1))),
    u32(max(i32(start), high + p.band_first)),
    u32(max(0, min(i32(end), low + p.band_last + 1))),
  );
}

/// Which of four rows see a key.
fn is_seen(key: u32, end: u32, positions: vec4i) -> vec4<bool> {
  let distance = vec4i(i32(key)) - positions;
  return (distance >= vec4i(p.band_first)) & (distance <= vec4i(p.band_last)) &
    vec4<bool>(key < end);
}
