/**
 * Races: subjects timed in turn, many short rounds in one process. The speed of compiled Wasm moves
 * in phases of a tenth of a second and more, so that what runs in one go can look twice as fast as
 * its neighbour by luck of the hour.
 *
 * @module
 */

import { measure } from "mitata";

/** Something to time. */
export interface Subject {
  readonly name: string;
  /** Floating-point operations of one `run`. */
  readonly work: number;
  run(): unknown;
}

/** Speeds of a subject in GFLOPS: half the samples were faster than the median. */
export interface Speed {
  readonly name: string;
  readonly median: number;
  readonly best: number;
  readonly worst: number;
  /** Median time of one run in milliseconds. */
  readonly milliseconds: number;
}

/** Times every subject `rounds` times, in turn, at least `millisecondsPerTurn` each. */
export async function race(
  subjects: readonly Subject[],
  rounds: number,
  millisecondsPerTurn: number,
): Promise<Speed[]> {
  const samples = subjects.map((): number[] => []);
  for (let round = 0; round < rounds; round++) {
    for (const [index, subject] of subjects.entries()) {
      const stats = await measure(() => subject.run(), {
        min_samples: 1,
        min_cpu_time: millisecondsPerTurn * 1e6,
        warmup_samples: round === 0 ? 2 : 0,
        gc: false,
      });
      samples[index].push(stats.p50);
    }
  }
  return subjects.map(({ name, work }, index) => speedOf(name, work, samples[index]));
}

function speedOf(name: string, work: number, nanoseconds: number[]): Speed {
  const sorted = nanoseconds.toSorted((a, b) => a - b);
  const median = sorted[Math.floor((sorted.length - 1) / 2)];
  return {
    name,
    median: work / median,
    best: work / sorted[0],
    worst: work / sorted.at(-1)!,
    milliseconds: median / 1e6,
  };
}
