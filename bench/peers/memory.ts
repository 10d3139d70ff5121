/**
 * Peak memory of this process.
 *
 * @module
 */

import { readFileSync, writeFileSync } from "node:fs";
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

/**
 * As Linux has it of this program alone: `resourceUsage()` counts the peak of whoever started it, too,
 * behind which a growth may go unseen.
 */
function peakBytes(): number {
  return (ownPeakKiB() ?? process.resourceUsage().maxRSS) * 1024;
}

function ownPeakKiB(): number | undefined {
  try {
    const kibibytes = readFileSync("/proc/self/status", "utf8").match(/^VmHWM:\s*(\d+)/m);
    return kibibytes === null ? undefined : Number(kibibytes[1]);
  } catch {
    return undefined; // Not Linux.
  }
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
