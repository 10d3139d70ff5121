/**
 * Whether wide kernels are the faster ones here. The flag alone does not tell: V8 widens only what fits
 * the processor, and where a host checks the bounds of each load it widens nothing; and kernels with three
 * times the sums that are not widened lose, since these do not fit 16 registers.
 *
 * @module
 */

import { clock } from "../runtime.ts";
import { type BinaryChoice, chooseSplats } from "../wasm/binary/choice.ts";
import { decode, unpack } from "../wasm/binary/module.ts";
import { packed, sizes, wideProbe } from "./binary.gen.ts";

/** What `asm/wide/probe.ts` exports. */
interface Probe {
  narrow(at: number, count: number): void;
  wide(at: number, count: number): void;
}

/** Products of a round: some 10 microseconds in V8's best code. */
const products = 20;

/** Milliseconds that a race takes: V8 makes its best code within the first ten. */
const patience = 50;

function timeOf(act: Probe["wide"], now: () => number): number {
  const start = now();
  act(0, products);
  return now() - start;
}

/**
 * Races both shapes, in turn; a clock that stands still knows no winner. Only the second half of the time counts, when
 * both are V8's best code. Widened the wide shape takes 0.58 to 0.65 of the other's time, which is widened too, and 1.9
 * to 2.4 where nothing is.
 */
export function race({ narrow, wide }: Probe, now: () => number = clock.now): boolean {
  const end = now() + patience, counts = end - patience / 2;
  let least = Infinity, leastWide = Infinity;
  for (let time = now(); time < end; time = now()) {
    const took = timeOf(narrow, now), tookWide = timeOf(wide, now);
    if (time < counts) continue;
    least = Math.min(least, took);
    leastWide = Math.min(leastWide, tookWide);
  }
  return leastWide < least;
}

let isFaster: boolean | undefined;

function measure(): boolean {
  try {
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(decode(wideProbe)));
    return race(exports as unknown as Probe);
  } catch {
    return false; // Nothing may be compiled here.
  }
}

/** Why other kernels are the faster ones here, if so. */
function whyNarrow({ name }: BinaryChoice): string | undefined {
  // The race is between kernels that splat each element while loading, the fastest where loads are not checked.
  if (name !== "relaxed" || chooseSplats(name) !== 4) return "this engine joins no vectors";
  isFaster ??= measure();
  return isFaster ? undefined : "vectors of 256 bits are no faster";
}

/**
 * What is taken instead of a choice: the same with wide kernels, where they are faster, which is measured once a process.
 *
 * @param obstacle Why there is nothing to measure, if so.
 */
export function chooseWide(choice: BinaryChoice, obstacle?: string): BinaryChoice {
  const why = obstacle ?? whyNarrow(choice);
  if (why !== undefined) return { ...choice, reason: `${choice.reason}; not wide: ${why}` };
  return {
    ...choice,
    reason: `${choice.reason}; wide: V8 joins vectors to 256 bits`,
    wide: () => unpack({ packed, sizes }, "relaxed"),
  };
}
