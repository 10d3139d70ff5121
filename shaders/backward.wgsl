// Gradients with respect to queries, keys or values (FlashAttention, arXiv 2205.14135, algorithm 4): a workgroup owns a
// tile of what it makes and goes through the other side.
//
// DQ: BR rows of one key/value head's group, through the keys they see; dQ = scale dS K.
// DK, DV (OWNS_KEYS): BC keys of one head, through all rows of its group that see them;
// dK = scale dS^T Q, dV = P^T dOut. So rows of a group are summed by one thread, in order, and no
// element has two writers.

#import shared/gradients.wgsl
#if DV
#import shared/store.wgsl TENSOR=gradient BINDING=4 COLUMNS=p.value_dim
#else
#import shared/store.wgsl TENSOR=gradient BINDING=4 COLUMNS=p.dim
#end

// Constants of the variant, in addition to those of the tile: SLICES slices of the result's columns, with CPS
// vectors of a thread in each, NC in all.

/// Tiles whose products are summed one after the other.
const TILES: u32 = 2;

/// What is summed up by: of 4 rows, [key][ty].
var<workgroup> results: array<vec4f, BC * (TY + 1)>;

#if OWNS_KEYS
/// The rows that see some of the keys from `first` on, from the beginning of a tile.
fn seen_rows(part: Part, first: u32) -> vec2u {
  let last = min(first + BC, part.end_key) - 1;
  let seen = vec2i(i32(first) - part.band.y, i32(last) - part.band.x + 1);
  let rows = vec2u(clamp(seen, vec2i(0), vec2i(i32(part.segment.queries)))) * p.group;
  return vec2u(rows.x / BR * BR, rows.y);
}
#end

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group_id: vec3u, @builtin(local_invocation_index) lid: u32) {
  let tx = lid % TX;
  let ty = lid / TX;
  let part = part_of(group_id.z, group_id.y);
  // What is summed over a run of tiles, and over those before it. Runs begin at the same tiles wherever a workgroup's
  // own begin: bits must not depend on how a call is cut.
#for c in NC
#for i in 4
  var acc_$c_$i = vec4f(0);
  var sum_$c_$i = vec4f(0);
#end
#end

  var run = 0u;
#if SCORED
  var looked_at: vec4u;
#end
#if OWNS_KEYS
  let first = p.keys_begin + group_id.x * BC;
  if (first >= part.end_key) {
    return; // Others of the dispatch have more.
  }
  let rows = seen_rows(part, first);
  for (var first_row = rows.x; first_row < rows.y; first_row += BR) {
#else
  let first_row = group_id.x * BR;
  if (first_row >= part.end_row) {
    return; // Others of the dispatch have more.
  }
  let low = first_row / p.group;
  let high = (min(first_row + BR, part.end_row) - 1) / p.group;
  let keys = seen_keys(low, high, p.keys_begin, part.end_key, part.band);
  for (var first = keys.begin; first < keys.end; first += BC) {
#end
    var kind = MIXED;
#if SCORED
#if OWNS_KEYS
    for (; first_row < rows.y; first_row += BR) {
      let tile_index = (first_row - rows.x) / BR;
      let own = vec2u(first_row + lid * BR, first);
#else
    for (; first < keys.end; first += BC) {
      let tile_index = (first - keys.begin) / BC;
      let own = vec2u(first_row, first + lid * BC);
#end
      if (tile_index % LOOKED == 0) {
        looked_at = all_kinds(lid, kind_at(part, own.x, own.y));
      }
      kind = kind_among(looked_at, tile_index);
      if (kind != SKIPPED) {
        break;
      }
    }
    if (kind == SKIPPED) {
      break;
    }
#end
#if OWNS_KEYS
    let tile_run = first_row / BR / TILES;
#else
    let tile_run = (first - p.keys_begin) / BC / TILES;
#end
    if (tile_run != run) {
      run = tile_run;
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
    let look = look_at(part, first_row, first, kind);
    if (!look.is_visited) {
      continue;
    }
    let tile = gradients_of(part, look, first_row, first, lid);
#for j in RK
    results[(tx + $j * TX) * (TY + 1) + ty] = tile[$j];
#end

#for s in SLICES
    workgroupBarrier();
#for n in 2
#if DQ
    stage_k(part, first, p.value_from + $s * VALUES + $n * SLICE, $n * SLICE, lid);
#end
#if DK
    stage_q(part, first_row, p.value_from + $s * VALUES + $n * SLICE, $n * SLICE, lid);
#end
#if DV
    stage_d_out(part, first_row, p.value_from + $s * VALUES + $n * SLICE, $n * SLICE, lid);
#end
#end
    workgroupBarrier();
    if (look.is_whole) {
#if DQ
      for (var run = 0u; run < BC / UNROLLED; run++) {
#for u in UNROLLED
        {
          let key = run * UNROLLED + $u;
          let result = results[key * (TY + 1) + ty];
#for c in CPS
          {
            let four = slices[(tx + $c * TX) * (BC + 1) + key];
#for i in 4
            acc_$(s*CPS+c)_$i += result[$i] * four;
#end
          }
#end
        }
#end
      }
#else
      for (var y = 0u; y < TY; y++) {
#for i in 4
        let result_$i = results[(ty + $i * TY) * (TY + 1) + y];
#end
#for c in CPS
#for r in 4
        {
          let four = slices[(tx + $c * TX) * (BR + 1) + 4 * y + $r];
#for i in 4
          acc_$(s*CPS+c)_$i += result_$i[$r] * four;
#end
        }
#end
#end
      }
#end
    } else {
      // What a row does not see must leave no trace, and 0 * NaN would be one.
#if DQ
      for (var key = 0u; key < BC; key++) {
        let result = results[key * (TY + 1) + ty];
        let seen = is_result(result);
        let factor = select(vec4f(0), result, seen);
#for c in CPS
        {
          let four = slices[(tx + $c * TX) * (BC + 1) + key];
#for i in 4
          acc_$(s*CPS+c)_$i += factor[$i] * select(vec4f(0), four, seen[$i]);
#end
        }
#end
      }
#else
      for (var y = 0u; y < TY; y++) {
#for i in 4
        let result_$i = results[(ty + $i * TY) * (TY + 1) + y];
        let seen_$i = is_result(result_$i);
        let factor_$i = select(vec4f(0), result_$i, seen_$i);
#end
#for c in CPS
#for r in 4
        {
          let four = slices[(tx + $c * TX) * (BR + 1) + 4 * y + $r];
#for i in 4
          acc_$(s*CPS+c)_$i += factor_$i[$r] * select(vec4f(0), four, seen_$i[$r]);
#end
        }
#end
#end
      }
#end
    }
#end
  }

#if OWNS_KEYS
  let base = at_gradient(part.segment.batch, part.head, part.key_shift);
#for i in 4
  if (first + ty + $i * TY < part.end_key) {
    let at = base + (first + ty + $i * TY) * p.gradient_row;
#for s in SLICES
#for c in CPS
    store_gradient(
      at,
      p.value_from + $s * VALUES + tx + $c * TX,
      (sum_$(s*CPS+c)_$i + acc_$(s*CPS+c)_$i) * p.gradient_scale,
    );
#end
#end
  }
#end
#else
  let base = at_gradient(part.segment.batch, part.head * p.group, part.segment.row);
#for i in 4
  {
    let row = first_row + 4 * ty + $i;
    if (row < part.end_row) {
      let at = base + row % p.group * p.gradient_head + row / p.group * p.gradient_row;
#for s in SLICES
#for c in CPS
      store_gradient(
        at,
        p.value_from + $s * VALUES + tx + $c * TX,
        (sum_$(s*CPS+c)_$i + acc_$(s*CPS+c)_$i) * p.gradient_scale,
      );
#end
#end
    }
  }
#end
#end
}
