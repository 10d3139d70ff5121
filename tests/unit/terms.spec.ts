import type { BooleanTensor, Tensor } from "@flashtile/attention";
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { test } from "node:test";
import type { Run } from "../../src/wasm/attention/run.ts";
import {
  biasBytes,
  maskBytes,
  stageBias,
  stageMask,
  termBytesPerPosition,
} from "../../src/wasm/attention/terms.ts";
import { Arena, pageBytes } from "../../src/wasm/memory/arena.ts";
import { always } from "../support/arbitrary.ts";
import { broadcastReader } from "../support/meaning.ts";
import { type Lengths, packedPlanOf, planOf, withTerm } from "../support/plan.ts";
import { normals, seeded, whole } from "../support/random.ts";

const memory = new WebAssembly.Memory({ initial: 32, maximum: 32 });
const arena = new Arena(memory, 1024, 32 * pageBytes);

/** Where terms are staged in these tests, and what is there before. */
const at = 4096, untouched = 0xa5;

function clear(): void {
  new Uint8Array(memory.buffer, at).fill(untouched);
}

function assertUntouchedFrom(end: number): void {
  const behind = new Uint8Array(memory.buffer, end, 4096);
  assert(behind.every((byte) => byte === untouched), "written behind its place");
}

/** Shape, strides and offset of a tensor over scores, and the elements that it reaches. */
interface Layout {
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  readonly offset: number;
}

function lengthOf({ shape, strides, offset }: Layout): number {
  return 1 + offset + shape.reduce((sum, n, axis) => sum + (n - 1) * strides[axis], 0);
}

/** Sequences, a run of one of them, and how a tensor over all scores lies. */
interface Case {
  readonly lengths: readonly Lengths[];
  readonly group: number;
  readonly layout: Layout;
  readonly share: readonly [number, number, number];
  readonly seed: number;
}

const cases: fc.Arbitrary<Case> = fc.record({
  lengths: fc.array(fc.tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 40 })), {
    minLength: 1,
    maxLength: 3,
  }),
  group: fc.constantFrom(1, 2, 3),
  full: fc.tuple(fc.boolean(), fc.boolean(), fc.boolean()),
  rank: fc.integer({ min: 1, max: 4 }),
  turned: fc.boolean(),
  gap: fc.constantFrom(0, 0, 1, 5),
  offset: fc.constantFrom(0, 1, 7, 32, 37),
  share: fc.tuple(fc.nat(99), fc.nat(99), fc.nat(99)),
  seed: fc.nat(),
}).map(({ full, rank, turned, gap, offset, ...rest }) => {
  const sum = (axis: 0 | 1) => rest.lengths.reduce((total, both) => total + both[axis], 0);
  const extents = [1, full[0] ? 2 * rest.group : 1, full[1] ? sum(0) : 1, full[2] ? sum(1) : 1];
  const shape = extents.slice(4 - rank), strides = shape.slice();
  const axes = [...shape.keys()];
  let step = 1;
  for (const axis of turned ? axes : axes.reverse()) {
    strides[axis] = step;
    step = step * shape[axis] + gap;
  }
  return { ...rest, layout: { shape, strides, offset } };
});

/** The run of a case, among its plan's segments. */
function runOf({ lengths, share, seed }: Case): Run {
  const segment = share[0] % lengths.length, [queries] = lengths[segment];
  const from = share[1] % queries;
  return { segment, keyHead: seed % 2, from, to: from + 1 + share[2] % (queries - from) };
}

/** Calls back for every score of a run: its head in the group, position, key, and the tensor's indices. */
function eachScore(
  given: Case,
  look: (member: number, position: number, key: number, indices: [number, number, number]) => void,
): void {
  const { segment, keyHead, from, to } = runOf(given), { lengths, group } = given;
  const begin = (axis: 0 | 1) =>
    lengths.slice(0, segment).reduce((total, both) => total + both[axis], 0);
  for (let member = 0; member < group; member++) {
    for (let p = 0; p < to - from; p++) {
      for (let key = 0; key < lengths[segment][1]; key++) {
        const h = keyHead * group + member, i = begin(0) + from + p, j = begin(1) + key;
        look(member, p, key, [h, i, j]);
      }
    }
  }
}

