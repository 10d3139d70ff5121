// Runs programs of score and mask functions: instructions of eight words, whose kernels work on many numbers at once. See
// src/wasm/scored/encode.ts, which writes them.

import { runKernel } from "./kernels.gen";
import { Run } from "./run";

const INSTRUCTION: usize = 32;

// How operands of a tile move: not, with the keys, with the queries, or with both, and gradients with the keys; bytes for a key, and for eight queries.
// Only the program that has them keeps them.

// @ts-ignore: decorator
@lazy
const BY_KEY: usize = memory.data<i32>([0, 32, 0, 4, -4, 32, 32], 16);

// @ts-ignore: decorator
@lazy
const BY_PANEL: usize = memory.data<i32>([0, 0, 32, 0, 32, 0, 0], 16);

// Those that move so are scores, and gradients of scores.
const SCORES: usize = 1 << 2;
const D_SCORES: usize = 5 << 2;

// An operand's first number: its move is in the highest byte of the word, its offset from the registers in the others.

// @ts-ignore: decorator
@inline
function placeOf(run: Run, operand: u32): usize {
  const move = <usize>(operand >> 24) << 2, offset = <usize>(operand & 0xffffff);
  const base = move == SCORES ? run.scores : move == D_SCORES ? run.dScores : run.registers;
  return base + offset + run.key * <usize>load<i32>(BY_KEY + move) +
    run.panel * <usize>load<i32>(BY_PANEL + move);
}

// Does the instructions.
export function runProgram(run: Run): void {
  const end = run.end;
  for (let at = run.at; at < end; at += INSTRUCTION) {
    run.to = placeOf(run, load<u32>(at, 4));
    run.a = placeOf(run, load<u32>(at, 8));
    run.b = placeOf(run, load<u32>(at, 12));
    run.c = placeOf(run, load<u32>(at, 16));
    run.aStep = load<u32>(at, 20);
    run.bStep = load<u32>(at, 24);
    run.cStep = load<u32>(at, 28);
    runKernel(load<u32>(at), run);
  }
}
