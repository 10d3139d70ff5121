/**
 * The figures that the demo ends with.
 *
 * @module
 */

import { addPhases, type Generation, type Phase } from "./generate.ts";
import type { Options } from "./options.ts";
import { type LogitCheck, TOLERANCE } from "./reference.ts";

/** What a run of the demo found. */
export interface Run {
  /** Backend that did the attention. */
  readonly backend: string;
  /** Why that one was taken, in words. */
  readonly reason: string;
  /** How far the logits are from PyTorch's, where those were recorded. */
  readonly check?: LogitCheck;
  /** What continuing the prompts took. */
  readonly generation: Generation;
  /** What was asked for. */
  readonly options: Pick<Options, "kv" | "tokens">;
  /** Longest sequence of the model, in bytes. */
  readonly context: number;
}

/** Writes the figures of a run, a line each. */
export function formatReport(run: Run): string {
  const { backend, reason, check, generation, options } = run;
  const { prefill, decode, cacheBytes } = generation;
  const lines = [
    `backend   ${backend}: ${reason}`,
    `logits    ${formatCheck(check)}`,
    `cache     ${options.kv}: ${Math.ceil(cacheBytes / 1024)} KiB for ` +
    `${prefill.tokens + decode.tokens} tokens`,
    `prefill   ${formatPhase(prefill)}`,
    `decode    ${formatPhase(decode)}`,
    `attention ${share(addPhases(prefill, decode))} of the time`,
    ...stopped(run),
  ];
  return lines.join("\n") + "\n";
}

function formatCheck(check: LogitCheck | undefined): string {
  if (check === undefined) return "not compared: the model has no reference.json";
  return `within ${check.difference.toExponential(1)} of PyTorch's float64 ` +
    `(${check.compared} compared, ${TOLERANCE.toExponential(0)} allowed)`;
}

/** Which prompts got fewer bytes than were asked for. */
function stopped({ generation: { generated }, options, context }: Run): readonly string[] {
  return [...generated.entries()].filter(([, count]) => count < options.tokens)
    .map(([prompt, count]) => {
      const which = generated.length === 1 ? "" : `prompt ${prompt + 1} `;
      return `stopped   ${which}after ${count} bytes: the context of ${context} is full`;
    });
}

function formatPhase(phase: Phase): string {
  if (phase.tokens === 0) return "nothing to read";
  const perSecond = Math.round(phase.tokens / phase.ms * 1000);
  return `${perSecond} tokens/s: ${phase.tokens} tokens in ${phase.ms.toFixed(1)} ms, ` +
    `${share(phase)} of it in attention`;
}

function share({ ms, attentionMs }: Phase): string {
  return `${(100 * attentionMs / ms).toFixed(1)} %`;
}
