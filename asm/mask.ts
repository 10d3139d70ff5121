// Masks: which keys each of the eight queries of a panel sees. Bands (causal, window, key lengths)
// are bounds, two numbers per query: keys first <= j < end.

// The lanes that see key `key`, as all ones.

// @ts-ignore: decorator
@inline
export function visible(bounds: usize, key: i32): v128 {
  const j = i32x4.splat(key);
  return v128.and(
    i32x4.le_s(v128.load(bounds), j),
    i32x4.gt_s(v128.load(bounds, 32), j),
  );
}

// Scores of the keys from..to become -inf where a query does not see the key.
export function maskScores(scores: usize, bounds: usize, from: i32, to: i32): void {
  const masked = f32x4.splat(-Infinity);
  for (let key = from; key < to; key++) {
    v128.store(scores, v128.bitselect(v128.load(scores), masked, visible(bounds, key)));
    v128.store(scores, v128.bitselect(v128.load(scores, 16), masked, visible(bounds + 16, key)), 16);
    scores += 32;
  }
}

// Whether the values of the keys from..to are all finite. Where one is not, it must not be
// multiplied by the 0 weight of a query that does not see it.
export function finiteValues(v: usize, row: usize, columns: usize, dim: usize, from: usize, to: usize): bool {
  let sum = f32x4.splat(0);
  for (let group: usize = 0; group < dim; group += 4) {
    // Counted by key, since rows may lie on top of each other (stride 0).
    for (let key = from, at = v + from * row; key < to; key++, at += row) {
      const x = v128.load(at);
      sum = f32x4.add(sum, f32x4.sub(x, x)); // 0, or NaN for an infinity or NaN
    }
    v += columns;
  }
  return v128.any_true(f32x4.ne(sum, sum)) == false;
}
