// at_$TENSOR(batch, head, row): the element of $TENSOR where a row begins.

fn at_$TENSOR(batch: u32, head: u32, row: u32) -> u32 {
  return p.$TENSOR_at + batch * p.$TENSOR_batch + head * p.$TENSOR_head + row * p.$TENSOR_row;
}
