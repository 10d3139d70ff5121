// Which keys a query sees. Query i is aligned with key i + diagonal and sees the keys from band_left
// before to band_right behind that one.

/// Keys from begin to end are seen by some row of a tile, from whole_begin to whole_end by all.
struct Seen {
  begin: u32,
  end: u32,
  whole_begin: u32,
  whole_end: u32,
}

/// Bounds for a tile of positions, within the keys from `start` to `end`.
fn seen_keys(first_position: u32, last_position: u32, start: u32, end: u32) -> Seen {
  let low = i32(first_position) + p.diagonal;
  let high = i32(last_position) + p.diagonal;
  return Seen(
    u32(max(i32(start), low - p.band_left)),
    u32(max(0, min(i32(end), high + p.band_right + 1))),
    u32(max(i32(start), high - p.band_left)),
    u32(max(0, min(i32(end), low + p.band_right + 1))),
  );
}

/// Which of four rows see a key.
fn is_seen(key: u32, end: u32, aligned: vec4i) -> vec4<bool> {
  let distance = vec4i(i32(key)) - aligned;
  return (distance >= vec4i(-p.band_left)) & (distance <= vec4i(p.band_right)) &
    vec4<bool>(key < end);
}
