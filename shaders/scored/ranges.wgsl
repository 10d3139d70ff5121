// What a mask function says of many queries and keys at once: of each of its nodes the least and the greatest whole number
// that it may be there, as src/scores/intervals.ts has them; a condition is 0 or 1.

const ANYTHING = vec2i(LEAST, GREATEST);

/// Elements that are looked at for the least and the greatest of them: beyond, they may be anything.
const MOST_LOOKED = 64;

/// Tiles that are looked at together, each by a thread: what they are is two bits of a word.
const LOOKED: u32 = 64;

var<workgroup> looked: array<u32, LOOKED>;
var<workgroup> packed_kinds: vec4u;

/// What the mask says of LOOKED tiles, each of which a thread knows: the same for all threads.
fn all_kinds(lid: u32, kind: u32) -> vec4u {
  if (lid < LOOKED) {
    looked[lid] = kind;
  }
  workgroupBarrier();
  if (lid == 0) {
    var words = vec4u(0);
    for (var i = 0u; i < LOOKED; i++) {
      words[i / 16] |= looked[i] << (2 * (i % 16));
    }
    packed_kinds = words;
  }
  return workgroupUniformLoad(&packed_kinds);
}

/// What it says of one of them.
fn kind_among(kinds: vec4u, index: u32) -> u32 {
  return (kinds[index % LOOKED / 16] >> (2 * (index % 16))) & 3;
}

/// What a tile of rows is of: batch, heads, queries, from the first to the last.
struct RowRange {
  b: vec2i,
  h: vec2i,
  q: vec2i,
}

/// Of the rows from `first` to `last` of a head of the keys.
fn rows_between(index: u32, head: u32, first: u32, last: u32) -> RowRange {
  let at = p.segments_at + 2 * index;
  let h = i32(p.first_head + head * p.group);
  return RowRange(
    vec2i(i32(tables[at])),
    vec2i(h, h + i32(p.group) - 1),
    vec2i(i32(first / p.group), i32(last / p.group)) + i32(tables[at + 1]),
  );
}

/// The keys from `first` to `last`.
fn columns_between(first: u32, last: u32) -> vec2i {
  return vec2i(i32(first), i32(last)) + p.keys_before;
}

fn range_literal(at: u32) -> vec2i {
  return vec2i(i32(tables[p.constants_at + at]));
}

/// Sums beyond 32 bits wrap around, and may then be anything.
fn range_sum(a: vec2i, b: vec2i) -> vec2i {
  let sum = a + b;
  return select(ANYTHING, sum, all((sum < a) == (b < vec2i(0))));
}

fn range_difference(a: vec2i, b: vec2i) -> vec2i {
  let other = b.yx;
  let difference = a - other;
  return select(ANYTHING, difference, all((difference > a) == (other < vec2i(0))));
}

/// The least and the greatest of four.
fn range_around(four: vec4i) -> vec2i {
  return vec2i(
    min(min(four.x, four.y), min(four.z, four.w)),
    max(max(four.x, four.y), max(four.z, four.w)),
  );
}

fn range_product(a: vec2i, b: vec2i) -> vec2i {
  let size = max(abs(f32(a.x)), abs(f32(a.y))) * max(abs(f32(b.x)), abs(f32(b.y)));
  return select(ANYTHING, range_around(a.xxyy * b.xyxy), size < 2147483000);
}

fn range_quotient(a: vec2i, b: vec2i) -> vec2i {
  if ((b.x <= 0 && b.y >= 0) || a.x == LEAST) {
    return ANYTHING;
  }
  return range_around(whole_quotient(a.xxyy, b.xyxy));
}

fn range_rest(a: vec2i, b: vec2i) -> vec2i {
  if (b.x == b.y && b.x > 0) {
    // Within one round of one divisor it is what is above a multiple.
    let rounds = whole_quotient(a.xyxy, vec4i(b.x)).xy;
    if (rounds.x == rounds.y) {
      return a - b.x * rounds.x;
    }
  }
  return vec2i(min(b.x, -1) + 1, max(b.y, 1) - 1);
}

fn range_size(a: vec2i) -> vec2i {
  if (a.x == LEAST) {
    return ANYTHING;
  }
  let sizes = abs(a);
  let least = select(min(sizes.x, sizes.y), 0, a.x <= 0 && a.y >= 0);
  return vec2i(least, max(sizes.x, sizes.y));
}

fn range_negative(a: vec2i) -> vec2i {
  return select(-a.yx, ANYTHING, a.x == LEAST);
}

fn range_less(a: vec2i, b: vec2i) -> vec2i {
  return vec2i(i32(a.y < b.x), i32(a.x < b.y));
}

fn range_at_most(a: vec2i, b: vec2i) -> vec2i {
  return vec2i(i32(a.y <= b.x), i32(a.x <= b.y));
}

fn range_equal(a: vec2i, b: vec2i) -> vec2i {
  let is_one = a.x == a.y && b.x == b.y && a.x == b.x;
  return vec2i(i32(is_one), i32(a.x <= b.y && b.x <= a.y));
}

fn range_choice(c: vec2i, a: vec2i, b: vec2i) -> vec2i {
  let either = vec2i(min(a.x, b.x), max(a.y, b.y));
  return select(select(either, b, c.y == 0), a, c.x == 1);
}

fn range_elements(place: u32, index: vec2i) -> vec2i {
  let at = p.places_at + 3 * place;
  let last = i32(tables[at + 1]);
  let bounds = clamp(index, vec2i(0), vec2i(last));
  if (bounds.y - bounds.x >= MOST_LOOKED) {
    return ANYTHING;
  }
  var range = vec2i(GREATEST, LEAST);
  for (var i = bounds.x; i <= bounds.y; i++) {
    let element = i32(tables[tables[at] + u32(i)]);
    range = vec2i(min(range.x, element), max(range.y, element));
  }
  return range;
}
