// What a row's gradients need of all its keys: its log-sum-exp, delta = dOut . out - dLse (arXiv
// 2205.14135, algorithm 4, line 4), and what rounding took from the first. One thread for each row; the three
// lie in the tables, side by side.

#import shared/parameters.wgsl
#import shared/place.wgsl TENSOR=rows
#import shared/load.wgsl TENSOR=out BINDING=1
#import shared/load.wgsl TENSOR=lse BINDING=2
#if D_LSE
#import shared/load.wgsl TENSOR=d_lse BINDING=3
#end
#import shared/load.wgsl TENSOR=d_out BINDING=5
#if REST
#import shared/load.wgsl TENSOR=lse_rest BINDING=6
#end
@group(0) @binding(8) var<storage, read_write> tables: array<u32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let row = id.x;
  if (row >= p.end_row) {
    return;
  }
  let out_row = at_out(id.z, id.y, row);
  let d_out_row = at_d_out(id.z, id.y, row);
  var sum = vec4f(0);
  for (var index = 0u; index < p.value_vectors; index++) {
    sum += load_out(out_row, index, p.value_dim) * load_d_out(d_out_row, index, p.value_dim);
  }
  var delta = (sum.x + sum.y) + (sum.z + sum.w);
#if D_LSE
  delta -= load_d_lse(at_d_lse(id.z, id.y, row), 0, 1).x;
#end
  let row_lse = load_lse(at_lse(id.z, id.y, row), 0, 1).x;
  // A row that sees nothing has minus infinity.
  let is_empty = bitcast<u32>(row_lse) == 0xff800000;
  var rest = 0.0;
#if REST
  let known = load_lse_rest(at_lse_rest(id.z, id.y, row), 0, 1).x;
  rest = select(0.0, known, (bitcast<u32>(known) & 0x7fffffff) < 0x7f800000);
#end
  let at = at_rows(id.z, id.y, row);
  tables[at] = bitcast<u32>(select(row_lse, 0.0, is_empty));
  tables[at + 1] = bitcast<u32>(select(delta, 0.0, is_empty));
  tables[at + 2] = bitcast<u32>(rest);
}
