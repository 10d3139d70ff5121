/**
 * The figures that the demo ends with.
 *
 * @module
 */

import type { Generation, Phase } from "./generate.ts";
import type { Options } from "./options.ts";
import { type LogitCheck, TOLERANCE } from "./reference.ts";

/** What a run of the demo found. */
export interface Run {
  /** Backend that ran the model. */
  readonly backend: string;
  /** Why that one was taken, in words. */
  readonly reason: string;
  /** How far the logits are from PyTorch's, where those were recorded. */
  readonly check?: LogitCheck;
  /** What continuing the prompts took. */
  readonly generation: Generation;
  /** What was asked for. */
  readonly options: Pick<Options, "kv">;
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
    ...stopped(run),
  ];
  return lines.join("\n") + "\n";
}

function formatCheck(check: LogitCheck | undefined): string {
  if (check === undefined) return "not compared: the model has no reference.json";
  return `within ${check.difference.toExponential(1)} of PyTorch's float64 ` +
    `(${check.compared} compared, ${TOLERANCE.toExponential(0)} allowed)`;
}

/** Which prompts got fewer bytes than they should have. */
function stopped({ generation: { generated, full }, context }: Run): readonly string[] {
  return full.toSorted((a, b) => a - b).map((prompt) => {
    const which = generated.length === 1 ? "" : `prompt ${prompt + 1} `;
    return `stopped   ${which}after ${generated[prompt]} bytes: the context of ${context} is full`;
  });
}

function formatPhase({ tokens, ms }: Phase): string {
  if (tokens === 0) return "nothing to read";
  const perSecond = Math.round(tokens / ms * 1000);
  return `${perSecond} tokens/s: ${tokens} tokens in ${ms.toFixed(1)} ms`;
}
