import { assert, assertEquals } from "@std/assert";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { chips } from "./chips.ts";
import { judge, type Report } from "./judge.ts";
import { kernels } from "./kernels.ts";
import { tileWork } from "./loops.ts";
import { mesaFolder, NoMesaError } from "./mesa.ts";

/** What is kept of them. */
const kept: Report = JSON.parse(
  readFileSync(new URL("../../bench/results/isa.json", import.meta.url), "utf8"),
);

/** Kernels of most calls, on one chip of each vendor: all would take a quarter of an hour. */
const held = ["large D=64 f32", "large D=128 f32"];
const heldChips = ["AMD navi31", "NVIDIA AD104", "Apple M1", "Adreno 740"];

/** Why the compilers cannot be had here; `undefined` where they can. */
function whyNot(): string | undefined {
  try {
    mesaFolder();
    return undefined;
  } catch (error) {
    if (error instanceof NoMesaError) return error.message;
    throw error;
  }
}

const reason = whyNot();
if (reason !== undefined) console.warn(`Kernels are not compiled for GPUs: ${reason}`);

for (const name of held) {
  test(`${name} has no more spills and no smaller share of products`, {
    skip: reason !== undefined,
  }, () => {
    const kernel = kernels().find((one) => one.name === name)!;
    const before = kept.kernels.find((one) => one.name === name)!;
    assertEquals(kernel.workgroupBytes, before.workgroupBytes);
    for (const chip of chips.filter((one) => heldChips.includes(one.name))) {
      const now = judge(kernel, chip), then = before.chips[chip.name];
      const words = `${chip.name}: ${JSON.stringify(now)}, was ${JSON.stringify(then)}`;
      assert(now.spills <= then.spills, words);
      assert(now.registers <= then.registers && now.waves >= then.waves, words);
      assert((now.tile?.fmaShare ?? 0) >= (then.tile?.fmaShare ?? 0) - 0.005, words);
    }
  });
}

test("tileWork() counts inner loops as often as they go round, and what need not look once", () => {
  const block = (at: number, before: number[], after: number[], ...lines: string[]) =>
    [`block ${at} L${at} [${before}] -> {`, ...lines, `} -> [${after}]`].join("\n");
  const printed = [
    "NAK IR after calc_instr_deps:",
    block(0, [], [1], "      r1 = mov rZ // delay=1"),
    block(1, [0, 8], [2], "  r2 = mov rZ"),
    block(2, [1, 4], [3], "  bar.sync 0x0"),
    block(3, [2, 3], [3, 4], "  r4..8 = ld.shared.b128 [r0]", "  r1 = ffma r1 r4 r5 r1"),
    block(4, [3], [2, 5], "@!p0  bra pT L2"),
    block(5, [4], [6, 7], "@!p0  bra pT L7"),
    block(6, [5, 6], [6, 8], "  r9 = ffma r1 r4 r5 r9"),
    block(7, [5, 7], [7, 8], "  r1 = sel p0 r1 rZ", "  r9 = ffma r1 r4 r5 r9"),
    block(8, [6, 7], [1, 9], "@!p0  bra pT L1"),
    block(9, [8], [], "  exit"),
    "Stage: compute",
  ].join("\n");
  const source = { fmas: 30, steps: 2, productTrips: 5, valueTrips: 20, across: 8 };
  // Once what is in no loop within; two steps, each of five products; twenty values.
  const instructions = 3 + 2 * (2 + 5 * 2) + 20;
  assertEquals(tileWork(printed, source), {
    ...{ instructions, fmaShare: 30 / instructions, loadsPerFma: 10 / 30 },
  });
});
