import {
  type NumberList,
  type RopeConfigOptions,
  type RopeOptions,
  ropeOptions,
  tensor,
} from "@flashtile/attention";
import { referenceRope, referenceRotation } from "@flashtile/attention/reference";
import { assert, assertEquals } from "@std/assert";
import { test } from "node:test";
import { assertSameBits } from "../support/bits.ts";
import { assertRefused } from "../support/errors.ts";
import { type Encoded, floatsOf } from "../support/encoded.ts";
import { normals, seeded, whole } from "../support/random.ts";
import { varyingSeed } from "../support/seed.ts";
import vectors from "../vectors/rope.json" with { type: "json" };
import { contract } from "./backends.ts";

/** A published kind of config, and what the transformers package makes of it. */
interface RopeCase {
  readonly name: string;
  readonly config: object;
  /** The same in the older spelling. */
  readonly older: object;
  readonly length: number | null;
  readonly positions: number[] | number[][];
  readonly frequencies: Encoded;
  readonly factor: number;
  readonly x: Encoded;
  readonly out: Encoded;
}

const cases = vectors.cases as unknown as RopeCase[];

/** Positions as `rope()` takes them: of several axes in a tensor. */
function positionsOf({ positions }: RopeCase): NumberList {
  return typeof positions[0] === "number" ? positions as number[] : tensor(positions as number[][]);
}

/** Asserts that the largest difference is at most so much of the largest number. */
function assertNear(got: ArrayLike<number>, wanted: ArrayLike<number>, most: number, what: string) {
  assertEquals(got.length, wanted.length, what);
  const largest = Math.max(...Array.from(wanted, Math.abs));
  for (let at = 0; at < got.length; at++) {
    const error = Math.abs(got[at] - wanted[at]);
    assert(error <= most * largest, `${what}: [${at}] is off by ${error} of ${largest}`);
  }
}

/** Both spellings of a case, and the options of `rope()` that each gives. */
function bothOf({ name, config, older, length }: RopeCase) {
  const options: RopeConfigOptions = { length: length ?? undefined };
  return Object.entries({ config, older })
    .map(([spelling, written]) => [`${name}, ${spelling}`, ropeOptions(written, options)] as const);
}

test("sixteen published kinds of configs are tried", () => assertEquals(cases.length, 16));

test("ropeOptions() gives the frequencies and the factor of the transformers package", () => {
  for (const one of cases) {
    const wanted = floatsOf(one.frequencies);
    for (const [what, options] of bothOf(one)) {
      const { frequencies, factor } = referenceRotation(options, one.x.shape.at(-1)!);
      // Theirs are computed in f32: each to its own size.
      const ratios = Array.from(frequencies, (frequency, at) => frequency / wanted[at]);
      assertNear(ratios, Array(wanted.length).fill(1), 2e-6, what);
      assertNear([factor], [one.factor], 1e-7, what);
    }
  }
});

test("the oracle turns rows as the transformers package does", () => {
  for (const one of cases) {
    const x = { data: floatsOf(one.x), shape: one.x.shape }, positions = positionsOf(one);
    for (const [what, options] of bothOf(one)) {
      const { data } = referenceRope(x, { ...options, positions });
      assertNear(data, floatsOf(one.out), 1e-5, what);
    }
  }
});

contract("rope() turns rows as configs say, within rounding of the oracle", async (engine) => {
  for (const one of cases) {
    const { x } = one, positions = positionsOf(one);
    for (const [what, options] of bothOf(one)) {
      const q = { data: floatsOf(x), shape: x.shape };
      const exact = referenceRope(q, { ...options, positions });
      await engine.rope(q, null, { ...options, positions });
      assertNear(q.data, exact.data, 2e-7, what);
      assertNear(q.data, floatsOf(one.out), 1e-5, what);
    }
  }
}, { needs: "rope" });

contract("rope() turns rows by several axes of positions, of each batch", async (engine) => {
  const random = seeded(varyingSeed());
  for (const sectionStyle of ["blocks", "interleaved"] as const) {
    for (const sections of [[4, 2, 2], [4, 4], [8], [6, 1, 1]]) {
      const [B, N, axes] = [2, 7, sections.length], shape = [B, 3, N, 16];
      const numbers = Float32Array.from({ length: axes * B * N }, () => whole(random, 0, 99));
      const positions = tensor(numbers, [axes, B, N]);
      const x = tensor(normals(B * 3 * N * 16, random), shape);
      for (const style of ["half", "interleaved"] as const) {
        const options: RopeOptions = { sections, sectionStyle, style, positions };
        const exact = referenceRope(x, options), q = tensor(x.data.slice(), shape);
        await engine.rope(q, null, options);
        assertNear(q.data, exact.data, 2e-7, `${sections}, ${sectionStyle}`);
        const plain = tensor(x.data.slice(), shape), same = tensor(x.data.slice(), shape);
        await engine.rope(plain, null, { style, positions: 9 });
        await engine.rope(same, null, { style, positions: 9, sections, sectionStyle });
        assertSameBits(same.data, plain.data);
      }
    }
  }
}, { needs: "rope" });

contract("ropeSync() gives the bits of rope()", async (engine) => {
  await engine.warmup({ rope: true });
  const random = seeded(varyingSeed()), x = normals(2 * 9 * 16, random), shape = [2, 9, 16];
  const [q, k, same, other] = Array.from({ length: 4 }, () => tensor(x.slice(), shape));
  await engine.rope(q, k, { positions: 3 });
  engine.ropeSync(same, other, { positions: 3 });
  assertSameBits(same.data, q.data);
  assertSameBits(other.data, k.data);
  await assertRefused(
    () => engine.ropeSync(q, null, { dims: 3 }),
    RangeError,
    "Cannot rotate: `dims` must be even and from 2 to D = 16, got 3",
  );
}, { needs: ["rope", "attentionSync"] });
