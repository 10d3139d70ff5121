import { assert, assertEquals } from "@std/assert";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { coefficients } from "../../tools/hyperbolic.ts";
import { relaxed, simd } from "../asm/tanh.gen.ts";
import { bitsOf, loadMeasuring } from "../support/measuring.ts";
import { piecesOf } from "../support/share.ts";

/** What the test binary exports. */
interface Exports {
  readonly memory: WebAssembly.Memory;
  worstError(from: number, to: number): number;
  oddAndAtMostOne(from: number, to: number): number;
  same(from: number, to: number): number;
  tanhOf(x: number): number;
  /** Where the test may put 128 rows of eight scores. */
  scores(): number;
  cap_f32_2x8(s: number, keys: number, cap: number, unit: number): void;
}

/** What a kernel may be off by, in units of the last place of f32. */
const allowed = 3;

/** Below it tanh(x) is x to the last bit. */
const smallest = bitsOf(2 ** -12);

/** From 8.49 on the result is 1. */
const largest = bitsOf(9);

const infinity = bitsOf(Infinity);

for (const [name, base64] of Object.entries({ simd, relaxed })) {
  const exports = loadMeasuring<Exports>(base64);
  const skip = exports === undefined && "this engine has no relaxed SIMD";

  test(`tanh() is off by at most ${allowed} ULP for every f32 to 9 (${name})`, { skip }, () => {
    for (const [from, to] of piecesOf(smallest, largest, name)) {
      const worst = exports!.worstError(from, to);
      assert(worst <= allowed, `worst error is ${worst} ULP`);
    }
  });

  test(`tanh() is odd and at most 1 for every f32 from 2^-12 to 9 (${name})`, { skip }, () => {
    for (const [from, to] of piecesOf(smallest, largest, name)) {
      assert(exports!.oddAndAtMostOne(from, to));
    }
  });

  test(
    `tanh() is x itself for every f32 from 2^-32 to 2^-12, and below (${name})`,
    { skip },
    () => {
      for (const [from, to] of piecesOf(bitsOf(2 ** -32), smallest, name)) {
        assert(exports!.same(from, to));
      }
      for (let exponent = -149; exponent < -12; exponent++) {
        assertEquals(exports!.tanhOf(-(2 ** exponent)), -(2 ** exponent));
      }
      assertEquals(Math.abs(exports!.tanhOf(-0)), 0);
    },
  );

  test(`tanh() is exactly 1 from 8.5 to infinity, with the sign of x (${name})`, { skip }, () => {
    for (const x of [8.5, 8.7, 9, 9.1, 10, 88, 1e4, 3e38, Infinity]) {
      assertEquals(exports!.tanhOf(x), 1);
      assertEquals(exports!.tanhOf(-x), -1);
    }
  });

  test(`cap_f32_2x8() is cap * tanh(unit * s), any NaN stays one alone (${name})`, { skip }, () => {
    const { memory, scores, cap_f32_2x8, tanhOf } = exports!;
    const keys = 10, count = keys * 8, cap = Math.fround(7.3);
    const s = new Float32Array(memory.buffer, scores(), count + 8);
    const bits = new Uint32Array(memory.buffer, scores(), count + 8);
    for (let index = 0; index < s.length; index++) s[index] = (index - 40) / 7;
    const notNumbers = [0x7fc00000, 0xffc00000, infinity + 1, 0xff800001, 0x7fffffff, 0xffffffff];
    notNumbers.forEach((pattern, index) => bits[11 * index] = pattern);
    const expected = s.map((x, index) => index < count ? cap * tanhOf(2 * x) : x);
    cap_f32_2x8(scores(), keys, cap, 2);
    assertEquals([...s], [...expected]);
    assertEquals(s.filter(Number.isNaN).length, notNumbers.length);
  });
}

test("tanh_of() in WGSL has the coefficients of tanh()", () => {
  const source = readFileSync("shaders/shared/tanh.wgsl", "utf8").replace(/\/\/.*/g, "");
  const numbers = source.match(/-?\b\d[\d.]*\b/g)!.map(Number);
  for (const coefficient of coefficients) {
    assert(numbers.includes(coefficient), `it has no ${coefficient}`);
  }
});
