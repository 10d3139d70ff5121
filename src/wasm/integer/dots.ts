/**
 * How bytes are multiplied here: by one instruction for the product and the sum, where the processor has it (AVX-VNNI, dot
 * products of arm64), else in two steps, which then take less than what V8 makes of that instruction. No script can ask for
 * it, so that it is measured, once a process.
 *
 * @module
 */

import { clock, yieldTurn } from "../../runtime.ts";
import { dotProbe } from "../binary/integer.gen.ts";
import { decode } from "../binary/module.ts";

/** What `asm/integer/probe.ts` exports. */
interface Probe {
  fused(count: number): number;
  pairs(count: number): number;
}

/** Products of a round, some 20 microseconds; rounds until V8 has its best code, and rounds that are timed. */
const products = 2000, firstRounds = 40, timedRounds = 8;

/** How often the fused form must win. */
const heats = 4;

/** How much less time the fused form must take: made of others it takes 1.3 times as long; with an instruction of its own it was not measured. */
const margin = 0.95;

function timeOf(act: (count: number) => number): number {
  const start = clock.now();
  act(products);
  return clock.now() - start;
}

/** Races both forms, in turn; a clock that stands still knows no winner. */
async function race({ fused, pairs }: Probe): Promise<boolean> {
  for (let round = 0; round < firstRounds; round++) {
    fused(products);
    pairs(products);
    // Better code is made meanwhile, and taken at the next call.
    if (round % 8 === 7) await yieldTurn();
  }
  for (let heat = 0; heat < heats; heat++) {
    // A busy machine makes better code late, of one form before that of the other.
    if (heat > 0) await new Promise<void>((resolve) => clock.after(10, resolve));
    let least = Infinity, leastFused = Infinity;
    for (let round = 0; round < timedRounds; round++) {
      least = Math.min(least, timeOf(pairs));
      leastFused = Math.min(leastFused, timeOf(fused));
    }
    if (leastFused >= margin * least) return false;
  }
  return true;
}

/** Which form is the faster one; two steps where that cannot be known. */
export const dots: { areFused: boolean } = { areFused: false };

let measuring: Promise<void> | undefined;

async function measure(): Promise<void> {
  try {
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(decode(dotProbe)));
    dots.areFused = await race(exports as unknown as Probe);
  } catch { /* Nothing may be compiled here, or relaxed SIMD is unknown. */ }
}

/** Measures it, where that has not happened. */
export function measureDots(): Promise<void> {
  return measuring ??= measure();
}
