// Reading what is added to scores and what hides them: a bias and a mask, as they lie.

@group(0) @binding(6) var<storage, read> bias: array<f32>;
@group(0) @binding(7) var<storage, read> mask: array<u32>;

fn read_bias(at: vec4u) -> vec4f {
  return vec4f(bias[at.x], bias[at.y], bias[at.z], bias[at.w]);
}

/// A bias of minus infinity masks.
fn is_added(added: vec4f) -> vec4<bool> {
  return bitcast<vec4u>(added) != vec4u(0xff800000);
}

/// Elements are bytes or bits: `mask_shift` is log2 of how many are in a word.
fn read_mask(at: vec4u) -> vec4<bool> {
  let words = at >> vec4u(p.mask_shift);
  let four = vec4u(mask[words.x], mask[words.y], mask[words.z], mask[words.w]);
  let places = (at & vec4u((1u << p.mask_shift) - 1)) << vec4u(5 - p.mask_shift);
  return ((four >> places) & vec4u(p.mask_ones)) != vec4u(0);
}
