// Packs a weight in floats as it is multiplied: see nn/weight.wgsl. A thread has four outputs, and four inputs of each;
// of bytes a block of 32 inputs.

#import shared/parameters.wgsl
#import shared/load.wgsl TENSOR=x BINDING=1

fn row_of(output: u32, unit: u32) -> vec4f {
  if (output >= p.outputs) {
    return vec4f(0);
  }
  return load_x(at_x(0, 0, output), unit, p.inputs);
}

#if WEIGHT_INT8
@group(0) @binding(4) var<storage, read_write> packed: array<vec4u>;
@group(0) @binding(5) var<storage, read_write> scales: array<vec4f>;

/// A quotient, where devices may be off by more than one rounding.
fn divided(a: vec4f, b: f32) -> vec4f {
  let inverse = 1 / b;
  let near = a * inverse;
  return fma(fma(-near, vec4f(b), a), vec4f(inverse), near);
}

/// What a block of an output is multiplied with; NaN where a number of it is not finite.
fn scale_of(output: u32, block: u32) -> f32 {
  var most = vec4f(0);
  var is_finite = true;
  for (var unit = 8 * block; unit < 8 * block + 8; unit++) {
    let four = abs(row_of(output, unit));
    is_finite &= all(bitcast<vec4u>(four) < vec4u(0x7f800000));
    most = max(most, four);
  }
  let largest = max(max(max(most.x, most.y), max(most.z, most.w)), 1e-30);
  return select(p.not_a_number, divided(vec4f(largest), 127).x, is_finite);
}

fn word_of(four: vec4f, scale: f32) -> u32 {
  let bytes = vec4u(vec4i(round(clamp(divided(four, scale), vec4f(-127), vec4f(127))))) & vec4u(255);
  return bytes.x | (bytes.y << 8) | (bytes.z << 16) | (bytes.w << 24);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let block = id.x;
  let vector = id.y;
  if (block >= p.units) {
    return;
  }
  var scale = vec4f(0);
#for i in 4
  scale[$i] = scale_of(4 * vector + $i, block);
#end
  scales[(vector / 2 * p.units + block) * 4 + vector % 2] = scale;
  for (var unit = 8 * block; unit < 8 * block + 8; unit++) {
    var words = vec4u(0);
#for i in 4
    words[$i] = word_of(row_of(4 * vector + $i, unit), scale[$i]);
#end
    packed[(vector / 2 * p.units * 8 + unit) * 2 + vector % 2] = words;
  }
}
#else
#if WEIGHT_F32
@group(0) @binding(4) var<storage, read_write> packed: array<vec4f>;

fn write_four(at: u32, four: vec4f) {
  packed[at] = four;
}
#else
@group(0) @binding(4) var<storage, read_write> packed: array<vec2u>;

#import shared/narrow.wgsl TENSOR=packed

fn write_four(at: u32, four: vec4f) {
  packed[at] = vec2u(
    narrow_packed(four.x) | (narrow_packed(four.y) << 16),
    narrow_packed(four.z) | (narrow_packed(four.w) << 16),
  );
}
#end

@compute @workgroup_size(THREADS)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let unit = id.x;
  let vector = id.y;
  if (unit >= p.units) {
    return;
  }
#for i in 4
  let row_$i = row_of(4 * vector + $i, unit);
#end
  let first = (vector / 2 * p.inputs + 4 * unit) * 2 + vector % 2;
#for j in 4
  if (4 * unit + $j < p.inputs) {
    write_four(first + $(2*j), vec4f(row_0[$j], row_1[$j], row_2[$j], row_3[$j]));
  }
#end
}
#end
