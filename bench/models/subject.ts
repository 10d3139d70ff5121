/**
 * Subjects of the bench of models, timed in turn: what disturbs one disturbs all, and who is compared had its turn right
 * before or after.
 *
 * @module
 */

import { spreadOf } from "../spread.ts";

/** Something that is timed. */
export interface Subject {
  /** What it works on: subjects of a group do the same. */
  readonly group: string;
  readonly name: string;
  run(): Promise<unknown>;
}

/** A subject with the milliseconds of the fastest run of each of its turns. */
export interface Timed extends Subject {
  readonly turns: number[];
}

/** What is told of a subject. */
export interface Row {
  readonly group: string;
  readonly name: string;
  /** Milliseconds: of the fastest run, and the median of turns. */
  readonly best: number;
  readonly median: number;
  readonly turns: number;
  /** Times as fast as others of the group: the ratio of the fastest runs, and of turns of one round median and quartiles. */
  readonly over: Readonly<Record<string, { best: number } & ReturnType<typeof spreadOf>>>;
}

/** Milliseconds that a subject runs before the next has its turn. */
const turnMilliseconds = 60;

/** Times subjects for so many seconds, of which the first round does not count, and at least three rounds. */
export async function race(subjects: readonly Subject[], seconds: number): Promise<Timed[]> {
  const timed = subjects.map((subject): Timed => ({ ...subject, turns: [] }));
  const start = performance.now(), isOver = () => performance.now() - start > seconds * 1000;
  for (let round = 0; round < 4 || !isOver(); round++) {
    for (const { run, turns } of timed) {
      const fastest = await takeTurn(run);
      if (round > 0) turns.push(fastest);
    }
  }
  return timed;
}

async function takeTurn(run: () => Promise<unknown>): Promise<number> {
  const end = performance.now() + turnMilliseconds;
  let fastest = Infinity;
  do {
    const from = performance.now();
    await run();
    fastest = Math.min(fastest, performance.now() - from);
  } while (performance.now() < end);
  return fastest;
}

/** Compares subjects with those of their group whose names say that they are peers. */
export function compare(timed: readonly Timed[], isPeer: (name: string) => boolean): Row[] {
  return timed.map(({ group, name, turns }) => {
    const best = Math.min(...turns), over: Record<string, Row["over"][string]> = {};
    for (const peer of timed) {
      if (peer.group !== group || peer.name === name || !isPeer(peer.name)) continue;
      const ratios = turns.map((own, round) => peer.turns[round] / own);
      over[peer.name] = { best: Math.min(...peer.turns) / best, ...spreadOf(ratios) };
    }
    return { group, name, best, median: spreadOf(turns).median, turns: turns.length, over };
  });
}

/** A row as it is printed. */
export function printed({ group, name, best, median, over }: Row): string {
  const ratios = Object.entries(over).map(([peer, { best, median }]) =>
    `${best.toFixed(2)}x ${peer} (in pairs ${median.toFixed(2)})`
  );
  return [
    `${group.padEnd(12)} ${name.padEnd(22)} ${best.toFixed(1).padStart(8)} ms`,
    `median ${median.toFixed(1).padStart(8)}`,
    ...ratios,
  ].join(", ");
}
