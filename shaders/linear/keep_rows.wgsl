// The last rows of a head, as many as taps are on before a row's own: what comes before the rows of the next call. Rows
// that are not there are 0.

#import shared/parameters.wgsl
#import linear/around.wgsl
#import shared/store.wgsl TENSOR=after BINDING=4 COLUMNS=p.columns

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lid: u32) {
  let row = i32(p.total + group.x) - i32(p.past);
  for (var index = lid; index < p.vectors; index += THREADS) {
    var four = vec4f(0);
    if (is_there(row)) {
      four = load_row(group.z, group.y, row, index);
    }
    store_after(at_after(group.z, group.y, group.x), index, four);
  }
}
