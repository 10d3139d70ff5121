/**
 * Growth curves: time and peak memory of each peer over the length, until it fails or would take
 * too much. Every point has a process of its own.
 *
 * @module
 */

import { freemem } from "node:os";
import { carryOut, type RuntimeName } from "./children.ts";
import type { Bounds } from "./orders.ts";
import type { Growth, Missing, Point } from "./report.ts";

/** What a curve is taken over. */
export interface GrowthOptions {
  readonly folder: string;
  readonly runtime: RuntimeName;
  readonly heads: number;
  readonly dim: number;
  readonly lengths: readonly number[];
  /** Milliseconds that a call may take. */
  readonly longestCall: number;
}

/** Share of the free memory that a call may be expected to take. */
const memoryShare = 0.7;

/** A call takes its turn alone here. */
const bounds: Bounds = { rounds: 1, perPeer: 0 };

/** Takes one peer's curve. */
export function growthOfPeer(peer: string, options: GrowthOptions): Growth {
  const points: Point[] = [];
  for (const length of options.lengths) {
    const reason = tooMuch(points, length, options.longestCall);
    if (reason) return { peer, points, end: { length, kind: "left out", reason } };
    const found = measure(peer, length, options);
    if ("reason" in found) return { peer, points, end: { ...found, length } };
    points.push(found);
  }
  return { peer, points };
}

/** Why the next length is not tried, if time and memory grow with the square as the scores do. */
function tooMuch(points: readonly Point[], length: number, longest: number): string | undefined {
  const last = points.at(-1);
  if (last === undefined) return;
  const growth = (length / last.length) ** 2;
  const milliseconds = last.milliseconds * growth, bytes = last.bytes * growth;
  if (milliseconds > longest) return `would take some ${Math.round(milliseconds / 1000)} s`;
  if (bytes > freemem() * memoryShare) return `would take some ${Math.round(bytes / 2 ** 30)} GiB`;
}

function measure(peer: string, length: number, options: GrowthOptions): Point | Missing {
  const { folder, heads, dim, runtime } = options;
  const shape = { heads, dim, queries: length, keys: length, causal: false };
  const answers = carryOut({ kind: "size", shape, peer, threads: 1, folder, bounds }, runtime);
  for (const answer of answers) {
    if (answer.kind === "failed" || answer.kind === "refused") return answer;
    if (answer.kind === "sized") {
      const { milliseconds, bytes, error } = answer;
      return { length, milliseconds, bytes, error };
    }
  }
  return { peer, kind: "failed", reason: "gave no answer" };
}
