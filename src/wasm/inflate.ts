/**
 * Inflating (RFC 1951): the binaries come deflated. Streams of the runtime could do it too, but take
 * 5 to 15 ms to begin with, more than the whole of this.
 *
 * @module
 */

/** A canonical Huffman code: how many codes have each length, and their symbols in order. */
interface Code {
  readonly counts: Uint16Array;
  readonly symbols: Uint16Array;
}

const longest = 15;

function codeOf(lengths: ArrayLike<number>): Code {
  const counts = new Uint16Array(longest + 1), offsets = new Uint16Array(longest + 2);
  for (let at = 0; at < lengths.length; at++) counts[lengths[at]]++;
  counts[0] = 0;
  for (let length = 1; length <= longest; length++) {
    offsets[length + 1] = offsets[length] + counts[length];
  }
  const symbols = new Uint16Array(lengths.length);
  for (let at = 0; at < lengths.length; at++) {
    if (lengths[at] > 0) symbols[offsets[lengths[at]]++] = at;
  }
  return { counts, symbols };
}

/** The codes of a block that brings none of its own. */
function usualCodes(): [literals: Code, distances: Code] {
  const literals = Array.from(
    { length: 288 },
    (_, at) => at < 144 ? 8 : at < 256 ? 9 : at < 280 ? 7 : 8,
  );
  return [codeOf(literals), codeOf(new Array(30).fill(5))];
}

/** The least of each class of lengths or distances, whose extra bits grow every `step` classes. */
function basesOf(first: number, count: number, step: number): [bases: number[], bits: number[]] {
  const bases: number[] = [], bits: number[] = [];
  for (let at = 0, base = first; at < count; at++) {
    bits[at] = Math.max(0, Math.floor(at / step) - 1);
    bases[at] = base;
    base += 1 << bits[at];
  }
  return [bases, bits];
}

const [lengthBases, lengthBits] = basesOf(3, 28, 4);
const [distanceBases, distanceBits] = basesOf(1, 30, 2);
// The longest match has a class of its own.
lengthBases.push(258);
lengthBits.push(0);

/** The order in which the lengths of the code for code lengths are written. */
const lengthOrder = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/** The bytes that were deflated into `source`; there are `size` of them. */
export function inflate(source: Uint8Array, size: number): Uint8Array<ArrayBuffer> {
  const target = new Uint8Array(size);
  let at = 0, bit = 0, end = 0;

  const readBits = (count: number): number => {
    let value = 0;
    for (let index = 0; index < count; index++, bit++) {
      value |= (source[bit >> 3] >> (bit & 7) & 1) << index;
    }
    return value;
  };
  const readSymbol = ({ counts, symbols }: Code): number => {
    let code = 0, first = 0, index = 0;
    for (let length = 1; length <= longest; length++, bit++) {
      code |= source[bit >> 3] >> (bit & 7) & 1;
      const count = counts[length];
      if (code - first < count) {
        bit++;
        return symbols[index + code - first];
      }
      index += count;
      first = (first + count) << 1;
      code <<= 1;
    }
    throw new Error("Cannot inflate: the bytes are damaged");
  };
  const readLengths = (count: number, code: Code): Uint8Array => {
    const lengths = new Uint8Array(count);
    for (let index = 0; index < count;) {
      const symbol = readSymbol(code);
      if (symbol < 16) lengths[index++] = symbol;
      else {
        const value = symbol === 16 ? lengths[index - 1] : 0;
        const times = symbol === 16
          ? 3 + readBits(2)
          : symbol === 17
          ? 3 + readBits(3)
          : 11 + readBits(7);
        lengths.fill(value, index, index += times);
      }
    }
    return lengths;
  };
  const readCodes = (): [literals: Code, distances: Code] => {
    const literals = 257 + readBits(5), distances = 1 + readBits(5), count = 4 + readBits(4);
    const own = new Uint8Array(lengthOrder.length);
    for (let index = 0; index < count; index++) own[lengthOrder[index]] = readBits(3);
    const lengths = readLengths(literals + distances, codeOf(own));
    return [codeOf(lengths.subarray(0, literals)), codeOf(lengths.subarray(literals))];
  };

  while (end === 0) {
    end = readBits(1);
    const kind = readBits(2);
    if (kind !== 1 && kind !== 2) throw new Error("Cannot inflate: a block is not compressed");
    const [literals, distances] = kind === 1 ? usualCodes() : readCodes();
    for (let symbol = readSymbol(literals); symbol !== 256; symbol = readSymbol(literals)) {
      if (symbol < 256) {
        target[at++] = symbol;
        continue;
      }
      const length = lengthBases[symbol - 257] + readBits(lengthBits[symbol - 257]);
      const distance = readSymbol(distances);
      const from = at - distanceBases[distance] - readBits(distanceBits[distance]);
      for (let index = 0; index < length; index++) target[at++] = target[from + index];
    }
  }
  return target;
}
