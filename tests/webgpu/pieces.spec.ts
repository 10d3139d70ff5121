import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { test } from "node:test";
import type { AttentionPlan } from "../../src/operations/attention/plan.ts";
import type { Goal, Gradient } from "../../src/webgpu/backward/gradient.ts";
import type { BackwardCall } from "../../src/webgpu/backward/gradients.ts";
import {
  boxesOfPiece,
  deltaGrid,
  gridOfPiece,
  ownAxesOf,
  type Piece,
  piecesOf,
  pieceTableBytes,
  workOfAll,
  workOfPiece,
} from "../../src/webgpu/backward/pieces.ts";
import type { Box } from "../../src/webgpu/transfer/box.ts";
import { extent, mostWorkgroups } from "../../src/webgpu/transfer/regions.ts";
import { runs } from "../support/arbitrary.ts";
import { anyPlan, planOf, withTerm } from "../support/plan.ts";

/** Bytes of a dense box of f32. */
function bytesOf(columns: number) {
  return ({ batch, heads, rows }: Box) =>
    extent(batch) * extent(heads) * extent(rows) * columns * 4;
}

/** What the cutting looks at of a call. */
function callOf(plan: AttentionPlan, work: number, bindingBytes: number): BackwardCall {
  const source = (columns: number) => ({ bytes: bytesOf(columns) });
  const scores = {
    bytes: ({ rows, columns }: Box) => extent(rows) * extent(columns!) * 4,
  };
  const [q, v, lse] = [source(plan.dim), source(plan.valueDim), source(1)];
  return {
    ...{ plan, q, k: q, v, mask: null, ofRows: { d_out: v, out: v, lse, d_lse: null } },
    bias: plan.bias && scores,
    session: { work, bounds: { bindingBytes } },
  } as unknown as BackwardCall;
}

function gradientOf(goal: Goal, { dim, valueDim }: AttentionPlan): Gradient {
  return { goal, columns: dim + valueDim, result: { bytes: () => 0 } } as unknown as Gradient;
}

/** Rows, or keys, of a key/value head that a piece owns, as `[segment, head, from, to]`. */
function ownedBy(goal: Goal, { region, keys }: Piece): number[][] {
  const owned = [];
  const [from, to] = goal === "dq" ? region.positions : keys;
  for (let segment = region.batch[0]; segment < region.batch[1]; segment++) {
    for (let head = region.heads[0]; head < region.heads[1]; head++) {
      owned.push([segment, head, from, to]);
    }
  }
  return owned;
}

/** Asserts that ranges of each segment and head follow each other from 0 to what it has. */
function assertCovered(plan: AttentionPlan, goal: Goal, pieces: readonly Piece[]): void {
  const ends = new Map<string, number>();
  for (const [segment, head, from, to] of pieces.flatMap((piece) => ownedBy(goal, piece))) {
    const key = `${segment} ${head}`;
    assertEquals(from, ends.get(key) ?? 0, `${goal} of ${key}`);
    ends.set(key, to);
  }
  for (const [index, { queries, keys }] of plan.segments.entries()) {
    if (queries === 0 || keys === 0) continue;
    for (let head = 0; head < plan.keyHeads; head++) {
      const end = ends.get(`${index} ${head}`) ?? 0;
      assert(end >= (goal === "dq" ? queries : keys), `${goal} of ${index} ${head}: ${end}`);
    }
  }
}

test("piecesOf() covers all rows, or all keys, once and in order", () => {
  fc.assert(
    fc.property(anyPlan, fc.integer({ min: 10, max: 34 }), (plan, log) => {
      for (const goal of ["dq", "dk", "dv"] as const) {
        const call = callOf(plan, 2 ** log, 2 ** 40), gradient = gradientOf(goal, plan);
        const pieces = [];
        for (const piece of piecesOf(call, gradient)) {
          if (pieces.push(piece) > 3000) return; // More would take long to look at.
          const grids = [gridOfPiece(call, goal, piece), deltaGrid(boxesOfPiece(call, piece))];
          assert(grids.flat().every((n) => n <= mostWorkgroups), `${grids}`);
        }
        assertCovered(plan, goal, pieces);
      }
    }),
    runs(60),
  );
});

