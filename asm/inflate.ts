// Inflating (RFC 1951): the library's binaries come deflated. A module of its own, compiled before
// them and dropped: in JavaScript, which has not been run before, the same takes 4 to 8 ms more.

// Tables of codes: `symbol << 4 | length` by the next bits of the source, the first of them lowest.
const LITERALS = memory.data(1 << 16);
const DISTANCES = memory.data(1 << 16);
/** The code for code lengths, whose words have at most 7 bits. */
const CODE_LENGTHS = memory.data(1 << 8);
/** Lengths of the words of the codes that are read. */
const LENGTHS = memory.data(288 + 32);
/** The order in which the lengths of the code for code lengths are written. */
const ORDER = memory.data<u8>([16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15]);

const END_OF_BLOCK: u32 = 256;

// What was read of the source and not used yet, the next bit lowest; how many bits; where to go on.
let bits: u32 = 0;
let held: u32 = 0;
let next: usize = 0;

/** The first byte that is free: the source may begin there. */
export function heapBase(): usize {
  return __heap_base;
}

function hold(count: u32): void {
  for (; held < count; held += 8) bits |= load<u8>(next++) << held;
}

function drop(count: u32): void {
  bits >>= count;
  held -= count;
}

function readBits(count: u32): u32 {
  hold(count);
  const value = bits & ((1 << count) - 1);
  drop(count);
  return value;
}

/** Reads a word of a code whose longest has `longest` bits. */
function readSymbol(table: usize, longest: u32): u32 {
  hold(longest);
  const entry: u32 = load<u16>(table + ((bits & ((1 << longest) - 1)) << 1));
  if (entry === 0) unreachable(); // No such word: the source is damaged.
  drop(entry & 15);
  return entry >> 4;
}

/** Writes the table of a canonical code, given its words' lengths; returns the longest. */
function makeCode(lengths: usize, count: u32, table: usize): u32 {
  let longest: u32 = 0;
  for (let symbol: u32 = 0; symbol < count; symbol++) {
    longest = max(longest, load<u8>(lengths + symbol));
  }
  const size: u32 = 1 << longest;
  for (let at: u32 = 0; at < size; at++) store<u16>(table + (at << 1), 0);
  // First bit lowest, so that a word stays as it is where the next one is longer.
  let word: u32 = 0;
  for (let length: u32 = 1; length <= longest; length++) {
    for (let symbol: u32 = 0; symbol < count; symbol++) {
      if (load<u8>(lengths + symbol) !== length) continue;
      for (let at = word; at < size; at += 1 << length) {
        store<u16>(table + (at << 1), (symbol << 4) | length);
      }
      let bit: u32 = 1 << (length - 1);
      for (; word & bit; bit >>= 1) word ^= bit;
      word |= bit;
    }
  }
  return longest;
}

/** The lengths of both codes, in a code of their own. */
function readLengths(count: u32, longest: u32): void {
  for (let at: u32 = 0; at < count;) {
    const symbol = readSymbol(CODE_LENGTHS, longest);
    let value: u8 = <u8>symbol, times: u32 = 1;
    if (symbol === 16) {
      value = load<u8>(LENGTHS + at - 1);
      times = 3 + readBits(2);
    } else if (symbol > 16) {
      value = 0;
      times = symbol === 17 ? 3 + readBits(3) : 11 + readBits(7);
    }
    for (; times > 0; times--) store<u8>(LENGTHS + at++, value);
  }
}

/** Reads the codes of a block; returns their longest words, of literals below, of distances above. */
function readCodes(): u32 {
  const literals = 257 + readBits(5);
  const distances = 1 + readBits(5);
  const count: u32 = 4 + readBits(4);
  for (let at: u32 = 0; at < 19; at++) {
    store<u8>(LENGTHS + load<u8>(ORDER + at), <u8>(at < count ? readBits(3) : 0));
  }
  readLengths(literals + distances, makeCode(LENGTHS, 19, CODE_LENGTHS));
  return makeCode(LENGTHS, literals, LITERALS) |
    makeCode(LENGTHS + literals, distances, DISTANCES) << 8;
}

/** The codes of a block that brings none of its own. */
function usualCodes(): u32 {
  for (let at: u32 = 0; at < 288; at++) {
    store<u8>(LENGTHS + at, at < 144 ? 8 : at < 256 ? 9 : at < 280 ? 7 : 8);
  }
  for (let at: u32 = 288; at < 318; at++) store<u8>(LENGTHS + at, 5);
  return makeCode(LENGTHS, 288, LITERALS) | makeCode(LENGTHS + 288, 30, DISTANCES) << 8;
}

/** The length of a match, 3 to 258: four classes for each number of extra bits. */
function readLength(symbol: u32): u32 {
  const index = symbol - 257;
  if (index < 8) return 3 + index;
  if (index === 28) return 258;
  const extra = (index >> 2) - 1;
  return 3 + ((4 + (index & 3)) << extra) + readBits(extra);
}

/** How far back a match is: two classes for each number of extra bits. */
function readDistance(index: u32): u32 {
  if (index < 4) return 1 + index;
  const extra = (index >> 1) - 1;
  return 1 + ((2 + (index & 1)) << extra) + readBits(extra);
}

function inflateBlock(target: usize, literals: u32, distances: u32): usize {
  let symbol = readSymbol(LITERALS, literals);
  for (; symbol !== END_OF_BLOCK; symbol = readSymbol(LITERALS, literals)) {
    if (symbol < END_OF_BLOCK) {
      store<u8>(target++, <u8>symbol);
      continue;
    }
    const end = target + readLength(symbol);
    const distance = readDistance(readSymbol(DISTANCES, distances));
    for (; target < end; target++) store<u8>(target, load<u8>(target - distance));
  }
  return target;
}

/** Inflates what lies at `source` to `target`. Traps where it is damaged, or has stored blocks. */
export function inflate(source: usize, target: usize): void {
  bits = 0;
  held = 0;
  next = source;
  let last: u32;
  do {
    last = readBits(1);
    const kind = readBits(2);
    if (kind === 0 || kind === 3) unreachable();
    const longest = kind === 1 ? usualCodes() : readCodes();
    target = inflateBlock(target, longest & 0xff, longest >> 8);
  } while (last === 0);
}
