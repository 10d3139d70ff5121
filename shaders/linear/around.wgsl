// Rows around others: those of a head, counted from its first, and the rows before that, where there are any.

#import shared/load.wgsl TENSOR=v BINDING=1
#if BEFORE
#import shared/load.wgsl TENSOR=before BINDING=3
#end

/// Whether there is such a row. Rows before the first are numbers below 0.
fn is_there(row: i32) -> bool {
#if BEFORE
  return row + i32(p.past) >= 0 && row < i32(p.total);
#else
  return row >= 0 && row < i32(p.total);
#end
}

/// Four columns of a row that is there.
fn load_row(batch: u32, head: u32, row: i32, index: u32) -> vec4f {
#if BEFORE
  if (row < 0) {
    return load_before(at_before(batch, head, u32(row + i32(p.past))), index, p.columns);
  }
#end
  return load_v(at_v(batch, head, u32(row) - p.v_first), index, p.columns);
}
