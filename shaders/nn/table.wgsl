// Rows of a table by their ids, or outputs of a packed weight, times a scale. One thread for four neighbours.

#import shared/parameters.wgsl
#if PACKED
#import nn/weight.wgsl
#else
#import shared/load.wgsl TENSOR=x BINDING=1
#end
#import shared/store.wgsl TENSOR=out BINDING=4 COLUMNS=p.inputs

@group(0) @binding(6) var<storage, read> ids: array<u32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let row = id.x / p.units;
  let index = id.x % p.units;
  if (row >= p.rows) {
    return;
  }
  let wanted = ids[row];
#if PACKED
  let by_output = transpose(load_weights(wanted / 4, index));
  let four = by_output[wanted % 4];
#else
  let four = load_x(at_x(0, 0, wanted), index, p.inputs);
#end
  store_out(at_out(0, 0, row), index, four * p.scale);
}
