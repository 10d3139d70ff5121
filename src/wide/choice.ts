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

/** Products of a round: a millisecond or less in V8's best code, which a page's clock of 0.1 can tell. */
const products = 2000;

/**
 * Milliseconds that a race takes: V8 makes its best code within the first ten, unless it waits for a processor, so that
 * who would lose has four times as many.
 */
const patience = 50;

function timeOf(act: Probe["wide"], now: () => number): number {
  const start = now();
  act(0, products);
  return now() - start;
}

/**
 * Races both shapes, in turn; a clock that stands still knows no winner. What counts comes after 25 ms, when
 * both are V8's best code. Widened the wide shape takes 0.58 to 0.65 of the other's time, which is widened too, and 1.9
 * to 2.4 where nothing is.
 */
export function race({ narrow, wide }: Probe, now: () => number = clock.now): boolean {
  const start = now();
  let least = Infinity, leastWide = Infinity;
  for (
    let time = start;
    time < start + patience || (time < start + 4 * patience && leastWide >= least);
    time = now()
  ) {
    const took = timeOf(narrow, now), tookWide = timeOf(wide, now);
    if (time < start + patience / 2) continue;
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
