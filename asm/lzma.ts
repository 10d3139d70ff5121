// Decompressing LZMA (the specification in Igor Pavlov's LZMA SDK): the library's binaries come
// compressed. A module of its own, compiled before them and dropped: in JavaScript, which has not been
// run before, the same takes 4 to 8 ms more.
//
// Of the parameters that a stream may choose these are fixed: lc = 3, lp = 0, pb = 2.

// Probabilities of a bit to be 0, of 2048, by what it tells. Those of a tree of bits begin at its root,
// which has the index 1: so 0 is free, or another's.
const IS_MATCH: usize = 0; // [state][position % 4 of 16]
const IS_REPEATED: usize = IS_MATCH + 12 * 16; // [state]
const IS_SECOND: usize = IS_REPEATED + 12; // [state]
const IS_THIRD: usize = IS_SECOND + 12; // [state]
const IS_FOURTH: usize = IS_THIRD + 12; // [state]
const IS_LONG: usize = IS_FOURTH + 12; // [state][position % 4 of 16]
const DISTANCE_CLASS: usize = IS_LONG + 12 * 16; // [length, 4 of them][tree of 6 bits]
const DISTANCE: usize = DISTANCE_CLASS + 4 * 64; // [tree of each class], side by side
const ALIGNED: usize = DISTANCE + 115; // [tree of 4 bits]
const LENGTH: usize = ALIGNED + 16;
const REPEATED_LENGTH: usize = LENGTH + 2 + 2 * 4 * 8 + 256;
const LITERAL: usize = REPEATED_LENGTH + 2 + 2 * 4 * 8 + 256; // [byte before / 32][3 trees of 8 bits]
const COUNT: usize = LITERAL + 8 * 0x300;

const probabilities = memory.data(<i32>COUNT * 2);

/** States from here on follow a match. */
const MATCHED: u32 = 7;

// The range coder: where in the range the code is tells bit after bit.
let range: u32 = 0;
let code: u32 = 0;
let next: usize = 0;

// How far back the last matches were, the latest first.
let first: usize = 0;
let second: usize = 0;
let third: usize = 0;
let fourth: usize = 0;

/** The first byte that is free: the source may begin there. */
export function heapBase(): usize {
  return __heap_base;
}

// What follows is written for engines that run it once, before they have optimized anything: what is hot
// stands in locals, and one bit is read without the loop of a tree, a fifth less time in all.

function readBit(index: usize): u32 {
  const at = probabilities + (index << 1), probability: u32 = load<u16>(at);
  const r = range, c = code, bound = (r >> 11) * probability;
  if (c < bound) {
    store<u16>(at, probability + ((2048 - probability) >> 5));
    narrow(bound, c);
    return 0;
  }
  store<u16>(at, probability - (probability >> 5));
  narrow(r - bound, c - bound);
  return 1;
}

/** Goes on with a part of the range. */
// @ts-ignore: decorator
@inline
function narrow(r: u32, c: u32): void {
  if (r < 1 << 24) {
    range = r << 8;
    code = (c << 8) | load<u8>(next++);
  } else {
    range = r;
    code = c;
  }
}

/** Goes on in a tree of bits, highest first, from a node until there are `end` or more. */
function readTree(tree: usize, node: u32, end: u32): u32 {
  let r = range, c = code;
  tree = probabilities + (tree << 1);
  do {
    const at = tree + (node << 1), probability: u32 = load<u16>(at);
    const bound = (r >> 11) * probability;
    node <<= 1;
    if (c < bound) {
      r = bound;
      store<u16>(at, probability + ((2048 - probability) >> 5));
    } else {
      r -= bound;
      c -= bound;
      node |= 1;
      store<u16>(at, probability - (probability >> 5));
    }
    if (r < 1 << 24) {
      r <<= 8;
      c = (c << 8) | load<u8>(next++);
    }
  } while (node < end);
  range = r;
  code = c;
  return node;
}

/** A number of so many bits, lowest first. */
function readLowest(tree: usize, bits: u32): u32 {
  let node: u32 = 1, value: u32 = 0;
  for (let index: u32 = 0; index < bits; index++) {
    const bit = readBit(tree + node);
    node = (node << 1) | bit;
    value |= bit << index;
  }
  return value;
}

