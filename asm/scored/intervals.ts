// What a mask function says of many queries and keys at once, by interval arithmetic: each node has the least and the greatest
// whole number that it may be. See src/scores/intervals.ts, which makes steps of functions.

import { ScoreProgram } from "../records.gen";

// What a mask function says: of none of them that it may be seen, of some, of all.
export const NEVER: i32 = 0;
export const MIXED: i32 = 1;
export const ALWAYS: i32 = 2;

const STEP: usize = 24;

// Elements that share a range of a table, and how many are looked at one by one.
const TOGETHER: usize = 8;
const FEW: i32 = 16;

// Tables have words for the address of each level, of which there are never more.
const LEVELS: usize = 32;

// An interval: two whole numbers.
@unmanaged
class Range {
  least: i32;
  greatest: i32;

  @inline
  set(least: i64, greatest: i64): void {
    // What is beyond 32 bits wraps around, and may then be anything.
    const fits = least >= i32.MIN_VALUE && greatest <= i32.MAX_VALUE;
    this.least = fits ? <i32>least : i32.MIN_VALUE;
    this.greatest = fits ? <i32>greatest : i32.MAX_VALUE;
  }

  @inline
  setBoth(least: bool, greatest: bool): void {
    this.least = <i32>least;
    this.greatest = <i32>greatest;
  }
}

// @ts-ignore: decorator
@inline
function rangeAt(ranges: usize, place: usize): Range {
  return changetype<Range>(ranges + place);
}

// The least and the greatest of four.
function around(to: Range, a: i64, b: i64, c: i64, d: i64): void {
  to.set(min(min(a, b), min(c, d)), max(max(a, b), max(c, d)));
}

// @ts-ignore: decorator
@inline
function floorOf(a: i64, b: i64): i64 {
  const quotient = a / b;
  return quotient * b > a != b < 0 && quotient * b != a ? quotient - 1 : quotient;
}

function multiply(to: Range, a: Range, b: Range): void {
  const a0 = <i64>a.least, a1 = <i64>a.greatest, b0 = <i64>b.least, b1 = <i64>b.greatest;
  around(to, a0 * b0, a0 * b1, a1 * b0, a1 * b1);
}

function divide(to: Range, a: Range, b: Range): void {
  const a0 = <i64>a.least, a1 = <i64>a.greatest, b0 = <i64>b.least, b1 = <i64>b.greatest;
  if (b0 <= 0 && b1 >= 0) to.set(i32.MIN_VALUE, i32.MAX_VALUE);
  else around(to, floorOf(a0, b0), floorOf(a0, b1), floorOf(a1, b0), floorOf(a1, b1));
}

function remain(to: Range, a: Range, b: Range): void {
  const a0 = <i64>a.least, a1 = <i64>a.greatest, b0 = <i64>b.least, b1 = <i64>b.greatest;
  // Within one round of one divisor it is what is above a multiple.
  if (b0 == b1 && b0 > 0 && floorOf(a0, b0) == floorOf(a1, b0)) {
    const below = b0 * floorOf(a0, b0);
    to.set(a0 - below, a1 - below);
  } else to.set(min<i64>(b0 + 1, 0), max<i64>(b1 - 1, 0));
}

function magnitude(to: Range, a: Range): void {
  const a0 = <i64>a.least, a1 = <i64>a.greatest;
  to.set(a0 <= 0 && a1 >= 0 ? 0 : min(abs(a0), abs(a1)), max(abs(a0), abs(a1)));
}

// The least and the greatest elements of a table from one to another; indices beyond are the nearest.
function gather(to: Range, index: Range, table: usize): void {
  const elements = <usize>load<u32>(table), last = load<i32>(table, 4);
  const from = min(max(index.least, 0), last), end = min(max(index.greatest, 0), last);
  let least = i32.MAX_VALUE, greatest = i32.MIN_VALUE;
  if (end - from < FEW) {
    for (let at = from; at <= end; at++) {
      const x = load<i32>(elements + (<usize>at << 2));
      least = min(least, x);
      greatest = max(greatest, x);
    }
    to.least = least;
    to.greatest = greatest;
    return;
  }
  const first = <u32>from / <u32>TOGETHER, count = <u32>end / <u32>TOGETHER - first + 1, level = 31 - clz(count);
  const entries = <usize>load<u32>(table + 8 + (<usize>level << 2));
  const one = entries + (<usize>first << 3), other = one + (<usize>(count - (1 << level)) << 3);
  to.least = min(load<i32>(one), load<i32>(other));
  to.greatest = max(load<i32>(one, 4), load<i32>(other, 4));
}

// @ts-ignore: decorator
@inline
function isAlways(c: Range): bool {
  return c.least == 1;
}

// @ts-ignore: decorator
@inline
function isNever(c: Range): bool {
  return c.greatest == 0;
}

