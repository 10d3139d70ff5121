import { assert, assertEquals } from "@std/assert";
import { test } from "node:test";
import { relaxed, simd } from "../asm/exp4.gen.ts";
import { bitsOf, loadMeasuring } from "../support/measuring.ts";
import { piecesOf } from "../support/share.ts";
import { floatOf } from "../support/storage.ts";

/** What the test binary exports. */
interface Exports {
  worstError(from: number, to: number): number;
  exp4Of(x: number): number;
}

/** What a kernel may be off by, in units of the last place of f32. */
const allowed = 2;

/** Past it, 4^x is a number below the normal ones. */
const lowest = bitsOf(63);

for (const [name, base64] of Object.entries({ simd, relaxed })) {
  const exports = loadMeasuring<Exports>(base64);
  const skip = exports === undefined && "this engine has no relaxed SIMD";

  test(
    `exp4() is off by at most ${allowed} ULP for every f32 from -63 to -0 (${name})`,
    { skip },
    () => {
      // Below 2^-27 the result is 1 to the last bit whatever the polynomial; above, all are computed.
      for (const [from, to] of piecesOf(bitsOf(2 ** -27), lowest, name)) {
        const worst = exports!.worstError(from, to);
        assert(worst <= allowed, `worst error is ${worst} ULP`);
      }
      for (let exponent = -149; exponent <= -27; exponent++) {
        assertEquals(exports!.exp4Of(-(2 ** exponent)), 1);
      }
      assertEquals(exports!.exp4Of(-0), 1);
    },
  );

  test(`exp4() is exactly 0 from -63.5 down, and tiny above (${name})`, { skip }, () => {
    for (const x of [-63.5, -63.75, -64, -1e4, -3e38, -Infinity]) {
      assertEquals(exports!.exp4Of(x), 0);
    }
    for (const x of [-63.005, -63.25, -63.45]) {
      const y = exports!.exp4Of(x);
      assert(y >= 0 && y < 2 ** -126, `4^${x} gave ${y}`);
    }
    assertEquals(exports!.exp4Of(-63), 2 ** -126);
  });

  test(`exp4() passes NaN on (${name})`, { skip }, () => {
    assertEquals(exports!.exp4Of(NaN), NaN);
    for (let sample = 0; sample < 2000; sample++) {
      // All low bits, which become an exponent, and some of the others.
      const bits = (sample << 20) | 0x7f800001 | (sample & 0x1ff);
      assertEquals(exports!.exp4Of(floatOf(bits)), NaN, bits.toString(16));
    }
  });
}
