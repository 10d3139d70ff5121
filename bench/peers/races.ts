/**
 * The races: FlashTile and every peer that loads, in turn in one process per shape.
 *
 * @module
 */

import { median } from "../spread.ts";
import { peers } from "./all.ts";
import { carryOut, type RuntimeName } from "./children.ts";
import type { Answer, Bounds } from "./orders.ts";
import { type Shape, workOf } from "./problem.ts";
import type { Missing, Race, Raced, Ratio } from "./report.ts";

/** Races of one runtime with so many threads. */
export interface Series {
  readonly runtime: RuntimeName;
  readonly threads: number;
  readonly shapes: readonly Shape[];
}

/** What a series needs besides. */
export interface RaceOptions {
  readonly folder: string;
  readonly bounds: Bounds;
  /** Milliseconds that a call may take; who would take longer is left out. */
  readonly longestCall: number;
  /** Told after each race. */
  report(race: Race): void;
}

const ours = peers[0].name;

/** Queries from which on a call's time foretells that of a larger one. */
const foretelling = 512;

/** Runs a series from small shapes to large ones. */
export function runSeries(series: Series, options: RaceOptions): Race[] {
  const known: Known = { speeds: new Map(), refusals: new Map() };
  return series.shapes.map((shape) => {
    const race = runRace(series, shape, options, known);
    options.report(race);
    return race;
  });
}

/** What earlier shapes of a series have shown. */
interface Known {
  /** Most milliseconds per operation of the whole score matrix: few save its unseen half. */
  readonly speeds: Map<string, number>;
  readonly refusals: Map<string, Missing>;
}

function runRace(series: Series, shape: Shape, options: RaceOptions, known: Known): Race {
  const { runtime, threads } = series;
  const { folder, bounds } = options;
  const missing = new Map(known.refusals);
  for (const { name } of peers.slice(1)) {
    const reason = tooLong(known.speeds.get(name), shape, options.longestCall);
    if (reason) missing.set(name, { peer: name, kind: "left out", reason });
  }
  const answers = untilItHolds(
    missing,
    (names) => carryOut({ kind: "race", shape, peers: names, threads, folder, bounds }, runtime),
  );
  learn(known, answers, shape);
  return { runtime: runtimeOf(answers), threads, shape, rows: rowsOf(answers, missing, shape) };
}

function wholeWork(shape: Shape): number {
  return workOf({ ...shape, causal: false });
}

function tooLong(speed: number | undefined, shape: Shape, longest: number): string | undefined {
  const milliseconds = (speed ?? 0) * wholeWork(shape);
  if (milliseconds > longest) return `a call would take some ${Math.round(milliseconds / 1000)} s`;
}

function learn({ speeds, refusals }: Known, answers: readonly Answer[], shape: Shape): void {
  for (const answer of answers) {
    if (answer.kind === "refused") refusals.set(answer.peer, answer);
    if (answer.kind !== "raced" || shape.queries < foretelling) continue;
    const speed = median(answer.milliseconds) / wholeWork(shape);
    speeds.set(answer.peer, Math.max(speed, speeds.get(answer.peer) ?? 0));
  }
}

/**
 * Repeats a race without the peer that crashed the process, until one ends well. Peers that fail
 * without a crash cost no repetition.
 */
function untilItHolds(
  missing: Map<string, Missing>,
  attempt: (names: string[]) => Answer[],
): Answer[] {
  for (;;) {
    const answers = attempt(peers.map(({ name }) => name).filter((name) => !missing.has(name)));
    for (const answer of answers) {
      if (answer.kind === "failed" || answer.kind === "refused") missing.set(answer.peer, answer);
    }
    if (answers.at(-1)?.kind === "done" || missing.size === peers.length) return answers;
  }
}

function runtimeOf(answers: readonly Answer[]): string {
  for (const answer of answers) {
    if (answer.kind === "runtime") return answer.runtime;
  }
  return "unknown";
}

/** In the order of the peers. */
function rowsOf(
  answers: readonly Answer[],
  missing: ReadonlyMap<string, Missing>,
  shape: Shape,
): (Raced | Missing)[] {
  const raced = answers.filter((answer) => answer.kind === "raced");
  const mine = raced.find(({ peer }) => peer === ours)?.milliseconds;
  return peers.flatMap(({ name }): (Raced | Missing)[] => {
    const answer = raced.find(({ peer }) => peer === name);
    if (answer === undefined) return [missing.get(name) ?? []].flat();
    const { milliseconds, error } = answer;
    return [{
      peer: name,
      median: median(milliseconds),
      best: Math.min(...milliseconds),
      worst: Math.max(...milliseconds),
      turns: milliseconds.length,
      gflops: workOf(shape) / median(milliseconds) / 1e6,
      ...(name !== ours && mine && { ratio: ratioOf(milliseconds, mine) }),
      error,
    }];
  });
}

/** Ratios of the rounds that both took part in. */
export function ratioOf(theirs: readonly number[], mine: readonly number[]): Ratio {
  const ratios = theirs.map((milliseconds, round) => milliseconds / mine[round]);
  return { median: median(ratios), lowest: Math.min(...ratios), highest: Math.max(...ratios) };
}
