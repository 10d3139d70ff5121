// stage_$TENSOR(part, first, start, to, lid): SLICE vectors from `start` on, of the BR rows from `first` on, as
// [vector][row] in `slices`, from vector `to` on.

#import shared/load.wgsl TENSOR=$TENSOR BINDING=$BINDING

fn stage_$TENSOR(part: Part, first: u32, start: u32, to: u32, lid: u32) {
  let column = lid % SLICE;
  for (var t = 0u; t < SLICE * BR / THREADS; t++) {
    let at = lid / SLICE % (THREADS / SLICE) + t * (THREADS / SLICE);
    let r = min(first + at, part.end_row - 1);
    let row = part.$TENSOR + r % p.group * p.$TENSOR_head + r / p.group * p.$TENSOR_row;
    slices[(to + column) % VALUES * (BR + 1) + at] = load_$TENSOR(row, start + column, $EXTENT);
  }
}
