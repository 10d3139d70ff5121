// FlashAttention forward (arXiv 2205.14135, algorithm 1; 2307.08691): one workgroup computes BR rows
// of one key/value head, visiting the keys BC at a time with an online softmax.
//
// A thread (tx, ty) owns ROWS rows, 4 or 8, and RK columns of the scores, and ROWS rows by NC vec4 of the output,
// in registers; what is of rows is in G vectors of 4. Rows are the positions of all query heads of the group, position by position: the tile
// is full when there are few queries too, and keys and values are read once per group.
//
// Two kinds: the plain one has scaled products within one band, the same for all batches. With TERMS, where
// ROWS is 4, each workgroup looks its segment up (a batch or a packed sequence), and scores are made of
// whatever terms there are. With INTEGERS, and BYTES, products are formed as shaders/integer/ says.

#import shared/parameters.wgsl
#import shared/softmax.wgsl
#import shared/mask.wgsl
#if TERMS
#import shared/segment.wgsl
#import shared/terms.wgsl
#import shared/blocks.wgsl
#end
#import shared/load.wgsl TENSOR=q BINDING=1
#import shared/load.wgsl TENSOR=k BINDING=2
#import shared/load.wgsl TENSOR=v BINDING=3
#if SPLIT
@group(0) @binding(4) var<storage, read_write> partial_acc: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> partial_ml: array<vec2f>;
#else
#import shared/store.wgsl TENSOR=out BINDING=4 COLUMNS=p.value_dim
#if LSE
#import shared/lse.wgsl
#end
#end

// Constants of the variant: TX by TY threads (THREADS), ROWS rows and RK columns of scores a thread, tiles of BR
// rows and BC keys, SLICE vectors of D and VALUES vectors of Dv in workgroup memory at once, SLICES slices of
// values with CPS vectors of a thread in each, NC in all.

/// A slice of the keys as [vec4 of D][key], with Q_SLICES that of the queries as [vec4 of D][row] behind it; then one
/// of the values as [key][vec4 of Dv]. One key and one row more than there are keep neighbours in different banks.
var<workgroup> slice: array<vec4f, STAGED>;
/// Probabilities of 4 rows, [key][four of a thread's rows].
var<workgroup> probabilities: array<vec4f, BC * G * TY>;
#if Q_SHARED
/// The queries as [vec4 of D][row].
var<workgroup> queries: array<vec4f, SLICE * (BR + 1)>;
#end

// Staging: a thread has one column of a slice, in rows that are THREADS / SLICE apart. Compilers that see where an
// index ends leave their own bounds out: what is less is taken modulo all the same.

fn stage_keys(
  lid: u32,
  base: u32,
  list: u32,
  means: u32,
  first: u32,
  end: u32,
  start: u32,
) {
  let column = lid % SLICE;
  for (var t = 0u; t < SLICE * BC / THREADS; t++) {
    let at = lid / SLICE % (THREADS / SLICE) + t * (THREADS / SLICE);
    let key = min(first + at, end - 1);
    var four = load_k(base + place_k(list, key), start + column, p.dim);
#if k_smooth
    four += mean_k(list, key, means, start + column);
#end
    slice[column * (BC + 1) + at] = four;
  }
}

#if Q_STAGED
fn stage_queries(lid: u32, base: u32, head: u32, first: u32, end: u32, start: u32) {
  let column = lid % SLICE;
  for (var t = 0u; t < SLICE * BR / THREADS; t++) {
    let at = lid / SLICE % (THREADS / SLICE) + t * (THREADS / SLICE);
    let r = min(first + at, end - 1);
    let row = base + (head * p.group + r % p.group) * p.q_head + r / p.group * p.q_row;
#if Q_SHARED
    queries[column * (BR + 1) + at] = load_q(row, start + column, p.dim);
#else
    slice[SLICE * (BC + 1) + column * (BR + 1) + at] = load_q(row, start + column, p.dim);
#end
  }
}
#end