function planFor(given: Case, options: { bias?: Tensor; mask?: BooleanTensor }) {
  return packedPlanOf(given.lengths, { Hq: 2 * given.group, Hkv: 2, D: 4 }, options);
}

test("stageBias() brings every number of a run to where the kernel reads it", () => {
  fc.assert(
    fc.property(cases, (given) => {
      const data = normals(lengthOf(given.layout), seeded(given.seed));
      const bias = { data, ...given.layout }, read = broadcastReader(bias);
      const plan = planFor(given, { bias }), run = runOf(given);
      clear();
      const place = stageBias(arena, plan, run, at),
        floats = new DataView(memory.buffer);
      eachScore(given, (member, position, key, [h, i, j]) => {
        const row = place.at + member * place.head + position * place.position;
        assertEquals(floats.getFloat32(row + key * 4, true), read(0, h, i, j));
      });
      assertUntouchedFrom(at + biasBytes(plan, run));
    }),
    always(200),
  );
});

/** A mask of bytes or of bits of this layout, half of it kept. */
function maskOf({ layout, seed }: Case, dtype: "u8" | "bit"): BooleanTensor {
  const random = seeded(seed), length = lengthOf(layout);
  const data = dtype === "u8"
    ? Uint8Array.from({ length }, () => random() < 0.5 ? whole(random, 1, 255) : 0)
    : Uint32Array.from({ length: Math.ceil(length / 32) }, () => random() * 2 ** 32);
  return { data, ...layout };
}

for (const dtype of ["u8", "bit"] as const) {
  test(`stageMask() brings every ${dtype} of a run to where the kernel reads it`, () => {
    fc.assert(
      fc.property(cases, (given) => {
        const mask = maskOf(given, dtype), read = broadcastReader(mask);
        const plan = planFor(given, { mask }), run = runOf(given);
        clear();
        const place = stageMask(arena, plan, run, at),
          bytes = new Uint8Array(memory.buffer);
        assertEquals(place.isBits, dtype === "bit");
        eachScore(given, (member, position, key, [h, i, j]) => {
          const row = place.at + member * place.head + position * place.position;
          const kept = dtype === "u8" ? bytes[row + key] : bytes[row + (key >> 3)] >> (key & 7) & 1;
          assertEquals(kept !== 0, read(0, h, i, j) !== 0);
        });
        assertUntouchedFrom(at + maskBytes(plan, run));
      }),
      always(200),
    );
  });
}

test("biasBytes() and maskBytes() are 0 where there is none, and one row where all are alike", () => {
  const plan = planOf({ Hq: 3, Hkv: 1, Nq: 10, Nk: 21, D: 4 });
  const run = { segment: 0, keyHead: 0, from: 2, to: 6 };
  assertEquals([biasBytes(plan, run), maskBytes(plan, run), termBytesPerPosition(plan)], [0, 0, 0]);
  const none = [false, false, false, false], rows = [true, false, true, true];
  const biased = (full: boolean[]) => biasBytes(withTerm(plan, { full, dtype: "f32" }), run);
  // Four keys at a time.
  assertEquals([biased(none), biased(rows), biased([true, true, true, true])], [96, 384, 1152]);
  const masked = (full: boolean[], dtype: "u8" | "bit") =>
    maskBytes(withTerm(plan, { full, dtype }), run);
  assertEquals([masked(none, "u8"), masked(rows, "u8")], [37, 4 * 37]);
  assertEquals([masked(none, "bit"), masked(rows, "bit")], [11, 4 * 11]);
});

test("termBytesPerPosition() is what each further position takes, for all heads of a group", () => {
  const plain = planOf({ Hq: 6, Hkv: 2, Nq: 40, Nk: 70, D: 4 });
  for (const bits of [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]) {
    const full = [0, 1, 2, 3].map((axis) => (bits >> axis & 1) === 1);
    for (const dtype of ["u8", "bit"] as const) {
      const plan = withTerm(withTerm(plain, { full, dtype: "f32" }), { full, dtype });
      const bytes = (to: number) => {
        const run = { segment: 0, keyHead: 0, from: 0, to };
        return biasBytes(plan, run) + maskBytes(plan, run);
      };
      assertEquals(termBytesPerPosition(plan), bytes(8) - bytes(7));
    }
  }
});
