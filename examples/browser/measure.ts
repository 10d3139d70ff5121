/**
 * How long a call takes.
 *
 * @module
 */

/** Repetitions end when these milliseconds are spent, or after so many calls. */
const budget = { milliseconds: 150, calls: 25 };

/** A call's time and result. */
export interface Timed<T> {
  /** Median of the calls. */
  readonly milliseconds: number;
  readonly result: T;
}

/** Times a call. The first one is not counted: in it shaders are compiled and threads are started. */
export async function time<T>(call: () => Promise<T>): Promise<Timed<T>> {
  const result = await call();
  const times: number[] = [];
  let spent = 0;
  do {
    const start = performance.now();
    await call();
    times.push(performance.now() - start);
    spent += times.at(-1)!;
  } while (spent < budget.milliseconds && times.length < budget.calls);
  return { milliseconds: median(times), result };
}

function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b), middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
