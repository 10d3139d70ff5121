// What a row's gradients need of all its keys: its log-sum-exp, delta = dOut . out - dLse (arXiv
// 2205.14135, algorithm 4, line 4), and what rounding took from the first. One thread for each row; the three
// lie in the tables, side by side.

#import shared/parameters.wgsl
#import shared/load.wgsl TENSOR=q BINDING=1
#import shared/load.wgsl TENSOR=k BINDING=2
#if D_LSE
#import shared/load.wgsl TENSOR=v BINDING=3
#end
#import shared/load.wgsl TENSOR=d_out BINDING=5
#if REST
#import shared/load.wgsl TENSOR=bias BINDING=6
#end
@group(0) @binding(8) var<storage, read_write> tables: array<u32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let row = id.x;
  if (row >= p.end_row) {
    return;
  }
  let out_at = p.q_at + id.z * p.q_batch + id.y * p.q_head + row * p.q_row;
  let d_out_at = p.d_out_at + id.z * p.d_out_batch + id.y * p.d_out_head + row * p.d_out_row;
  var sum = vec4f(0);
  for (var index = 0u; index < p.value_vectors; index++) {
    sum += load_q(out_at, index, p.value_dim) * load_d_out(d_out_at, index, p.value_dim);
  }
  var delta = (sum.x + sum.y) + (sum.z + sum.w);
#if D_LSE
  delta -= load_v(p.v_at + id.z * p.v_batch + id.y * p.v_head + row * p.v_row, 0, 1).x;
#end
  let lse = load_k(p.k_at + id.z * p.k_batch + id.y * p.k_head + row * p.k_row, 0, 1).x;
  // A row that sees nothing has minus infinity.
  let is_empty = bitcast<u32>(lse) == 0xff800000;
  var rest = 0.0;
#if REST
  let known = load_bias(p.bias_at + id.z * p.bias_batch + id.y * p.bias_head + row * p.bias_row, 0, 1).x;
  rest = select(0.0, known, (bitcast<u32>(known) & 0x7fffffff) < 0x7f800000);
#end
  let at = p.rows_at + 3 * (id.z * p.l_batch + id.y * p.l_head + row);
  tables[at] = bitcast<u32>(select(lse, 0.0, is_empty));
  tables[at + 1] = bitcast<u32>(select(delta, 0.0, is_empty));
  tables[at + 2] = bitcast<u32>(rest);
}