test("piecesOf() keeps the bytes of a binding, and says where it cannot", () => {
  const plan = planOf({ B: 2, Hq: 4, Hkv: 2, Nq: 1000, Nk: 3000, D: 64 });
  for (const goal of ["dq", "dk", "dv", "dSinks"] as const) {
    const call = callOf(plan, 2 ** 40, 2 ** 20), gradient = gradientOf(goal, plan);
    const pieces = [...piecesOf(call, gradient)];
    assert(pieces.length > 1, `${pieces.length} pieces for ${goal}`);
    for (const piece of pieces) {
      const boxes = boxesOfPiece(call, piece);
      assert(pieceTableBytes(call, piece, boxes) <= 2 ** 20);
      assert(call.ofRows.d_out.bytes(boxes.rows) <= 2 ** 20);
      if (goal !== "dSinks") assert(call.k.bytes(boxes.columns) <= 2 ** 20);
    }
  }
  const call = callOf(plan, 2 ** 40, 2 ** 18);
  for (const goal of ["dq", "dk"] as const) {
    let error: unknown;
    try {
      [...piecesOf(call, gradientOf(goal, plan))];
    } catch (thrown) {
      error = thrown;
    }
    assert(error instanceof RangeError && error.message.includes(`\`${goal}\``), `${error}`);
  }
});

test("pieces have the work of all, and no less than a tile", () => {
  const plan = planOf({ B: 2, Hq: 4, Hkv: 2, Nq: 300, Nk: 500, D: 16 });
  for (const goal of ["dq", "dk"] as const) {
    const call = callOf(plan, 1, 2 ** 40), gradient = gradientOf(goal, plan);
    const pieces = [...piecesOf(call, gradient)];
    const scored = (piece: Piece) => workOfPiece(call, { ...gradient, columns: 1 }, piece);
    if (goal === "dq") {
      const sum = pieces.reduce((all, piece) => all + workOfPiece(call, gradient, piece), 0);
      assertEquals(sum, workOfAll(call, gradient));
    }
    // What is cut in two is more than a tile of 32.
    assert(pieces.every((piece) => scored(piece) >= 16 * (goal === "dq" ? 500 : 300)));
  }
});

test("pieces are cut for time where tiles end, so that no bit depends on the device's speed", () => {
  const groups = fc.constantFrom(1, 2, 3, 6, 8, 12), extents = fc.integer({ min: 1, max: 400 });
  fc.assert(
    fc.property(groups, extents, extents, fc.integer({ max: 20 }), (group, Nq, Nk, log) => {
      const plan = planOf({ Hq: 2 * group, Hkv: 2, Nq, Nk, D: 8 });
      for (const goal of ["dq", "dk", "dv"] as const) {
        const pieces = piecesOf(callOf(plan, 2 ** log, 2 ** 40), gradientOf(goal, plan));
        for (const { region, keys } of pieces) {
          const first = goal === "dq" ? region.positions[0] * group : keys[0];
          assertEquals(first % 64, 0, `${goal}: ${region.positions}, ${keys}`);
        }
      }
    }),
    runs(200),
  );
});

test("pieces of a bias's gradient do not depend on the device's speed", () => {
  const plan = withTerm(planOf({ B: 3, Hq: 8, Nq: 2000, Nk: 2000, D: 64 }), {
    ...{ full: [false, true, true, true], dtype: "f32" },
  });
  const [slow, fast] = [2 ** 22, 2 ** 40].map((work) => [
    ...piecesOf(callOf(plan, work, 2 ** 30), gradientOf("dBias", plan)),
  ]);
  assertEquals(slow, fast);
  assert(slow.length > 1);
});

test("ownAxesOf() takes packed sequences apart where they share no element", () => {
  const of = (full: readonly boolean[], packed: boolean) => {
    const plan = withTerm(planOf({ B: 2, Nq: 3, Nk: 4, D: 2 }), { full, dtype: "f32" });
    return ownAxesOf({ ...plan, packed });
  };
  const apart = { segments: true, heads: false, rows: false, keys: true };
  assertEquals(of([false, false, false, true], true), apart);
  assertEquals(of([false, false, false, true], false), { ...apart, segments: false });
  assertEquals(of([false, true, false, false], true).segments, false);
  assertEquals(of([true, true, false, false], false).segments, true);
});
