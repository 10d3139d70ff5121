/**
 * Timing work on a GPU: several calls are submitted, then the queue is waited for, so that neither the
 * way there nor a read-back is in a figure.
 *
 * @module
 */

/** Something to time. */
export interface Subject {
  /** Submits the work so many times. */
  submit(calls: number): Promise<void>;
}

/** How long is measured. */
export interface Bounds {
  readonly rounds: number;
  /** Milliseconds that a round should last: waiting for the queue takes some of its own. */
  readonly round: number;
  /** Milliseconds for all rounds of a subject, from the second round on. */
  readonly all: number;
}

/** Milliseconds of one call. */
export interface Times {
  readonly median: number;
  readonly best: number;
  readonly worst: number;
}

/** Calls of a round, at most. */
const mostCalls = 200;

/** Calls under way at the same time: enough that the queue is never empty. */
const lanes = 16;

/** Makes calls, some at the same time. */
export async function callOften(calls: number, call: () => Promise<unknown>): Promise<void> {
  let left = calls;
  const lane = async () => {
    while (left-- > 0) await call();
  };
  await Promise.all(Array.from({ length: Math.min(lanes, calls) }, lane));
}

/** The middle of some numbers; of an even count the lower one. */
export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor((values.length - 1) / 2)];
}

/** Sums up the rounds of a subject. */
export function timesOf(rounds: readonly number[]): Times {
  return { median: median(rounds), best: Math.min(...rounds), worst: Math.max(...rounds) };
}

/** Milliseconds of one call, the mean of a round. */
export async function timeRound(
  device: GPUDevice,
  subject: Subject,
  calls: number,
): Promise<number> {
  const start = performance.now();
  await subject.submit(calls);
  await device.queue.onSubmittedWorkDone();
  return (performance.now() - start) / calls;
}

/** Warms a subject up and finds how many of its calls make a round. */
async function callsOf(device: GPUDevice, subject: Subject, bounds: Bounds): Promise<number> {
  // Twice: the first call compiles, and the library learns how much to submit at once.
  for (let time = 0; time < 2; time++) {
    if (await timeRound(device, subject, 1) > bounds.all) return 1;
  }
  let calls = 1;
  for (;;) {
    // Single calls are mostly latency, so that the count is felt for.
    const whole = await timeRound(device, subject, calls) * calls;
    if (whole >= bounds.round / 2 || calls >= mostCalls) break;
    calls = Math.min(mostCalls, Math.max(2 * calls, Math.floor(calls * bounds.round / whole)));
  }
  return calls;
}

/** Times subjects in turn; returns milliseconds of one call, per subject and round. */
export async function race(
  device: GPUDevice,
  subjects: readonly Subject[],
  bounds: Bounds,
): Promise<number[][]> {
  const counts: number[] = [];
  for (const subject of subjects) counts.push(await callsOf(device, subject, bounds));
  const times = subjects.map((): number[] => []);
  const start = performance.now();
  for (let round = 0; round < bounds.rounds; round++) {
    if (round > 0 && performance.now() - start > bounds.all * subjects.length) break;
    for (const [index, subject] of subjects.entries()) {
      times[index].push(await timeRound(device, subject, counts[index]));
    }
  }
  return times;
}

/** Times one subject. */
export async function time(device: GPUDevice, subject: Subject, bounds: Bounds): Promise<Times> {
  return timesOf((await race(device, [subject], bounds))[0]);
}
