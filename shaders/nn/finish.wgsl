// finish(row, vector, sum): what becomes of sums of products. Vectors are counted from the first that is bound of the
// weight.

#import nn/activate.wgsl
#import shared/load.wgsl TENSOR=base BINDING=5
#import nn/input.wgsl TENSOR=y BINDING=6
#import shared/store.wgsl TENSOR=out BINDING=4 COLUMNS=p.outputs

fn finish(row: u32, vector: u32, total: vec4f) {
  let index = p.first_vector + vector;
  var four = total;
  if (p.has_base == 1) {
    four += load_base(p.base_at, index, p.outputs);
  }
  four = activate(four);
  if (p.has_y == 1) {
    four += load_y(at_y(0, 0, row), index, p.outputs);
  }
  store_out(at_out(0, 0, row), index, four);
}
