/**
 * Merging pieces by their scores: of all neighbours that make a piece, those with the best score become one,
 * the first of them where scores are equal, until none do.
 *
 * @module
 */

/** Gives the score of a piece; `undefined` for what is none. */
export type ScoreOf = (piece: string) => number | undefined;

/** Two neighbours that could become one. */
interface Pair {
  readonly score: number;
  readonly left: number;
  readonly right: number;
  /** What it would be: pairs whose sides have changed since are passed over. */
  readonly piece: string;
}

/** Whether a pair is merged before another. */
function isBefore(a: Pair, b: Pair): boolean {
  return a.score > b.score || (a.score === b.score && a.left < b.left);
}

/** A heap of pairs, the one that is merged first on top. */
class Pairs {
  readonly #heap: Pair[] = [];

  push(pair: Pair): void {
    const heap = this.#heap;
    let at = heap.push(pair) - 1;
    for (; at > 0; at = (at - 1) >> 1) {
      const above = (at - 1) >> 1;
      if (!isBefore(pair, heap[above])) break;
      heap[at] = heap[above];
    }
    heap[at] = pair;
  }

  pop(): Pair | undefined {
    const heap = this.#heap, top = heap[0], last = heap.pop();
    if (heap.length === 0 || last === undefined) return top;
    let at = 0;
    for (;;) {
      let below = 2 * at + 1;
      if (below >= heap.length) break;
      if (below + 1 < heap.length && isBefore(heap[below + 1], heap[below])) below++;
      if (!isBefore(heap[below], last)) break;
      heap[at] = heap[below];
      at = below;
    }
    heap[at] = last;
    return top;
  }
}

/** Merges the characters of a text; each pair is looked at when its sides come to be neighbours. */
export function mergeByScore(text: string, scoreOf: ScoreOf): string[] {
  const pieces = Array.from(text), none = -1;
  const next = pieces.map((_, at) => at + 1 < pieces.length ? at + 1 : none);
  const previous = pieces.map((_, at) => at - 1);
  const pairs = new Pairs();
  const consider = (left: number, right: number) => {
    if (left === none || right === none) return;
    const piece = pieces[left] + pieces[right], score = scoreOf(piece);
    if (score !== undefined) pairs.push({ score, left, right, piece });
  };
  for (let at = 0; at + 1 < pieces.length; at++) consider(at, at + 1);
  for (let pair = pairs.pop(); pair !== undefined; pair = pairs.pop()) {
    const { left, right, piece } = pair;
    // One that was merged away is empty, so that its pieces make another text.
    if (next[left] !== right || pieces[left] + pieces[right] !== piece) continue;
    pieces[left] = piece;
    pieces[right] = "";
    next[left] = next[right];
    if (next[right] !== none) previous[next[right]] = left;
    next[right] = none;
    consider(previous[left], left);
    consider(left, next[left]);
  }
  return pieces.filter((piece) => piece !== "");
}
