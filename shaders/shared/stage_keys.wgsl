// stage_$TENSOR(part, first, start, lid): SLICE vectors from `start` on, of the BC keys from `first` on, as
// [vector][key] in `key_slice`.

#import shared/load.wgsl TENSOR=$TENSOR BINDING=$BINDING

fn stage_$TENSOR(part: Part, first: u32, start: u32, lid: u32) {
  for (var t = 0u; t < SLICE * BC / THREADS; t++) {
    let i = lid + t * THREADS;
    let at = part.$TENSOR + min(first + i / SLICE, part.end_key - 1) * p.$TENSOR_row;
    key_slice[i % SLICE * (BC + 1) + i / SLICE] = load_$TENSOR(at, start + i % SLICE, $EXTENT);
  }
}
