// bytes_of(four): whole numbers as the bytes of a word, the first in the lowest. LEAST: what is below is as nothing, 2^-50.

const LEAST: f32 = 8.881784197001252e-16;

fn bytes_of(four: vec4i) -> u32 {
  let bytes = (vec4u(four) & vec4u(255)) << vec4u(0, 8, 16, 24);
  return bytes.x | bytes.y | bytes.z | bytes.w;
}
