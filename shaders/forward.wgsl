// FlashAttention forward (arXiv 2205.14135, algorithm 1; 2307.08691): one workgroup computes BR rows
// of one key/value head, visiting the keys BC at a time with an online softmax.
//
// A thread (tx, ty) owns 4 rows and RK columns of the scores, and 4 rows by NC vec4 of the output, in
// registers. Rows are the positions of all query heads of the group, position by position: the tile
// is full when there are few queries too, and keys and values are read once per group.

#import shared/parameters.wgsl
#import shared/softmax.wgsl
#import shared/mask.wgsl
#import shared/load.wgsl TENSOR=q BINDING=1
#import shared/load.wgsl TENSOR=k BINDING=2
#import shared/load.wgsl TENSOR=v BINDING=3
#if SPLIT
@group(0) @binding(4) var<storage, read_write> partial_acc: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> partial_ml: array<vec2f>;
#else
#import shared/store.wgsl
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

fn stage_keys(lid: u32, base: u32, first: u32, end: u32, start: u32) {
  for (var t = 0u; t < SLICE * BC / THREADS; t++) {
    let i = lid + t * THREADS;
    let key = min(first + i / SLICE, end - 1);
    slice[(i % SLICE) * BC + i / SLICE] = load_k(base + key * p.k_row, start + i % SLICE, p.dim);
  }
}

fn stage_values(lid: u32, base: u32, first: u32, end: u32, start: u32) {
  for (var t = 0u; t < SLICE * BC / THREADS; t++) {
    let i = lid + t * THREADS;
    let key = min(first + i / SLICE, end - 1);
    slice[i] = load_v(base + key * p.v_row, start + i % SLICE, p.value_dim);
  }
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group_id: vec3u, @builtin(local_invocation_index) lid: u32) {
  let tx = lid % TX;
  let ty = lid / TX;
  let tile = group_id.x % p.tiles;
  let head = group_id.y;
  let batch = group_id.z;
  let first_row = p.first_row + tile * BR;
  let last_row = min(first_row + BR, p.end_row) - 1;
  let row = first_row + 4 * ty;
  let rows = min(vec4u(row, row + 1, row + 2, row + 3), vec4u(p.end_row - 1));
  let positions = rows / p.group;
  let q_base = p.q_at + batch * p.q_batch;
  let q_rows = vec4u(q_base) + (head * p.group + rows % p.group) * p.q_head + positions * p.q_row;
  let k_base = p.k_at + batch * p.k_batch + head * p.k_head;
  let v_base = p.v_at + batch * p.v_batch + head * p.v_head;

#if Q_SHARED
  for (var t = 0u; t < SLICE * BR / THREADS; t++) {
    let i = lid + t * THREADS;
    let r = min(first_row + i / SLICE, p.end_row - 1);
    let at = q_base + (head * p.group + r % p.group) * p.q_head + r / p.group * p.q_row;
    queries[(i % SLICE) * BR + i / SLICE] = load_q(at, i % SLICE, p.dim);
  }
#end

  var m = vec4f(LOWEST);
  var l = vec4f(0);
#for c in NC
  var acc_$c_0 = vec4f(0);
  var acc_$c_1 = vec4f(0);
  var acc_$c_2 = vec4f(0);
  var acc_$c_3 = vec4f(0);
#end

  let part = group_id.x / p.tiles;
  let part_end = min(p.keys, (part + 1) * p.part_keys);
  let seen = seen_keys(first_row / p.group, last_row / p.group, part * p.part_keys, part_end);
  for (var first = seen.begin; first < seen.end; first += BC) {
    // Scores.
#for j in RK
    var s_$j = vec4f(0);
#end
    for (var start = 0u; start < p.dim_vectors; start += SLICE) {
      workgroupBarrier();
      stage_keys(lid, k_base, first, part_end, start);
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

    // Mask.
    let whole = first >= seen.whole_begin && first + BC <= seen.whole_end;
#for j in RK
    s_$j *= p.scale;
#end
#for j in RK
    var seen_$j = vec4<bool>(true);
#end
    if (!whole) {
#for j in RK
      seen_$j = is_seen(first + tx + $j * TX, part_end, vec4i(positions));
      s_$j = select(vec4f(LOWEST), s_$j, seen_$j);
#end
    }

    // Online softmax.
    var tile_max = s_0;
#for j in RK
    tile_max = max(tile_max, s_$j);
#end
    let next_m = max(m, across_max(tile_max, tx, ty));
    let alpha = exp2(m - next_m);
    m = next_m;
    l *= alpha;
#for j in RK
    {
      // Not by the score: in a row that sees nothing LOWEST is the maximum too.
      let weight = select(vec4f(0), exp2(s_$j - m), seen_$j);
      l += weight;
      probabilities[(tx + $j * TX) * TY + ty] = weight;
    }
#end

    // Accumulate.
#for c in NC
    acc_$c_0 *= alpha.x;
    acc_$c_1 *= alpha.y;
    acc_$c_2 *= alpha.z;
    acc_$c_3 *= alpha.w;
#end
#for s in SLICES
    workgroupBarrier();
    stage_values(lid, v_base, first, part_end, p.value_from + $s * SLICE);
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
        let weight = probabilities[key * TY + ty];
        let seen_row = is_seen(first + key, part_end, vec4i(positions));
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
  }

  // Epilogue.
  l = across_sum(l, tx, ty);
#if SPLIT
#for i in 4
  if (row + $i < p.end_row) {
    let at = p.l_at + part * p.l_part + batch * p.l_batch +
      (head * p.group + rows[$i] % p.group) * p.l_head + positions[$i];
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
  if (row + $i < p.end_row) {
    let query_head = head * p.group + rows[$i] % p.group;
    let at = p.o_at + batch * p.o_batch + query_head * p.o_head + positions[$i] * p.o_row;
#for s in SLICES
#for c in CPS
    store_out(at, p.value_from + $s * SLICE + tx + $c * TX, acc_$(s*CPS+c)_$i * inverse[$i]);
#end
#end
#if LSE
    if (tx == 0 && p.value_from == 0) {
      lse[p.l_at + batch * p.l_batch + query_head * p.l_head + positions[$i]] =
        log_sum_exp(m[$i], l[$i]);
    }
#end
  }
#end
#end
}
