// FlashAttention forward (arXiv 2205.14135, algorithm 1; 2307.08691): one workgroup computes BR rows
// of one key/value head, visiting the keys BC at a time with an online softmax.
//
// A thread (tx, ty) owns 4 rows and RK columns of the scores, and 4 rows by NC vec4 of the output, in
// registers. Rows are the positions of all query heads of the group, position by position: the tile
// is full when there are few queries too, and keys and values are read once per group.
//
// Two kinds: the plain one has scaled products within one band, the same for all batches. With TERMS
// each workgroup looks its segment up (a batch or a packed sequence), and scores are made of whatever
// terms there are. With INTEGERS, and BYTES, products are formed as shaders/integer/ says.

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

// Constants of the variant: TX by TY threads (THREADS), RK columns of scores a thread, tiles of BR rows
// and BC keys, SLICE vectors of D or Dv in workgroup memory at once, SLICES slices of values with CPS
// vectors of a thread in each, NC in all.

/// A slice of the keys as [vec4 of D][key], then one of the values as [key][vec4 of Dv].
var<workgroup> slice: array<vec4f, SLICE * BC>;
/// Probabilities of 4 rows, [key][ty].
var<workgroup> probabilities: array<vec4f, BC * TY>;
#if Q_SHARED
/// The queries as [vec4 of D][row].
var<workgroup> queries: array<vec4f, SLICE * BR>;
#end

fn stage_keys(
  lid: u32,
  base: u32,
  list: u32,
  means: u32,
  first: u32,
  end: u32,
  start: u32,
) {
  for (var t = 0u; t < SLICE * BC / THREADS; t++) {
    let i = lid + t * THREADS;
    let key = min(first + i / SLICE, end - 1);
    let row = base + place_k(list, key);
    var four = load_k(row, start + i % SLICE, p.dim);
#if k_smooth
    four += mean_k(list, key, means, start + i % SLICE);
#end
    slice[(i % SLICE) * BC + i / SLICE] = four;
  }
}