// The order is that of `intervalKernels` in src/wasm/scored/ranges.ts.
function take(kernel: u32, to: Range, a: Range, b: Range, c: Range): void {
  const a0 = a.least, a1 = a.greatest, b0 = b.least, b1 = b.greatest;
  switch (kernel) {
    case 0: to.set(<i64>a0 + b0, <i64>a1 + b1); break;
    case 1: to.set(<i64>a0 - b1, <i64>a1 - b0); break;
    case 2: multiply(to, a, b); break;
    case 3: divide(to, a, b); break;
    case 4: remain(to, a, b); break;
    case 5: to.set(min(a0, b0), min(a1, b1)); break;
    case 6: to.set(max(a0, b0), max(a1, b1)); break;
    case 7: magnitude(to, a); break;
    case 8: to.set(-<i64>a1, -<i64>a0); break;
    case 9: to.setBoth(a1 < b0, a0 < b1); break;
    case 10: to.setBoth(a1 <= b0, a0 <= b1); break;
    case 11: to.setBoth(a0 == a1 && b0 == b1 && a0 == b0, a0 <= b1 && b0 <= a1); break;
    case 12: to.set(a0 & b0, a1 & b1); break;
    case 13: to.set(a0 | b0, a1 | b1); break;
    case 14: to.set(1 - a1, 1 - a0); break;
    case 15: {
      const only = isAlways(a) ? b : c;
      if (isAlways(a) || isNever(a)) to.set(only.least, only.greatest);
      else to.set(min(b0, c.least), max(b1, c.greatest));
      break;
    }
    default: gather(to, a, changetype<usize>(c));
  }
}

// Writes what stays the same for all ranges of a job.
export function beginRanges(program: ScoreProgram, ranges: usize, batch: i32, head: i32): void {
  for (let at = program.ranges; at < program.rangesEnd; at += 12) {
    rangeAt(ranges, load<u32>(at)).set(load<i32>(at, 4), load<i32>(at, 8));
  }
  if (program.bRange != 0) rangeAt(ranges, program.bRange).set(batch, batch);
  if (program.hRange != 0) rangeAt(ranges, program.hRange).set(head, head);
}

// Takes steps.
function takeSteps(ranges: usize, at: usize, end: usize): void {
  for (; at < end; at += STEP) {
    const table = load<u32>(at, 20);
    const c = table == 0 ? rangeAt(ranges, load<u32>(at, 16)) : changetype<Range>(<usize>table);
    take(load<u32>(at), rangeAt(ranges, load<u32>(at, 4)), rangeAt(ranges, load<u32>(at, 8)),
      rangeAt(ranges, load<u32>(at, 12)), c);
  }
}

// The queries that are asked of from now on: q0..q1, the last one included.
export function setQueries(program: ScoreProgram, ranges: usize, q0: i32, q1: i32): void {
  if (program.qRange != 0) rangeAt(ranges, program.qRange).set(q0, q1);
  takeSteps(ranges, program.querySteps, program.queryStepsEnd);
}

// What the mask says of these and the keys k0..k1, the last one included.
export function classify(program: ScoreProgram, ranges: usize, k0: i32, k1: i32): i32 {
  if (program.kRange != 0) rangeAt(ranges, program.kRange).set(k0, k1);
  takeSteps(ranges, program.steps, program.stepsEnd);
  const result = rangeAt(ranges, program.result);
  return isNever(result) ? NEVER : isAlways(result) ? ALWAYS : MIXED;
}

// Bytes of the table of an array's least and greatest elements.
export function tableBytes(length: usize): usize {
  let bytes: usize = 8 + (LEVELS << 2);
  const groups = (length + TOGETHER - 1) / TOGETHER;
  for (let span: usize = 1; span <= groups; span <<= 1) bytes += (groups - span + 1) << 3;
  return bytes;
}

// Fills it: the array's address, its last index, addresses of levels; of each level the least and the greatest of 8, 16, 32,
// ... elements from each multiple of 8 on.
export function fillTable(elements: usize, length: usize, table: usize): void {
  const groups = (length + TOGETHER - 1) / TOGETHER;
  let entries = table + 8 + (LEVELS << 2), at = entries;
  store<u32>(table, <u32>elements);
  store<u32>(table, <u32>length - 1, 4);
  store<u32>(table, <u32>entries, 8);
  for (let first: usize = 0; first < length; first += TOGETHER, at += 8) {
    let least = i32.MAX_VALUE, greatest = i32.MIN_VALUE;
    for (let index = first; index < min(first + TOGETHER, length); index++) {
      const x = load<i32>(elements + (index << 2));
      least = min(least, x);
      greatest = max(greatest, x);
    }
    store<i32>(at, least);
    store<i32>(at, greatest, 4);
  }
  for (let span: usize = 2, level: usize = 1; span <= groups; span <<= 1, level++) {
    store<u32>(table + (level << 2), <u32>at, 8);
    const half = (span >> 1) << 3;
    for (const end = at + ((groups - span + 1) << 3); at < end; at += 8, entries += 8) {
      store<i32>(at, min(load<i32>(entries), load<i32>(entries + half)));
      store<i32>(at, max(load<i32>(entries, 4), load<i32>(entries + half, 4)), 4);
    }
    entries = at - ((groups - span + 1) << 3);
  }
}
