// A tile of BR rows and BC keys, computed anew from the queries, the keys and each row's log-sum-exp: its
// weights P (WEIGHTS), or the gradients of its scores, dS = P (dOut V^T - delta), or those of the products
// that the scores are made of (OF_PRODUCTS). A thread (tx, ty) has 4 rows and RK keys of it, as in
// forward.wgsl. PLAIN ones are of scores that are scaled products within a band.

#import shared/parameters.wgsl
#import shared/softmax.wgsl
#import shared/exp.wgsl
#import shared/segment.wgsl
#if PLAIN
#import shared/blocks.wgsl
#import shared/mask.wgsl
#else
#import shared/terms.wgsl
#end

// Constants of the variant: TX by TY threads (THREADS), RK keys a thread, as many keys as rows, SLICE vectors of a
// row and of a key in workgroup memory at once, or VALUES of one of them, which are twice as many.

/// What the tiles of one segment and one head have in common. The head is one of the keys, with the rows
/// of its whole group, position by position; or one of the queries, where `p.key_group` is not 1.
struct Part {
  segment: Segment,
  /// Of the segment among those of the region.
  index: u32,
  head: u32,
  end_row: u32,
  end_key: u32,
  band: vec2i,
  /// Added to a key of the segment, its row in the bindings; it may wrap.
  key_shift: u32,
  /// Elements where the rows begin, and where key 0 would.
  q: u32,
  d_out: u32,
  k: u32,
  v: u32,
}

#if SCATTERED
/// Of a tile, the scores that the score function was given.
var<private> given: array<vec4f, RK>;
#end

/// Four rows of a thread.
struct Rows {
  positions: vec4u,
  /// A tile may have less than BR.
  is_there: vec4<bool>,
  lse: vec4f,
  rest: vec4f,
  delta: vec4f,
#if PLAIN
#else
  terms: Terms,
#end
}

/// What is known of a tile before it is computed.
struct Look {
  is_visited: bool,
  in_band: bool,
  /// All of its rows are there, and see all of its keys.
  is_whole: bool,
  kinds: Kinds,
}

/// Slices of the rows and, behind them, of the keys as [vector][row] and [vector][key]; one more than there are keeps
/// neighbours in different banks.
var<workgroup> slices: array<vec4f, VALUES * (BR + 1)>;

#import shared/stage_rows.wgsl TENSOR=q BINDING=1 EXTENT=p.dim
#import shared/stage_keys.wgsl TENSOR=k BINDING=2 EXTENT=p.dim
#import shared/stage_rows.wgsl TENSOR=d_out BINDING=5 EXTENT=p.value_dim
#if WEIGHTS
#else
#import shared/stage_keys.wgsl TENSOR=v BINDING=3 EXTENT=p.value_dim
#end
#import shared/place.wgsl TENSOR=v
#import shared/place.wgsl TENSOR=rows

fn part_of(index: u32, head: u32) -> Part {
  let segment = segment_at(index);
  let key_shift = segment.key - p.keys_begin;
  let key_head = head / p.key_group;
  return Part(
    segment,
    index,
    head,
    segment.queries * p.group,
    min(segment.keys, p.keys_end),
    vec2i(segment.band_first, segment.band_last),
    key_shift,
    at_q(segment.batch, head * p.group, segment.row),
    at_d_out(segment.batch, head * p.group, segment.row),
    at_k(segment.batch, key_head, key_shift),
    at_v(segment.batch, key_head, key_shift),
  );
}

fn rows_of(part: Part, first_row: u32, ty: u32) -> Rows {
  let rows = vec4u(first_row + 4 * ty) + vec4u(0, 1, 2, 3);
  let clamped = min(rows, vec4u(part.end_row - 1));
  let positions = clamped / p.group;
  let heads = part.head * p.group + clamped % p.group;
  let at = at_rows(part.segment.batch, 0, part.segment.row) + heads * p.rows_head + positions * p.rows_row;
  return Rows(
    positions,
    rows < vec4u(part.end_row),
    table_four(at),
    table_four(at + 2),
    table_four(at + 1),
#if PLAIN
#else
    terms_of(part.segment, part.index, part.key_shift, positions, heads),
#end
  );
}

#if SCORED
/// What functions say of the tile of the rows from `first_row` on and the keys from `first` on.
fn kind_at(part: Part, first_row: u32, first: u32) -> u32 {
  let end_row = min(first_row + BR, part.end_row) - 1;
  let ranges = ranges_of(rows_between(part.index, part.head, first_row, end_row));
  return kind_of_functions(ranges, columns_between(first, min(first + BC, part.end_key) - 1));
}
#end

