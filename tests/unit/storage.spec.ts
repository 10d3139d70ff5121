import { createEngine } from "@flashtile/attention";
import { assert, assertEquals } from "@std/assert";
import { test } from "node:test";
import type { BinaryName } from "../../src/contract/capabilities.ts";
import type { Kernels } from "../../src/wasm/binary/kernels.gen.ts";
import { instantiate } from "../../src/wasm/binary/module.ts";
import { Arena } from "../../src/wasm/memory/arena.ts";
import { storageOf } from "../../src/wasm/record/job_record.ts";
import { binaries } from "../support/binaries.ts";
import { assertSameBits } from "../support/bits.ts";
import {
  decode,
  encode,
  floatOf,
  rounded,
  type Storage,
  storages,
  wordOf,
} from "../support/storage.ts";

const names = (["simd", "relaxed"] as const)
  .filter((name) => WebAssembly.validate(binaries[name]));

/** Every pattern of 16 bits. */
const all = Uint16Array.from({ length: 65536 }, (_, bits) => bits);

interface Machine {
  readonly kernels: Kernels;
  readonly arena: Arena;
}

function makeMachine(name: BinaryName): Machine {
  const memory = new WebAssembly.Memory({ initial: 64, maximum: 64 });
  const kernels = instantiate<Kernels>(new WebAssembly.Module(binaries[name]), memory);
  return { kernels, arena: new Arena(memory, kernels.heapBase() >>> 0, 64 * 65536) };
}

/** Decodes bits by packing them as values, `element` bytes apart, in rows of `width`. */
function unpacked(
  { kernels, arena }: Machine,
  bits: Uint16Array,
  storage: Storage,
  element: number,
  width: number,
): Float32Array {
  const count = bits.length / width, columns = count * 16;
  const source = arena.allocate(bits.length * element);
  const target = arena.allocate(Math.ceil(width / 4) * columns);
  const view = new DataView(arena.memory.buffer);
  bits.forEach((word, at) => view.setUint16(source + at * element, word, true));
  const rows = kernels.headRows(0, source, element, storageOf[storage], width * element);
  kernels.packValues(rows, source, target, columns, width, count);
  return Float32Array.from(bits, (_, at) => {
    const row = Math.floor(at / width), column = at % width;
    const place = target + (column >> 2) * columns + row * 16 + (column & 3) * 4;
    return view.getFloat32(place, true);
  });
}

test("encode() and decode() of the tests are each other's way back", () => {
  for (const storage of storages) {
    for (const bits of all) {
      const x = decode(bits, storage);
      if (!Number.isNaN(x)) assertEquals(encode(x, storage), bits);
    }
  }
});

test("decode() of the tests agrees with Float16Array and with the upper half of f32", () => {
  for (const bits of all) assert(Object.is(decode(bits, "bf16"), floatOf(bits * 65536)));
  if (typeof Float16Array === "undefined") return;
  const halves = new Float16Array(all.buffer);
  for (const bits of all) assert(Object.is(decode(bits, "f16"), halves[bits]));
});

for (const name of names) {
  for (const storage of storages) {
    test(`the kernels decode all 65,536 values of ${storage} (${name})`, () => {
      const expected = Float64Array.from(all, (bits) => decode(bits, storage));
      for (const [element, width] of [[2, 4], [2, 32], [4, 4], [6, 1], [2, 1], [2, 2]]) {
        const actual = unpacked(makeMachine(name), all, storage, element, width);
        assertSameBits(actual, expected, `${element} bytes apart, rows of ${width}`);
      }
    });
  }
}

/**
 * Numbers that show how a storage rounds: all that it has, their neighbours among f32, the midpoints
 * of two with the neighbours of these, and what is beyond the largest.
 */
function roundingCases(storage: Storage): Float32Array {
  const cases: number[] = [];
  const around = (x: number) => {
    const word = wordOf(x);
    for (const near of [word - 1, word, word + 1]) {
      const y = floatOf(near >>> 0);
      if (Number.isFinite(y)) cases.push(y, -y);
    }
  };
  const infinity = storage === "f16" ? 0x7c00 : 0x7f80;
  for (let bits = 1; bits < infinity; bits++) {
    const x = decode(bits, storage), next = decode(bits + 1, storage);
    around(x);
    around(Number.isFinite(next) ? (x + next) / 2 : x + (x - decode(bits - 1, storage)) / 2);
  }
  around(decode(1, storage) / 2);
  cases.push(0, 3.4028234663852886e38, -3.4028234663852886e38, 65520, 65519.996, 65536, 1e30);
  return Float32Array.from(cases);
}

for (const storage of storages) {
  const cases = roundingCases(storage);
  const expected = Uint16Array.from(cases, (x) => encode(x, storage));
  for (const [what, stride] of [["side by side", 1], ["apart", 2]] as const) {
    test(`attention() rounds to ${storage} to nearest, ties to even, ${what}`, async () => {
      const engine = await createEngine({ threads: 1 });
      // One key: each row is its head's value, times 1.
      const zeros = { data: new Float32Array(1), shape: [1, 1] };
      const v = { data: cases, shape: [1, cases.length] };
      const data = new Uint16Array(cases.length * stride);
      const strides = [cases.length * stride, stride];
      const out = { data, shape: v.shape, strides, dtype: storage };
      await engine.attention(zeros, zeros, v, { out });
      const bits = Uint16Array.from(cases, (_, at) => data[at * stride]);
      bits.forEach((actual, at) => {
        if (actual === expected[at] || cases[at] === 0) return;
        throw new Error(
          `${cases[at]} became ${actual.toString(16)}, expected ${expected[at].toString(16)}`,
        );
      });
      await engine.close();
    });
  }

  test(`attention() keeps a NaN of any bits NaN in ${storage}`, async () => {
    const engine = await createEngine({ threads: 1 });
    const patterns = [0x7fc00000, 0xffc00000, 0x7f800001, 0xff800001, 0x7fffffff, 0x7f801000];
    const data = new Float32Array(Uint32Array.from(patterns).buffer);
    const zeros = { data: new Float32Array(1), shape: [1, 1] };
    const bits = new Uint16Array(data.length);
    const out = { data: bits, shape: [1, data.length], dtype: storage };
    await engine.attention(zeros, zeros, { data, shape: out.shape }, { out });
    assert(bits.every((word) => Number.isNaN(decode(word, storage))), `${bits}`);
    await engine.close();
  });
}

test("rounded() of the tests leaves f32 alone", () => {
  assertSameBits(rounded([0.1], "f32"), [Math.fround(0.1)]);
});
