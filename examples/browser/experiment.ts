/**
 * The experiment: every length on every backend, on the same inputs.
 *
 * @module
 */

import { type BackendName, DeviceLostError, type Engine } from "@flashtile/attention";
import { time } from "./measure.ts";
import { type ExpectedRow, expectRows, greatestDifference } from "./oracle.ts";
import { operationsOf, type Problem, randomProblem } from "./problem.ts";
import { lengthsOf, type Settings } from "./settings.ts";
import { turn } from "./turn.ts";

/** A backend that runs. */
export type Runner = Pick<Engine, "backend" | "attention">;

/** What was found for a backend and a length. */
export interface Measurement {
  readonly backend: BackendName;
  readonly length: number;
  readonly milliseconds: number;
  readonly gflops: number;
  /** Greatest absolute difference to the oracle. */
  readonly difference: number;
}

/** Whoever follows the experiment. */
export interface Listener {
  /** What begins, and how much of everything is done, from 0 to 1. */
  progress(words: string, done: number): void;
  measured(measurement: Measurement): void;
  /** Something that a backend could not do. */
  trouble(backend: BackendName, words: string): void;
}

/** A backend is left out from a length on that would keep it longer. */
const patienceSeconds = 10;

/** The backends as the page calls them. */
export const displayNames: Readonly<Record<BackendName, string>> = {
  wasm: "WebAssembly",
  webgpu: "WebGPU",
};

/**
 * Runs every length on every backend.
 *
 * @throws The signal's reason, when it is aborted.
 */
export async function runExperiment(
  settings: Settings,
  runners: readonly Runner[],
  listener: Listener,
  signal: AbortSignal,
): Promise<void> {
  const lengths = lengthsOf(settings), total = lengths.length * (runners.length + 1);
  const lanes = runners.map((runner) => new Lane(runner, listener));
  let step = 0;
  const begin = async (length: number, words: string) => {
    listener.progress(`N = ${length}: ${words}`, step++ / total);
    await turn();
    signal.throwIfAborted();
  };
  for (const length of lengths) {
    await begin(length, "computing the float64 oracle");
    const problem = randomProblem(settings, length);
    const expected = await expectRows(problem, signal);
    for (const lane of lanes) {
      await begin(length, `timing ${lane.name}`);
      await lane.run(problem, expected, signal);
    }
  }
}

/** A backend on its way through the lengths. */
class Lane {
  readonly name: string;
  readonly #runner: Runner;
  readonly #listener: Listener;
  /** What the next length is to take. */
  #seconds = 0;
  #ended = false;

  constructor(runner: Runner, listener: Listener) {
    this.name = displayNames[runner.backend];
    this.#runner = runner;
    this.#listener = listener;
  }

  /** Measures a length, unless that would take too long or the backend has failed before. */
  async run(
    problem: Problem,
    expected: readonly ExpectedRow[],
    signal: AbortSignal,
  ): Promise<void> {
    const length = problem.q.shape[1];
    if (this.#ended) return;
    if (this.#seconds > patienceSeconds) {
      const seconds = Math.round(this.#seconds);
      return this.#end(`left out from N = ${length} on, which would take some ${seconds} s here`);
    }
    try {
      const measurement = await measure(this.#runner, problem, expected, signal);
      // Twice the length is four times the work, and is done twice at least.
      this.#seconds = 8 * measurement.milliseconds / 1000;
      this.#listener.measured(measurement);
    } catch (error) {
      signal.throwIfAborted();
      this.#fail(length, error as Error);
    }
  }

  #fail(length: number, error: Error): void {
    const words = `N = ${length}: ${error.message}`;
    // The engine asks for a new device by itself; any other error would come again.
    if (error instanceof DeviceLostError) this.#listener.trouble(this.#runner.backend, words);
    else this.#end(words);
  }

  #end(words: string): void {
    this.#ended = true;
    this.#listener.trouble(this.#runner.backend, words);
  }
}

async function measure(
  runner: Runner,
  problem: Problem,
  expected: readonly ExpectedRow[],
  signal: AbortSignal,
): Promise<Measurement> {
  const { q, k, v, causal } = problem;
  const { milliseconds, result } = await time(() => runner.attention(q, k, v, { causal, signal }));
  return {
    backend: runner.backend,
    length: q.shape[1],
    milliseconds,
    gflops: operationsOf(problem) / milliseconds / 1e6,
    difference: greatestDifference(result.out, expected),
  };
}
