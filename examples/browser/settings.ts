/**
 * What the page is asked to run.
 *
 * @module
 */

/** What is run. */
export interface Settings {
  /** Heads of queries, keys and values. */
  readonly heads: number;
  /** Elements of a row. */
  readonly dim: number;
  /** Whether a query sees no key behind it. */
  readonly causal: boolean;
  /** The longest sequence. */
  readonly largest: number;
}

/** What stands in the form. */
export interface Form {
  readonly heads: string;
  readonly dim: string;
  readonly causal: boolean;
  readonly largest: string;
}

/** The shortest sequence; the others are twice as long as the one before. */
const smallest = 64;

/** Most numbers of a tensor: 128 MiB, of which a run has four and each backend its copies. */
const mostElements = 2 ** 25;

/**
 * Reads the form.
 *
 * @throws {RangeError} When a number cannot be used; the message is for the page's reader.
 */
export function readSettings(form: Form): Settings {
  const heads = wholeNumber("H", form.heads, 1, 64);
  const dim = wholeNumber("D", form.dim, 1, 512);
  const largest = wholeNumber("The largest N", form.largest, smallest, 65536);
  if (heads * dim * largest > mostElements) {
    throw new RangeError(
      `H × D × N must be at most ${mostElements}, so that it fits into memory, ` +
        `got ${heads * dim * largest}: take a smaller N`,
    );
  }
  return { heads, dim, causal: form.causal, largest };
}

function wholeNumber(name: string, text: string, least: number, most: number): number {
  const value = /^\d+$/.test(text) ? Number(text) : NaN;
  if (value >= least && value <= most) return value;
  throw new RangeError(`${name} must be a whole number from ${least} to ${most}, got "${text}"`);
}

/** The lengths that are run: 64, 128, ... up to the largest. */
export function lengthsOf({ largest }: Settings): number[] {
  const lengths: number[] = [];
  for (let length = smallest; length <= largest; length *= 2) lengths.push(length);
  return lengths;
}