fn stage_values(lid: u32, base: u32, list: u32, first: u32, end: u32, start: u32) {
  for (var t = 0u; t < SLICE * BC / THREADS; t++) {
    let i = lid + t * THREADS;
    let key = min(first + i / SLICE, end - 1);
    slice[i] =
      load_v(base + place_v(list, key), start + i % SLICE, p.value_dim);
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
  let row = first_row + 4 * ty;
  let rows = min(vec4u(row, row + 1, row + 2, row + 3), vec4u(end_row - 1));
  let positions = rows / p.group;
  let heads = head * p.group + rows % p.group;
  let q_rows = vec4u(q_base) + heads * p.q_head + positions * p.q_row;

#if Q_SHARED
  for (var t = 0u; t < SLICE * BR / THREADS; t++) {
    let i = lid + t * THREADS;
    let r = min(first_row + i / SLICE, end_row - 1);
    let at = q_base + (head * p.group + r % p.group) * p.q_head + r / p.group * p.q_row;
    queries[(i % SLICE) * BR + i / SLICE] = load_q(at, i % SLICE, p.dim);
  }
#end

  // What is summed over one run of keys, and over those before it: errors of rounding do not grow with their
  // number then.
  var m = vec4f(LOWEST);
  var l = vec4f(0);
  var l_sum = vec4f(0);
  var run = 0u;
#for c in NC
#for i in 4
  var acc_$c_$i = vec4f(0);
  var sum_$c_$i = vec4f(0);
#end
#end

#if TERMS
  let terms = terms_of(segment, group_id.z, key_shift, positions, heads);
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
    m = table_four(p.sinks_at + 2 * heads);
    l = select(vec4f(0), table_four(p.sinks_at + 2 * heads + 1), tx == 0);
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
      let next_l = l_sum + l;
      l = taken(l_sum, l, next_l);
      l_sum = next_l;
#for c in NC
#for i in 4
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
    var s_$j = vec4f(0);
#end
#if INTEGERS
#import integer/dot.wgsl
#else
    for (var start = 0u; start < p.dim_vectors; start += SLICE) {
      workgroupBarrier();
      stage_keys(lid, k_base, list, means, first, part_end, start);
      workgroupBarrier();
      for (var d = 0u; d < SLICE; d++) {
#if Q_SHARED
        let q_0 = queries[d * BR + 4 * ty];
        let q_1 = queries[d * BR + 4 * ty + 1];
        let q_2 = queries[d * BR + 4 * ty + 2];
        let q_3 = queries[d * BR + 4 * ty + 3];
#else
        let q_0 = load_q(q_rows.x, start + d, p.dim);
        let q_1 = load_q(q_rows.y, start + d, p.dim);
        let q_2 = load_q(q_rows.z, start + d, p.dim);
        let q_3 = load_q(q_rows.w, start + d, p.dim);
#end
#for j in RK
        let k_$j = slice[d * BC + tx + $j * TX];
        s_$j += vec4f(dot(q_0, k_$j), dot(q_1, k_$j), dot(q_2, k_$j), dot(q_3, k_$j));
#end
      }
    }
#end

    // Terms and masks.
    let in_band = first >= seen.whole_begin && first + BC <= seen.whole_end;
#if TERMS
    let whole = in_band && is_whole(kinds) && (p.has_bias == 0 || p.bias_classed == 1);
#for j in RK
    let scored_$j = score(s_$j, first + tx + $j * TX, part_end, band, positions, terms, in_band, kinds);
    s_$j = scored_$j.score;
    let seen_$j = scored_$j.seen;
#end
#else
    let whole = in_band;
#for j in RK
    s_$j *= p.scale;
#end
#for j in RK
    var seen_$j = vec4<bool>(true);
#end
    if (!whole) {
#for j in RK
      seen_$j = is_seen(first + tx + $j * TX, part_end, vec4i(positions), band);
      s_$j = select(vec4f(LOWEST), s_$j, seen_$j);
#end
    }
#end

    // Online softmax.
    var tile_max = s_0;
#for j in RK
    tile_max = max(tile_max, s_$j);
#end
    let top = across_max(tile_max, tx, ty);
    let next_m = raised(m, top);
#if TERMS
    // Beyond the bound it is 0 in any case, and may not be made of infinity.
    let alpha = exp2(max(m - next_m, vec4f(-1e4)) * p.to_base_two);
#else
    let alpha = exp2(m - next_m);
#end
    m = next_m;
    if (any(alpha != vec4f(1))) {
      l *= alpha;
      l_sum *= alpha;
#for c in NC
#for i in 4
      acc_$c_$i *= alpha[$i];
      sum_$c_$i *= alpha[$i];
#end
#end
    }
#for j in RK
    {
      // Not by the score: in a row that sees nothing LOWEST is the maximum too.
#if TERMS
      let weight = select(vec4f(0), exp2((s_$j - m) * p.to_base_two), seen_$j);
      l += weight;
      probabilities[(tx + $j * TX) * TY + ty] = select(vec4f(UNSEEN), weight, seen_$j);
#else
      let weight = select(vec4f(0), exp2(s_$j - m), seen_$j);
      l += weight;
      probabilities[(tx + $j * TX) * TY + ty] = weight;
#end
    }
#end

    // Accumulate.
#if BYTES
#import integer/add.wgsl
#else
#for s in SLICES
    workgroupBarrier();
    stage_values(lid, v_base, list, first, part_end, p.value_from + $s * SLICE);
    workgroupBarrier();
    if (whole) {
      for (var key = 0u; key < BC; key++) {
        let weight = probabilities[key * TY + ty];
#for c in CPS
        {
          let value = slice[key * SLICE + tx + $c * TX];
          acc_$(s*CPS+c)_0 += weight.x * value;
          acc_$(s*CPS+c)_1 += weight.y * value;
          acc_$(s*CPS+c)_2 += weight.z * value;
          acc_$(s*CPS+c)_3 += weight.w * value;
        }
#end
      }
    } else {
      // A key that a row does not see must leave no trace, and 0 * NaN would be one. The same sums
      // otherwise: which tiles are whole depends on the rows beside.
      for (var key = 0u; key < BC; key++) {
#if TERMS
        let stored = probabilities[key * TY + ty];
        let seen_row = bitcast<vec4u>(stored) != bitcast<vec4u>(vec4f(UNSEEN));
        let weight = select(vec4f(0), stored, seen_row);
        if (all(seen_row)) {
          // Biases seldom hide keys, and masks are often in one piece.
#for c in CPS
          {
            let value = slice[key * SLICE + tx + $c * TX];
            acc_$(s*CPS+c)_0 += weight.x * value;
            acc_$(s*CPS+c)_1 += weight.y * value;
            acc_$(s*CPS+c)_2 += weight.z * value;
            acc_$(s*CPS+c)_3 += weight.w * value;
          }
#end
          continue;
        }
#else
        let weight = probabilities[key * TY + ty];
        let seen_row = is_seen(first + key, part_end, vec4i(positions), band);
#end
#for c in CPS
        {
          let value = slice[key * SLICE + tx + $c * TX];
          acc_$(s*CPS+c)_0 += weight.x * select(vec4f(0), value, seen_row.x);
          acc_$(s*CPS+c)_1 += weight.y * select(vec4f(0), value, seen_row.y);
          acc_$(s*CPS+c)_2 += weight.z * select(vec4f(0), value, seen_row.z);
          acc_$(s*CPS+c)_3 += weight.w * select(vec4f(0), value, seen_row.w);
        }
#end
      }
    }
#end
#end
  }

  // Epilogue.
  l = across_sum(l_sum + l, tx, ty);
#for c in NC
#for i in 4
  acc_$c_$i += sum_$c_$i;
#end
#end
#if SPLIT
#for i in 4
  if (row + $i < end_row) {
    let at = l_base + heads[$i] * l_head + positions[$i];
    if (tx == 0) {
      partial_ml[at] = vec2f(m[$i], l[$i]);
    }
#for s in SLICES
#for c in CPS
    partial_acc[at * (NC * TX) + $s * SLICE + tx + $c * TX] = acc_$(s*CPS+c)_$i;
#end
#end
  }
#end
#else
  let inverse = select(1 / l, vec4f(0), l == vec4f(0));
#for i in 4
  if (row + $i < end_row) {
    let at = at_out(batch, heads[$i], first_out + positions[$i]);
#for s in SLICES
#for c in CPS
    store_out(at, p.value_from + $s * SLICE + tx + $c * TX, acc_$(s*CPS+c)_$i * inverse[$i]);
#end
#end
#if LSE
    if (tx == 0 && p.value_from == 0) {
      let lse_at = l_base + heads[$i] * l_head + positions[$i];
      let sum = log_sum_exp(m[$i], l[$i]);
      lse[lse_at] = sum;
      if (p.rest_at > 0) {
        lse[lse_at + p.rest_at] = rest_of(m[$i], l[$i], sum);
      }
    }
#end
  }
#end
#end
}
