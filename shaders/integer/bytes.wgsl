// bytes_of(four): whole numbers as the bytes of a word, the first in the lowest.

fn bytes_of(four: vec4i) -> u32 {
  let bytes = (vec4u(four) & vec4u(255)) << vec4u(0, 8, 16, 24);
  return bytes.x | bytes.y | bytes.z | bytes.w;
}
