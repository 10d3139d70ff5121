// stage_$TENSOR(part, first, start, to, lid): SLICE vectors from `start` on, of the BC keys from `first` on, as
// [vector][key] in `slices`, from vector `to` on.

#import shared/load.wgsl TENSOR=$TENSOR BINDING=$BINDING

fn stage_$TENSOR(part: Part, first: u32, start: u32, to: u32, lid: u32) {
  let column = lid % SLICE;
  for (var t = 0u; t < SLICE * BC / THREADS; t++) {
    let at = lid / SLICE % (THREADS / SLICE) + t * (THREADS / SLICE);
    let row = part.$TENSOR + min(first + at, part.end_key - 1) * p.$TENSOR_row;
    slices[(to + column) % VALUES * (BC + 1) + at] = load_$TENSOR(row, start + column, $EXTENT);
  }
}
