import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { test } from "node:test";
import { chooseTiles, partsOf } from "../../src/wasm/attention/jobs.ts";
import { keyPiecesOf, keysPerPiece } from "../../src/wasm/narrow/key_pieces.ts";
import { keysPerPart } from "../../src/wasm/record/job_record.ts";
import { always } from "../support/arbitrary.ts";
import { planOf } from "../support/plan.ts";

const plans = fc.record({
  Nq: fc.integer({ min: 1, max: 16 }),
  Nk: fc.integer({ min: 0, max: 12_000 }),
  D: fc.constantFrom(1, 16, 64, 128, 300),
  offset: fc.integer({ min: -100, max: 12_000 }),
  left: fc.option(fc.integer({ min: 0, max: 9000 })),
  right: fc.option(fc.integer({ min: 0, max: 9000 })),
}).map(({ offset, left, right, ...sizes }) => planOf(sizes, { offset, window: [left, right] }));

test("keyPiecesOf() has every key that some row sees in one piece, those of a part in order", () => {
  fc.assert(
    fc.property(plans, (plan) => {
      const { left, right } = plan.band, [{ queries, keys, offset }] = plan.segments;
      const tile = chooseTiles(plan).keys, most = keysPerPiece(plan, tile);
      const run = { segment: 0, keyHead: 0, from: 0, to: queries };
      const pieces = keyPiecesOf(plan, run, most);
      assertEquals(new Set(pieces.map(({ part }) => part)).size, partsOf(plan, run));
      let seen = 0;
      for (const [at, { part, firstKey, keys: count, begins }] of pieces.entries()) {
        const before = pieces[at - 1];
        assertEquals(begins, before?.part !== part);
        assert(firstKey >= (before === undefined ? 0 : before.firstKey + before.keys));
        assert(count <= most && firstKey + count <= Math.min(keys, (part + 1) * keysPerPart));
        // Tiles are where they are without pieces.
        assertEquals((firstKey - part * keysPerPart) % tile, 0);
        const last = Math.min(firstKey + count, queries + offset + right);
        seen += Math.max(0, last - Math.max(firstKey, offset - left));
      }
      const all = Math.min(keys, queries + offset + right) - Math.max(0, offset - left);
      assertEquals(seen, Math.max(0, all));
    }),
    always(300),
  );
});
