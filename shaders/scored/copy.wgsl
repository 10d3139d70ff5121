// Copies an array that functions read behind the tables, where they have room for it.

#import shared/parameters.wgsl
@group(0) @binding(1) var<storage, read> elements_of: array<u32>;
@group(0) @binding(8) var<storage, read_write> tables: array<u32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  for (var i = id.x; i < p.count; i += groups.x * THREADS) {
    tables[p.copy_at + i] = elements_of[i];
  }
}
