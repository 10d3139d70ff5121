// The ceiling: C = A^T B in f32 with a tile of C in registers, the best case of what attention's two
// products are made of. A is [depth][rows], so that both operands are staged as they lie; SIZE is a
// multiple of every tile, so that nothing is guarded.
//
// A thread owns 4 * RM rows and 4 * RN columns, TX by TY threads (THREADS) a tile, BK steps of the
// depth in workgroup memory at once.

@group(0) @binding(0) var<storage, read> a: array<vec4f>;
@group(0) @binding(1) var<storage, read> b: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> c: array<vec4f>;

var<workgroup> a_tile: array<vec4f, BK * TY * RM>;
var<workgroup> b_tile: array<vec4f, BK * TX * RN>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) tile: vec3u, @builtin(local_invocation_index) lid: u32) {
  let tx = lid % TX;
  let ty = lid / TX;
#for i in RM
#for r in 4
#for j in RN
  var acc_$i_$r_$j = vec4f(0);
#end
#end
#end

  for (var depth = 0u; depth < SIZE; depth += BK) {
    workgroupBarrier();
    for (var t = 0u; t < BK * RM / TX; t++) {
      let at = lid + t * THREADS;
      a_tile[at] = a[(depth + at / (TY * RM)) * (SIZE / 4) + tile.y * (TY * RM) + at % (TY * RM)];
    }
    for (var t = 0u; t < BK * RN / TY; t++) {
      let at = lid + t * THREADS;
      b_tile[at] = b[(depth + at / (TX * RN)) * (SIZE / 4) + tile.x * (TX * RN) + at % (TX * RN)];
    }
    workgroupBarrier();
    for (var k = 0u; k < BK; k++) {
#for i in RM
      let a_$i = a_tile[k * (TY * RM) + ty + $i * TY];
#end
#for j in RN
      let b_$j = b_tile[k * (TX * RN) + tx + $j * TX];
#end
#for i in RM
#for r in 4
#for j in RN
      acc_$i_$r_$j += a_$i[$r] * b_$j;
#end
#end
#end
    }
  }

#for i in RM
#for r in 4
#for j in RN
  c[(4 * (tile.y * (TY * RM) + ty + $i * TY) + $r) * (SIZE / 4) + tile.x * (TX * RN) + tx + $j * TX] =
    acc_$i_$r_$j;
#end
#end
#end
}