fn stage_values(lid: u32, base: u32, list: u32, first: u32, end: u32, start: u32) {
  let column = lid % VALUES;
  for (var t = 0u; t < VALUES * BC / THREADS; t++) {
    let at = lid / VALUES % (THREADS / VALUES) + t * (THREADS / VALUES);
    let key = min(first + at, end - 1);
    slice[at * VALUES + column] = load_v(base + place_v(list, key), start + column, p.value_dim);
  }
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group_id: vec3u, @builtin(local_invocation_index) lid: u32) {
  let tx = lid % TX;
  let ty = lid / TX;
  let tile = group_id.x % p.tiles;
  let part = group_id.x / p.tiles;
  let head = group_id.y;
  // Rows, keys, and where all of it lies.
#if TERMS
  let segment = segment_at(group_id.z);
  let batch = segment.batch;
  let first_row = tile * BR;
  let end_row = segment.queries * p.group;
  if (first_row >= end_row || p.first_part + part >= segment.parts) {
    return; // Others of the dispatch have more.
  }
  let part_begin = p.keys_begin + part * segment.part_keys;
  let part_end = min(min(segment.keys, p.keys_end), part_begin + segment.part_keys);
  let band = vec2i(segment.band_first, segment.band_last);
  // Keys are counted from the segment's first, also where the binding begins elsewhere: the
  // difference may be negative, and whole numbers wrap.
  let key_shift = segment.key - p.keys_begin;
  let q_base = at_q(batch, 0, segment.row);
#if PAGED
  let list = p.pages_at + group_id.z * p.page_list;
  let means = p.mean_at + head * p.dim_vectors * 4;
  let k_base = at_k(0, head, 0);
  let v_base = at_v(0, head, 0);
#else
  let list = 0u;
  let means = 0u;
  let k_base = at_k(batch, head, key_shift);
  let v_base = at_v(batch, head, key_shift);
#end
  let first_out = segment.row;
#if SPLIT
  let l_head = segment.queries;
  let l_base = segment.partials + (p.first_part + part) * p.query_heads * l_head;
#else
  let l_head = p.l_head;
  let l_base = p.l_at + batch * p.l_batch + segment.row;
#end
#else
  let batch = group_id.z;
  let first_row = tile * BR;
  let end_row = p.end_row;
  let part_begin = part * p.part_keys;
  let part_end = min(p.keys, (part + 1) * p.part_keys);
  let band = vec2i(p.band_first, p.band_last);
  let q_base = at_q(batch, 0, 0);
  let list = 0u;
  let means = 0u;
  let k_base = at_k(batch, head, 0);
  let v_base = at_v(batch, head, 0);
  let first_out = 0u;
  let l_head = p.l_head;
  let l_base = p.l_at + part * p.l_part + batch * p.l_batch;
#end
  let last_row = min(first_row + BR, end_row) - 1;
  let row = first_row + ROWS * ty;
#for g in G
  let rows_$g = min(row + vec4u($(4*g), $(4*g+1), $(4*g+2), $(4*g+3)), vec4u(end_row - 1));
  let positions_$g = rows_$g / p.group;
  let heads_$g = head * p.group + rows_$g % p.group;
#end
#if Q_STAGED
#if Q_SHARED
  stage_queries(lid, q_base, head, first_row, end_row, 0);
#end
#else
  let q_rows = vec4u(q_base) + heads_0 * p.q_head + positions_0 * p.q_row;
#end

  // What is summed over one run of keys, and over those before it: errors of rounding do not grow with their
  // number then.
#for g in G
  var m_$g = vec4f(LOWEST);
  var l_$g = vec4f(0);
  var l_sum_$g = vec4f(0);
#end
  var run = 0u;
#for c in NC
#for i in ROWS
  var acc_$c_$i = vec4f(0);
  var sum_$c_$i = vec4f(0);
#end
#end

#if TERMS
  let terms = terms_of(segment, group_id.z, key_shift, positions_0, heads_0);
  let low = first_row / p.group;
  let high = last_row / p.group;
  let blocks = blocks_of(segment, head, key_shift, low, high);
  let classes = classes_of(segment, head, key_shift, low, high);
#if SCORED
  let ranges = ranges_of(rows_between(group_id.z, head, first_row, last_row));
  var looked_at: vec4u;
#end
  if (p.sinks_at > 0 && p.first_part + part == 0) {
    // A key with a weight and no value, seen once in all.
    m_0 = table_four(p.sinks_at + 2 * heads_0);
    l_0 = select(vec4f(0), table_four(p.sinks_at + 2 * heads_0 + 1), tx == 0);
  }
#end

#if PAGED
  var seen = seen_keys(first_row / p.group, last_row / p.group, part_begin, part_end, band);
  if (segment.kept > part_begin) {
    seen.begin = part_begin;
  }
#else
  let seen = seen_keys(first_row / p.group, last_row / p.group, part_begin, part_end, band);
#end
  for (var first = seen.begin; first < seen.end; first += BC) {
#if TERMS
#if SCORED
    var of_functions = SKIPPED;
    for (; first < seen.end; first += BC) {
      let tile_index = (first - seen.begin) / BC;
      if (tile_index % LOOKED == 0) {
        let own = first + lid * BC;
        let columns = columns_between(own, min(own + BC, part_end) - 1);
        looked_at = all_kinds(lid, kind_of_functions(ranges, columns));
      }
      of_functions = kind_among(looked_at, tile_index);
      if (of_functions != SKIPPED) {
        break;
      }
    }
    if (of_functions == SKIPPED) {
      break;
    }
#end
    var kinds = kinds_of(blocks, classes, first, min(first + BC, part_end) - 1);
#if SCORED
    kinds.functions = of_functions;
#end
    if (is_skipped(kinds)) {
      continue;
    }
#end
    if ((first - part_begin) / RUN != run) {
      // By the key, not by how many there were: rows beside may see others.
      run = (first - part_begin) / RUN;
#for g in G
      let next_l_$g = l_sum_$g + l_$g;
      l_$g = taken(l_sum_$g, l_$g, next_l_$g);
      l_sum_$g = next_l_$g;
#end
#for c in NC
#for i in ROWS
      {
        let next = sum_$c_$i + acc_$c_$i;
        acc_$c_$i = taken(sum_$c_$i, acc_$c_$i, next);
        sum_$c_$i = next;
      }
#end
#end
    }
    // Scores.
#for j in RK
#for g in G
    var s_$j_$g = vec4f(0);
#end
#end
#if INTEGERS
#import integer/dot.wgsl
#else
    for (var start = 0u; start < p.dim_vectors; start += SLICE) {
      workgroupBarrier();
      stage_keys(lid, k_base, list, means, first, part_end, start);
#if Q_SLICES
      stage_queries(lid, q_base, head, first_row, end_row, start);
#end
      workgroupBarrier();
      for (var d = 0u; d < SLICE; d++) {
#if Q_STAGED
#for i in ROWS
#if Q_SHARED
        let q_$i = queries[d * (BR + 1) + ROWS * ty + $i];
#else
        let q_$i = slice[SLICE * (BC + 1) + d * (BR + 1) + ROWS * ty + $i];
#end
#end
#else
        let q_0 = load_q(q_rows.x, start + d, p.dim);
        let q_1 = load_q(q_rows.y, start + d, p.dim);
        let q_2 = load_q(q_rows.z, start + d, p.dim);
        let q_3 = load_q(q_rows.w, start + d, p.dim);
#end
#for j in RK
        let k_$j = slice[d * (BC + 1) + tx + $j * TX];
#for g in G
        s_$j_$g += vec4f(
          dot(q_$(4*g), k_$j),
          dot(q_$(4*g+1), k_$j),
          dot(q_$(4*g+2), k_$j),
          dot(q_$(4*g+3), k_$j),
        );
#end
#end
      }
    }
#end

    // Terms and masks.
    let in_band = first >= seen.whole_begin && first + BC <= seen.whole_end;
#if TERMS
    let whole = in_band && is_whole(kinds) && (p.has_bias == 0 || p.bias_classed == 1);
#for j in RK
    let scored_$j = score(
      s_$j_0,
      first + tx + $j * TX,
      part_end,
      band,
      positions_0,
      terms,
      in_band,
      kinds,
    );
    s_$j_0 = scored_$j.score;
    let seen_$j_0 = scored_$j.seen;
#end
#else
    let whole = in_band;
#for j in RK
#for g in G
    s_$j_$g *= p.scale;
#end
#end
    if (!whole) {
#for j in RK
#for g in G
      s_$j_$g = select(
        vec4f(LOWEST),
        s_$j_$g,
        is_seen(first + tx + $j * TX, part_end, vec4i(positions_$g), band),
      );
#end
#end
    }
#end

    // Online softmax.
#for g in G
    var top_$g = s_0_$g;
#end
#for j in RK
#for g in G
    top_$g = max(top_$g, s_$j_$g);
#end
#end
    let tops = across_max(
      array<vec4f, G>(
#for g in G
        top_$g,
#end
      ),
      tx,
      ty,
    );
    var is_raised = false;
#for g in G
    let next_m_$g = raised(m_$g, tops[$g]);
#if TERMS
    // Beyond the bound it is 0 in any case, and may not be made of infinity.
    let alpha_$g = exp2(max(m_$g - next_m_$g, vec4f(-1e4)) * p.to_base_two);
#else
    let alpha_$g = exp2(m_$g - next_m_$g);
#end
    m_$g = next_m_$g;
    is_raised = is_raised || any(alpha_$g != vec4f(1));
#end
    if (is_raised) {
#for g in G
      l_$g *= alpha_$g;
      l_sum_$g *= alpha_$g;
#for c in NC
#for i in 4
      acc_$c_$(4*g+i) *= alpha_$g[$i];
      sum_$c_$(4*g+i) *= alpha_$g[$i];
#end
#end
#end
    }
#if TERMS
#else
#for g in G
    // In a row that has seen nothing LOWEST is the maximum too: of its weights none is 1.
    let base_$g = select(m_$g, vec4f(0), m_$g == vec4f(LOWEST));
#end
#end
#for j in RK
#for g in G
    {
#if TERMS
      // Not by the score: LOWEST may be the maximum.
      let weight = select(vec4f(0), exp2((s_$j_$g - m_$g) * p.to_base_two), seen_$j_$g);
      let kept = select(vec4f(UNSEEN), weight, seen_$j_$g);
#else
      let weight = exp2(s_$j_$g - base_$g);
      let kept = weight;
#end
      l_$g += weight;
      probabilities[((tx + $j * TX) * TY + ty) * G + $g] = kept;
    }
#end
#end

    // Accumulate.
#if BYTES
#import integer/add.wgsl
#else
#for s in SLICES
    workgroupBarrier();
    stage_values(lid, v_base, list, first, part_end, p.value_from + $s * VALUES);
    workgroupBarrier();
    if (whole) {
      for (var run = 0u; run < BC / UNROLLED; run++) {
#for u in UNROLLED
        {
          let key = run * UNROLLED + $u;
#for g in G
          let weight_$g = probabilities[(key * TY + ty) * G + $g];
#end
#for c in CPS
          {
            let value = slice[key * VALUES + tx + $c * TX];
#for g in G
#for i in 4
            acc_$(s*CPS+c)_$(4*g+i) += weight_$g[$i] * value;
#end
#end
          }
#end
        }
#end
      }
    } else {
      // A key that a row does not see must leave no trace, and 0 * NaN would be one. The same sums
      // otherwise: which tiles are whole depends on the rows beside.
      for (var key = 0u; key < BC; key++) {
#if TERMS
        let stored = probabilities[key * TY + ty];
        let seen_row_0 = bitcast<vec4u>(stored) != bitcast<vec4u>(vec4f(UNSEEN));
        let weight_0 = select(vec4f(0), stored, seen_row_0);
        if (all(seen_row_0)) {
          // Biases seldom hide keys, and masks are often in one piece.
#for c in CPS
          {
            let value = slice[key * VALUES + tx + $c * TX];
#for i in 4
            acc_$(s*CPS+c)_$i += weight_0[$i] * value;
#end
          }
#end
          continue;
        }
#else
#for g in G
        let weight_$g = probabilities[(key * TY + ty) * G + $g];
        let seen_row_$g = is_seen(first + key, part_end, vec4i(positions_$g), band);
#end
#end
#for c in CPS
        {
          let value = slice[key * VALUES + tx + $c * TX];
#for g in G
#for i in 4
          acc_$(s*CPS+c)_$(4*g+i) += weight_$g[$i] * select(vec4f(0), value, seen_row_$g[$i]);
#end
#end
        }
#end
      }
    }
#end
#end
  }

  // Epilogue.
  let sums = across_sum(
    array<vec4f, G>(
#for g in G
      l_sum_$g + l_$g,
#end
    ),
    tx,
    ty,
  );
#for c in NC
#for i in ROWS
  acc_$c_$i += sum_$c_$i;
#end
#end
#for g in G
#for i in 4
  if (row + $(4*g+i) < end_row) {
    let l = sums[$g][$i];
#if SPLIT
    let at = l_base + heads_$g[$i] * l_head + positions_$g[$i];
    if (tx == 0) {
      partial_ml[at] = vec2f(m_$g[$i], l);
    }
#for s in SLICES
#for c in CPS
    partial_acc[at * (NC * TX) + $s * VALUES + tx + $c * TX] = acc_$(s*CPS+c)_$(4*g+i);
#end
#end
#else
    let inverse = select(1 / l, 0, l == 0);
    let at = at_out(batch, heads_$g[$i], first_out + positions_$g[$i]);
#for s in SLICES
#for c in CPS
    store_out(
      at,
      p.value_from + $s * VALUES + tx + $c * TX,
      acc_$(s*CPS+c)_$(4*g+i) * inverse,
    );
#end
#end
#if LSE
    if (tx == 0 && p.value_from == 0) {
      let lse_at = l_base + heads_$g[$i] * l_head + positions_$g[$i];
      let sum = log_sum_exp(m_$g[$i], l);
      lse[lse_at] = sum;
      if (p.rest_at > 0) {
        lse[lse_at + p.rest_at] = rest_of(m_$g[$i], l, sum);
      }
    }
#end
#end
  }
#end
#end
}
