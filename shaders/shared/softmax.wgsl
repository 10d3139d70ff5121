// Online softmax: m is the running maximum and l the running sum. Scores are in powers of two where
// they are scaled products (log2(e) is in the scale then, and `p.to_base_two` is 1), else in powers of
// e, where biases and sinks stay as they are given.

/// Stands for minus infinity, which WGSL may take as never happening. No score is below: people mask
/// with the lowest number, which in powers of two would not be one.
const LOWEST: f32 = -3.4028234663852886e38;
/// In place of the weight of a key that a row does not see, which is not to be mistaken for one of 0:
/// 0 * NaN leaves a trace.
const UNSEEN: f32 = -1.0;
/// Keys, a whole number of tiles, that are summed before they are added to what there is: errors of equal terms
/// all go one way.
const RUN: u32 = 64;

/// What rounding takes from `sum + added`, which became `next` (Kahan 1965): the next run begins with it. Of
/// infinities there is nothing to keep.
fn taken(sum: vec4f, added: vec4f, next: vec4f) -> vec4f {
  // Compilers, Mesa's among them, take (sum + added) - sum for `added`: a 0 that they do not know hides it.
  let bits = bitcast<vec4u>(next) ^ vec4u(bitcast<u32>(p.minus_infinity) ^ 0xff800000);
  let is_finite = (bits & vec4u(0x7f800000)) != vec4u(0x7f800000);
  return select(vec4f(0), added - (bitcast<vec4f>(bits) - sum), is_finite);
}

/// The maximum that is subtracted stays until some weight would be above e: what was summed is not rounded
/// anew with each small step of it.
fn raised(m: vec4f, next: vec4f) -> vec4f {
  return select(m, next, next > m + 1);
}

#if REDUCE
/// What each of the TX threads of a row has, four rows a vector.
alias Fours = array<vec4f, G>;

#if SUBGROUPS
// The TX threads of a row are neighbours in one subgroup.
fn across_max(values: Fours, tx: u32, ty: u32) -> Fours {
  var all = values;
  for (var step = 1u; step < TX; step *= 2) {
#for g in G
    all[$g] = max(all[$g], subgroupShuffleXor(all[$g], step));
#end
  }
  return all;
}

fn across_sum(values: Fours, tx: u32, ty: u32) -> Fours {
  var all = values;
  for (var step = 1u; step < TX; step *= 2) {
#for g in G
    all[$g] += subgroupShuffleXor(all[$g], step);
#end
  }
  return all;
}
#else
// Places are taken modulo what they are less than: compilers that see where an index ends leave their own bounds out.
var<workgroup> exchange: array<vec4f, TX * TY * G>;

/// Largest over the TX threads of a row. Barriers of the loop around it keep its uses apart.
fn across_max(values: Fours, tx: u32, ty: u32) -> Fours {
  var all = values;
#for g in G
  exchange[(tx % TX * TY + ty % TY) * G + $g] = all[$g];
#end
  workgroupBarrier();
  for (var x = 0u; x < TX; x++) {
#for g in G
    all[$g] = max(all[$g], exchange[(x * TY + ty % TY) * G + $g]);
#end
  }
  return all;
}

fn across_sum(values: Fours, tx: u32, ty: u32) -> Fours {
  workgroupBarrier();
#for g in G
  exchange[(tx % TX * TY + ty % TY) * G + $g] = values[$g];
#end
  workgroupBarrier();
  var all = Fours();
  for (var x = 0u; x < TX; x++) {
#for g in G
    all[$g] += exchange[(x * TY + ty % TY) * G + $g];
#end
  }
  return all;
}
#end
#end