/// Looks at the tile of the rows from `first_row` on and the keys from `first` on, of which functions say `kind`.
fn look_at(part: Part, first_row: u32, first: u32, kind: u32) -> Look {
  let low = first_row / p.group;
  let high = (min(first_row + BR, part.end_row) - 1) / p.group;
  let last = min(first + BC, part.end_key) - 1;
  if (
    kind == SKIPPED || i32(last) < i32(low) + part.band.x || i32(first) > i32(high) + part.band.y
  ) {
    return Look(false, false, false, Kinds());
  }
#if PLAIN
  let kinds = Kinds(WHOLE, WHOLE);
#else
  var kinds = kinds_of(
    blocks_of(part.segment, part.head, part.key_shift, low, high),
    classes_of(part.segment, part.head, part.key_shift, low, high),
    first,
    last,
  );
#end
#if SCORED
  kinds.functions = kind;
#end
  let in_band = first + BC <= part.end_key && i32(first) >= i32(high) + part.band.x &&
    i32(last) <= i32(low) + part.band.y;
  // A bias may hide.
  let whole = in_band && is_whole(kinds) && p.has_bias == 0 && first_row + BR <= part.end_row;
  return Look(!is_skipped(kinds), in_band, whole, kinds);
}

/// Adds the products of the slices of the rows and of the keys.
fn add_products(tx: u32, ty: u32, sums: ptr<function, array<vec4f, RK>>) {
  for (var d = 0u; d < SLICE; d++) {
    // Compilers that see where an index ends leave their own bounds out.
    let row = d * (BR + 1) + 4 * (ty % TY);
    let row_0 = slices[row];
    let row_1 = slices[row + 1];
    let row_2 = slices[row + 2];
    let row_3 = slices[row + 3];
#for j in RK
    let key_$j = slices[(SLICE + d) * (BC + 1) + tx % TX + $j * TX];
    (*sums)[$j] +=
      vec4f(dot(row_0, key_$j), dot(row_1, key_$j), dot(row_2, key_$j), dot(row_3, key_$j));
#end
  }
}

/// Weights, or gradients of scores, of a tile; LOWEST, which none is, where a row does not see a key.
fn gradients_of(
  part: Part,
  look: Look,
  first_row: u32,
  first: u32,
  lid: u32,
) -> array<vec4f, RK> {
  let tx = lid % TX;
  let ty = lid / TX;
  var scores = array<vec4f, RK>();
  for (var start = 0u; start < p.dim_vectors; start += SLICE) {
    workgroupBarrier();
    stage_q(part, first_row, start, 0, lid);
    stage_k(part, first, start, SLICE, lid);
    workgroupBarrier();
    add_products(tx, ty, &scores);
  }
#if WEIGHTS
#else
  var weight_gradients = array<vec4f, RK>();
  for (var start = 0u; start < p.value_vectors; start += SLICE) {
    workgroupBarrier();
    stage_d_out(part, first_row, start, 0, lid);
    stage_v(part, first, start, SLICE, lid);
    workgroupBarrier();
    add_products(tx, ty, &weight_gradients);
  }
#end
  let rows = rows_of(part, first_row, ty);
  var results = array<vec4f, RK>();
#for j in RK
  {
#if PLAIN
    let key = first + tx + $j * TX;
    let seen = vec4<bool>(look.in_band) |
      is_seen(key, part.end_key, vec4i(rows.positions), part.band);
    let scored = scores[$j] * p.scale;
#else
    let all = score(
      scores[$j],
      first + tx + $j * TX,
      part.end_key,
      part.band,
      rows.positions,
      rows.terms,
      look.in_band,
      look.kinds,
    );
    let seen = all.seen;
    let scored = all.score;
#end
    var result = exp_of(scored - rows.lse - rows.rest);
#if WEIGHTS
#else
    result *= weight_gradients[$j] - rows.delta;
#if SCATTERED
    given[$j] = scores[$j] * p.scale;
#end
#if OF_PRODUCTS
#if PLAIN
#else
    result *= all.slope;
#end
#end
#if THROUGH_SCORES
    result = score_gradient(
      scores[$j] * p.scale,
      result,
      rows.terms.place,
      column_of(first + tx + $j * TX),
    );
#end
#end
    results[$j] = select(vec4f(LOWEST), result, seen & rows.is_there);
  }
#end
  return results;
}

/// Which of four rows see the key that these results are of.
fn is_result(results: vec4f) -> vec4<bool> {
  return bitcast<vec4u>(results) != bitcast<vec4u>(vec4f(LOWEST));
}
