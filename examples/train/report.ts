/**
 * What training is about to do, and the figures that it ends with.
 *
 * @module
 */

import { LOOK, type Step } from "./train.ts";

/** What a training came to. */
export interface Outcome {
  /** Its steps. */
  readonly steps: readonly Step[];
  /** How many of them were taken now, and not before it was stopped. */
  readonly taken: number;
  /** Time of these, in milliseconds. */
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
  /** Steps that were taken before, where it goes on. */
  readonly done: number;
  /** Folder of what will be made. */
  readonly out: string;
  /** The command that goes on, should it be stopped. */
  readonly resume: string;
}

/** Writes what a training is about to do, a line each. */
export function formatPlan(plan: Plan): string {
  const { engine, weights, steps, batch, context, text, done, out, resume } = plan;
  const from = done === 0 ? "drawn by the seed" : `of the checkpoint after ${done} steps`;
  return [
    `backend   ${engine}`,
    `weights   ${weights}, ${from}`,
    `plan      ${steps} steps of ${batch} windows of ${context} bytes, drawn of ${text}`,
    `then      weights and curve go to ${out}, and a checkpoint every ${LOOK} steps`,
    `stopped?  ${resume}`,
  ].join("\n") + "\n";
}

/** Writes the figures of a training, a line each. */
export function formatReport(outcome: Outcome): string {
  const { steps, taken, ms, attentionMs, bytesPerStep, out } = outcome;
  const first = steps[0], last = steps[steps.length - 1];
  const perSecond = Math.round(taken * bytesPerStep / ms * 1000);
  const lines = [
    `loss      from ${first.loss.toFixed(3)} to ${last.loss.toFixed(3)} nats per byte`,
    `held out  ${last.heldOut!.toFixed(3)} nats per byte`,
    `time      ${(ms / 1000).toFixed(1)} s: ${taken} steps of ${bytesPerStep} bytes, ` +
    `${perSecond} bytes/s, ${(100 * attentionMs / ms).toFixed(1)} % of it in attention`,
    `saved     ${out}: model.safetensors, config.json, loss.svg`,
    `try it    deno task demo -- --model ${out}`,
  ];
  return lines.join("\n") + "\n";
}
