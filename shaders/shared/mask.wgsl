// Which keys a query sees: query i those from i + band.x to i + band.y.

/// Keys from begin to end are seen by some row of a tile, from whole_begin to whole_end by all.
struct Seen {
  begin: u32,
  end: u32,
  whole_begin: u32,
  whole_end: u32,
}

/// Bounds for a tile of positions, within the keys from `start` to `end`. They begin at a whole tile of
/// keys, so that a row's sums do not depend on the rows beside it.
fn seen_keys(
  first_position: u32,
  last_position: u32,
  start: u32,
  end: u32,
  band: vec2i,
) -> Seen {
  let low = i32(first_position);
  let high = i32(last_position);
  let begin = u32(max(i32(start), low + band.x));
  return Seen(
    start + (begin - start) / BC * BC,
    u32(max(0, min(i32(end), high + band.y + 1))),
    u32(max(i32(start), high + band.x)),
    u32(max(0, min(i32(end), low + band.y + 1))),
  );
}

/// Which of four rows see a key.
fn is_seen(key: u32, end: u32, positions: vec4i, band: vec2i) -> vec4<bool> {
  let distance = vec4i(i32(key)) - positions;
  return (distance >= vec4i(band.x)) & (distance <= vec4i(band.y)) &
    vec4<bool>(key < end);
}
