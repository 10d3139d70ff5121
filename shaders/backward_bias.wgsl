// The gradient with respect to a bias: dS, summed over the axes along which the bias was broadcast. A workgroup owns a
// tile of the bias's own rows and keys, one row or key of it where all share one, and goes through all
// that is summed: segments, heads, tiles of rows, tiles of keys.

#import shared/gradients.wgsl
#import shared/place.wgsl TENSOR=gradient
@group(0) @binding(4) var<storage, read_write> d_bias: array<f32>;

/// Sums of 4 rows, [key][ty].
var<workgroup> sums: array<vec4f, BC * TY>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group_id: vec3u, @builtin(local_invocation_index) lid: u32) {
  let tx = lid % TX;
  let ty = lid / TX;
  let own_row = group_id.x % p.tiles * BR;
  let own_key = group_id.x / p.tiles * BC;
  let one_row = p.gradient_row == 0;
  let one_key = p.gradient_column == 0;
#for j in RK
  var sum_$j = vec4f(0);
  var rest_$j = vec4f(0);
#end

  let end_index = select(group_id.z + 1, p.sum_segments, p.sum_segments > 0);
  let end_head = select(group_id.y + 1, p.query_heads, p.sum_heads > 0);
  for (var index = group_id.z; index < end_index; index++) {
    for (var head = group_id.y; head < end_head; head++) {
      let part = part_of(index, head);
      let end_row = min(part.end_row, select(own_row + BR, part.end_row, one_row));
      let end_key = min(part.end_key, select(own_key + BC, part.end_key, one_key));
      for (var first_row = own_row; first_row < end_row; first_row += BR) {
        for (var first = own_key; first < end_key; first += BC) {
#if SCORED
          let kind = kind_at(part, first_row, first);
#else
          let kind = MIXED;
#end
          let look = look_at(part, first_row, first, kind);
          if (!look.is_visited) {
            continue;
          }
          let tile = gradients_of(part, look, first_row, first, lid);
#for j in RK
          {
            let term = rest_$j + select(vec4f(0), tile[$j], is_result(tile[$j]));
            let next = sum_$j + term;
            rest_$j = taken(sum_$j, term, next);
            sum_$j = next;
          }
#end
        }
      }
    }
  }
#for j in RK
  sums[(tx + $j * TX) * TY + ty] = sum_$j;
#end
  workgroupBarrier();

  let part = part_of(group_id.z, group_id.y);
  // Of the keys that several segments share, the first need not have all.
  let end_key = select(part.end_key, p.keys_end, p.sum_segments > 0);
  let base = at_gradient(part.segment.batch, group_id.y, part.segment.row) + part.key_shift * p.gradient_column;
  let height = select(BR, 1u, one_row);
  let width = select(BC, 1u, one_key);
  for (var i = lid; i < height * width; i += THREADS) {
    let row = i % height;
    let key = i / height;
    if ((one_row || own_row + row < part.end_row) && (one_key || own_key + key < end_key)) {
      var sum = 0.0;
      for (var x = key; x < select(key + 1, BC, one_key); x++) {
        var of_key = 0.0;
        for (var y = row; y < select(row + 1, BR, one_row); y++) {
          of_key += sums[x * TY + y / 4][y % 4];
        }
        sum += of_key;
      }
      // Other dispatches may have summed others, before.
      d_bias[base + (own_row + row) * p.gradient_row + (own_key + key) * p.gradient_column] += sum;
    }
  }
}
