/**
 * What training is about to do, and the figures that it ends with.
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
  /** Folder of what was made. */
  readonly out: string;
}

/** What a training is about to do. */
export interface Plan {
  /** What does the attention, in words. */
  readonly engine: string;
  /** Number of weights. */
  readonly weights: number;
  /** How often they are changed. */
  readonly steps: number;
  /** Windows of a step, and bytes of a window. */
  readonly batch: number;
  readonly context: number;
  /** Bytes of the text. */
  readonly text: number;
  /** Folder of what will be made. */
  readonly out: string;
}

/** Writes what a training is about to do, a line each. */
export function formatPlan({ engine, weights, steps, batch, context, text, out }: Plan): string {
  return [
    `backend   ${engine}`,
    `weights   ${weights}, drawn by the seed`,
    `plan      ${steps} steps of ${batch} windows of ${context} bytes, drawn of ${text}`,
    `then      weights and curve go to ${out}; of a run that is stopped nothing is kept`,
  ].join("\n") + "\n";
}

/** Writes the figures of a training, a line each. */
export function formatReport(outcome: Outcome): string {
  const { steps, ms, attentionMs, bytesPerStep, out } = outcome;
  const first = steps[0], last = steps[steps.length - 1];
  const perSecond = Math.round(steps.length * bytesPerStep / ms * 1000);
  const lines = [
    `loss      from ${first.loss.toFixed(3)} to ${last.loss.toFixed(3)} nats per byte`,
    `held out  ${last.heldOut!.toFixed(3)} nats per byte`,
    `time      ${(ms / 1000).toFixed(1)} s: ${steps.length} steps of ${bytesPerStep} bytes, ` +
    `${perSecond} bytes/s, ${(100 * attentionMs / ms).toFixed(1)} % of it in attention`,
    `saved     ${out}: model.safetensors, config.json, loss.svg`,
    `try it    deno task demo -- --model ${out}`,
  ];
  return lines.join("\n") + "\n";
}
