/**
 * How large each step of a training is.
 *
 * @module
 */

/** What a training's steps are like. */
export interface Schedule {
  /** Number of steps. */
  readonly steps: number;
  /** Size of the largest. */
  readonly rate: number;
}

/** Share of the steps that grow: the first gradients say little about the later ones. */
const WARMUP = 0.05;

/** Share of the largest size that the last step has. */
const LAST = 0.05;

/**
 * The size of a step: grows in a line, then falls by half a cosine.
 *
 * @param step Number of the step, from 0.
 * @param schedule What the steps are like.
 */
export function rateAt(step: number, { steps, rate }: Schedule): number {
  const warmup = Math.ceil(WARMUP * steps);
  if (step < warmup) return rate * (step + 1) / warmup;
  const passed = (step - warmup) / Math.max(1, steps - 1 - warmup);
  return rate * (LAST + (1 - LAST) * (1 + Math.cos(Math.PI * passed)) / 2);
}
