/**
 * The figures that training ends with.
 *
 * @module
 */

import type { Step } from "./train.ts";

/** What a training came to. */
export interface Outcome {
  /** Its steps. */
  readonly steps: readonly Step[];
  /** Time of all steps, in milliseconds. */
  readonly ms: number;
  /** The part of `ms` that was spent in the library for the steps, in milliseconds. */
  readonly attentionMs: number;
  /** Bytes that a step predicts. */
  readonly bytesPerStep: number;
  /** Number of weights. */
  readonly weights: number;
  /** What did the attention, in words. */
  readonly engine: string;
  /** Folder of what was made. */
  readonly out: string;
}

/** Writes the figures of a training, a line each. */
export function formatReport(outcome: Outcome): string {
  const { steps, ms, attentionMs, bytesPerStep, weights, engine, out } = outcome;
  const first = steps[0], last = steps[steps.length - 1];
  const perSecond = Math.round(steps.length * bytesPerStep / ms * 1000);
  const lines = [
    `backend   ${engine}`,
    `weights   ${weights}`,
    `loss      from ${first.loss.toFixed(3)} to ${last.loss.toFixed(3)} nats per byte`,
    `held out  ${last.heldOut!.toFixed(3)} nats per byte`,
    `time      ${(ms / 1000).toFixed(1)} s: ${steps.length} steps of ${bytesPerStep} bytes, ` +
    `${perSecond} bytes/s, ${(100 * attentionMs / ms).toFixed(1)} % of it in attention`,
    `saved     ${out}: model.safetensors, config.json, loss.svg`,
    `try it    deno task demo -- --model ${out}`,
  ];
  return lines.join("\n") + "\n";
}
