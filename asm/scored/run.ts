// A run of a program: what it is of, and the operands of the instruction that is done.

@unmanaged
export class Run {
  // Instructions, and where they end.
  at: usize;
  end: usize;
  registers: usize;
  // Scores [keys][8] of a panel, where that of the tile's first key is or would be.
  scores: usize;
  // Gradients of them, likewise.
  dScores: usize;
  // The key and the panel of queries that scores begin with.
  key: usize;
  panel: usize;
  // How many times eight numbers.
  n: usize;
  to: usize;
  a: usize;
  b: usize;
  c: usize;
  // Bytes from each eight numbers to the next; of a table its address and its elements.
  aStep: usize;
  bStep: usize;
  cStep: usize;
}
