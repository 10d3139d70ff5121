/**
 * Peak memory of this process.
 *
 * @module
 */

import { writeFileSync } from "node:fs";
import process from "node:process";

/**
 * Lowers the recorded peak to what is resident now. Linux only; elsewhere the peak of what came
 * before stands, so that a small growth after it goes unseen.
 */
function resetPeak(): void {
  try {
    writeFileSync("/proc/self/clear_refs", "5");
  } catch {
    // Not Linux, or not allowed.
  }
}

function peakBytes(): number {
  return process.resourceUsage().maxRSS * 1024;
}

/** Milliseconds in which compilers finish what they do in the background. */
const backgroundWork = 250;

/** Frees what is not needed any more, which a call would otherwise take instead of new memory. */
export async function settle(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, backgroundWork));
  (globalThis as { gc?: () => void }).gc?.();
}

/** Runs `action` and tells by how many bytes resident memory grew at its peak. */
export async function growthOf<T>(action: () => T | Promise<T>): Promise<[T, number]> {
  resetPeak();
  const before = peakBytes();
  const result = await action();
  return [result, peakBytes() - before];
}