/** Bits that are 0 as often as 1. */
function readEven(bits: u32): u32 {
  let value: u32 = 0;
  for (; bits > 0; bits--) {
    range >>= 1;
    const bit: u32 = code < range ? 0 : 1;
    if (bit) code -= range;
    value = (value << 1) | bit;
    if (range >= 1 << 24) continue;
    range <<= 8;
    code = (code << 8) | load<u8>(next++);
  }
  return value;
}

/** The length of a match, less 2. */
function readLength(length: usize, position: u32): u32 {
  const tree = length + 2 + (position << 3);
  if (!readBit(length)) return readTree(tree, 1, 8) - 8;
  if (!readBit(length + 1)) return readTree(tree + 32, 1, 8);
  return readTree(length + 2 + 64, 1, 256) - 256 + 16;
}

/** How far back a match of a length is. */
function readDistance(length: u32): usize {
  const kind = readTree(DISTANCE_CLASS + ((min(length, 5) - 2) << 6), 1, 64) - 64;
  if (kind < 4) return kind + 1;
  const bits = (kind >> 1) - 1, base = (2 | (kind & 1)) << bits;
  if (kind < 14) return base + readLowest(DISTANCE + base - kind - 1, bits) + 1;
  const high = readEven(bits - 4) << 4;
  return base + high + readLowest(ALIGNED, 4) + 1;
}

/** Makes another of the last distances the latest. */
function recall(state: u32): void {
  let distance = second;
  if (readBit(IS_THIRD + state)) {
    distance = third;
    if (readBit(IS_FOURTH + state)) {
      distance = fourth;
      fourth = third;
    }
    third = second;
  }
  second = first;
  first = distance;
}

/** A byte that is no match, or 256 more. */
function readLiteral(state: u32, to: usize, begin: usize): u32 {
  const before: u32 = to > begin ? load<u8>(to - 1) : 0;
  const trees = LITERAL + (before >> 5) * 0x300;
  let node: u32 = 1;
  if (state >= MATCHED) {
    // It differs from what the last match would go on with: until it does, in trees of their own.
    for (let like: u32 = load<u8>(to - first); node < 256;) {
      like <<= 1;
      const expected = (like >> 8) & 1, bit = readBit(trees + ((1 + expected) << 8) + node);
      node = (node << 1) | bit;
      if (bit !== expected) break;
    }
  }
  return node < 256 ? readTree(trees, node, 256) : node;
}

/** Decompresses what lies at `source`, and writes it from `target` to `end` or somewhat farther. */
export function decompress(source: usize, target: usize, end: usize): void {
  for (let index: usize = 0; index < COUNT; index++) store<u16>(probabilities + (index << 1), 1024);
  range = 0xffffffff;
  code = bswap<u32>(load<u32>(source, 1));
  next = source + 5;
  first = second = third = fourth = 1;
  let state: u32 = 0;
  for (let to = target; to < end;) {
    const position = <u32>(to - target) & 3, at = (state << 4) + position;
    if (!readBit(IS_MATCH + at)) {
      store<u8>(to, <u8>readLiteral(state, to, target));
      to++;
      state = state < 4 ? 0 : state < 10 ? state - 3 : state - 6;
      continue;
    }
    let count: u32 = 1;
    if (!readBit(IS_REPEATED + state)) {
      count = 2 + readLength(LENGTH, position);
      fourth = third;
      third = second;
      second = first;
      first = readDistance(count);
      state = state < MATCHED ? 7 : 10;
    } else {
      const isFirst = !readBit(IS_SECOND + state);
      if (isFirst && !readBit(IS_LONG + at)) {
        state = state < MATCHED ? 9 : 11;
      } else {
        if (!isFirst) recall(state);
        count = 2 + readLength(REPEATED_LENGTH, position);
        state = state < MATCHED ? 8 : 11;
      }
    }
    if (first > to - target) unreachable(); // Before the first byte: the source is damaged.
    for (; count > 0; count--, to++) store<u8>(to, load<u8>(to - first));
  }
}
