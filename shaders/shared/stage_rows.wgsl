// stage_$TENSOR(part, first, start, lid): SLICE vectors from `start` on, of the BR rows from `first` on, as
// [vector][row] in `row_slice`.

#import shared/load.wgsl TENSOR=$TENSOR BINDING=$BINDING

fn stage_$TENSOR(part: Part, first: u32, start: u32, lid: u32) {
  for (var t = 0u; t < SLICE * BR / THREADS; t++) {
    let i = lid + t * THREADS;
    let row = min(first + i / SLICE, part.end_row - 1);
    let at = part.$TENSOR + row % p.group * p.$TENSOR_head + row / p.group * p.$TENSOR_row;
    row_slice[i % SLICE * (BR + 1) + i / SLICE] = load_$TENSOR(at, start + i % SLICE, $EXTENT);
  }
}
