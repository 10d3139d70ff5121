// The gradients with respect to arrays that a score function reads. A workgroup goes through tiles of rows, of every segment and
// head those whose number is its own, and adds to sums of its own: which tiles these are, and their order, does not depend on
// how a call is cut. Each element belongs to one thread, so that nothing is added twice at a time, and the order is always the
// same.

#import shared/gradients.wgsl

/// Of each workgroup: a sum for each element, and what rounding took from it.
@group(0) @binding(4) var<storage, read_write> sums: array<vec2f>;

/// Elements that four rows read, [key][ty]; what is added to them takes the place of rows.
var<workgroup> indices: array<vec4u, BC * TY>;

/// What a thread has added to the element that it was at last.
struct Sum {
  index: u32,
  sum: f32,
  rest: f32,
}

fn add_term(sum: Sum, term: f32) -> Sum {
  let added = sum.rest + term;
  let next = sum.sum + added;
  return Sum(sum.index, next, taken(vec4f(sum.sum), vec4f(added), vec4f(next)).x);
}

fn store_sum(base: u32, sum: Sum) {
  if (sum.index == NONE) {
    return;
  }
  let before = sums[base + sum.index];
  let all = add_term(Sum(sum.index, before.x, before.y + sum.rest), sum.sum);
  sums[base + sum.index] = vec2f(all.sum, all.rest);
}

/// No element.
const NONE: u32 = 0xffffffff;

/// Adds what a tile has, of elements that are this thread's.
fn add_terms(base: u32, lid: u32) {
  var sum = Sum(NONE, 0, 0);
  for (var i = 0u; i < BC * TY; i++) {
    let four = indices[i];
    let terms = slices[i];
    for (var row = 0u; row < 4; row++) {
      if (four[row] % THREADS == lid && four[row] != NONE) {
        if (four[row] != sum.index) {
          store_sum(base, sum);
          sum = Sum(four[row], 0, 0);
        }
        sum = add_term(sum, terms[row]);
      }
    }
  }
  store_sum(base, sum);
}

/// Words of an array's place: where its elements begin, its last index, and where its sums do.
fn sum_of(place: u32, index: vec4i) -> vec4u {
  let at = p.places_at + 3 * place;
  return tables[at + 2] + vec4u(clamp(index, vec4i(0), vec4i(i32(tables[at + 1]))));
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group_id: vec3u, @builtin(local_invocation_index) lid: u32) {
  let tx = lid % TX;
  let ty = lid / TX;
  let base = group_id.x * p.sums;
  for (var unit = 0u; unit < p.units; unit++) {
    let index = unit / p.heads;
    let head = unit % p.heads;
    let part = part_of(index, head);
    let first_of_all = ((p.first_segment + index) * p.all_heads + p.first_key_head + head) * p.all_tiles + p.first_tile;
    let skipped = (group_id.x + p.groups - first_of_all % p.groups) % p.groups;
    for (var first_row = skipped * BR; first_row < part.end_row; first_row += p.groups * BR) {
      let low = first_row / p.group;
      let high = (min(first_row + BR, part.end_row) - 1) / p.group;
      let keys = seen_keys(low, high, p.keys_begin, part.end_key, part.band);
      var looked_at: vec4u;
      for (var first = keys.begin; first < keys.end; first += BC) {
        var kind = SKIPPED;
        for (; first < keys.end; first += BC) {
          let tile_index = (first - keys.begin) / BC;
          if (tile_index % LOOKED == 0) {
            looked_at = all_kinds(lid, kind_at(part, first_row, first + lid * BC));
          }
          kind = kind_among(looked_at, tile_index);
          if (kind != SKIPPED) {
            break;
          }
        }
        if (kind == SKIPPED) {
          break;
        }
        let look = look_at(part, first_row, first, kind);
        if (!look.is_visited) {
          continue;
        }
        let tile = gradients_of(part, look, first_row, first, lid);
        let place = rows_of(part, first_row, ty).terms.place;
#for j in RK
        let seen_$j = is_result(tile[$j]);
        let terms_$j = array_terms(
          given[$j],
          select(vec4f(0), tile[$j], seen_$j),
          place,
          column_of(first + tx + $j * TX),
        );
#end
#for s in SCATTERED
        workgroupBarrier();
#for j in RK
        slices[(tx + $j * TX) * TY + ty] = terms_$j.term_$s;
        indices[(tx + $j * TX) * TY + ty] =
          select(vec4u(NONE), sum_of(terms_$j.place_$s, terms_$j.index_$s), seen_$j);
#end
        workgroupBarrier();
        add_terms(base, lid);
#end
      }
    }
  }
}
