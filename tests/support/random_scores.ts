/**
 * Random score and mask functions: any operation there is, nested, of what a function is given and of arrays. The same seed
 * gives the same function at every call.
 *
 * @module
 */

import { type Captured, captured } from "../../src/scores/captured.ts";
import type { Condition, MaskMod, Place, Score, ScoreMod, Whole } from "../../src/scores/kinds.ts";
import { where } from "../../src/scores/where.ts";
import { count } from "./problem.ts";
import { normals, type Random, seeded, whole } from "./random.ts";

/** Arrays of one to three axes. */
const scores: readonly Captured<Score>[] = [[7], [3, 4], [2, 3, 4]].map((shape, at) =>
  captured(normals(count(shape), seeded(at)), shape, { grad: true })
);
const wholes: readonly Captured<Whole>[] = [[9], [4, 5]].map((shape) =>
  captured(Int32Array.from({ length: count(shape) }, (_, at) => at * 7 % 11 - 3), shape)
);

/** Operations within one another at most. */
const deepest = 4;

type Step<T> = (depth: number) => T;

/** Writes one function. */
class Writer {
  readonly #random: Random;
  readonly #place: Place;
  /** None in a mask. */
  readonly #score: Score | undefined;
  /** Whether it is of whole numbers alone. */
  readonly #isWhole: boolean;

  constructor(seed: number, place: Place, score?: Score, isWhole = false) {
    this.#isWhole = isWhole;
    this.#random = seeded(seed);
    this.#place = place;
    this.#score = score;
  }

  #pick<T>(list: readonly T[]): T {
    return list[whole(this.#random, 0, list.length - 1)];
  }

  /** One of what ends, or of what goes deeper. */
  #step<T>(depth: number, ends: readonly (() => T)[], goes: readonly Step<T>[]): T {
    const isEnd = depth >= deepest || this.#random() < 0.2;
    return isEnd ? this.#pick(ends)() : this.#pick(goes)(depth + 1);
  }

  #number(): number {
    return (this.#random() - 0.5) * 4;
  }

  #at<Element extends Score | Whole>(list: readonly Captured<Element>[], depth: number): Element {
    const array = this.#pick(list);
    return array.at(...array.shape.map(() => this.whole(depth)));
  }

  score(depth = 0): Score {
    const one: Step<Score> = (at) => this.score(at);
    const two = (name: "add" | "sub" | "mul" | "min" | "max"): Step<Score> => (at) =>
      one(at)[name](this.#random() < 0.2 ? this.#number() : one(at));
    return this.#step<Score>(depth, [
      () => this.#score ?? this.#place.q.toF32(),
      () => this.#pick([this.#place.q, this.#place.k, this.#place.h]).toF32(),
      () => this.#at(scores, deepest),
    ], [
      ...(["add", "sub", "mul", "min", "max"] as const).map(two),
      (at) => one(at).div(one(at).abs().add(0.5)),
      (at) => one(at).mod(this.#pick([1.5, -2, 0.75])),
      (at) => one(at).floorDiv(this.#pick([1.5, -2, 0.75])),
      (at) => one(at).clamp(-1, 1.5),
      ...(["abs", "neg", "tanh", "sigmoid"] as const).map((name): Step<Score> => (at) =>
        one(at)[name]()
      ),
      (at) => one(at).tanh().exp(),
      (at) => one(at).abs().add(0.25).log(),
      (at) => one(at).abs().add(0.25).sqrt(),
      (at) => this.whole(at).toF32(),
      (at) => this.#at(scores, at),
      (at) => where(this.condition(at), one(at), one(at)),
    ]);
  }

  whole(depth = 0): Whole {
    const one: Step<Whole> = (at) => this.whole(at);
    const { b, h, q, k } = this.#place;
    const two =
      (name: "add" | "sub" | "mul" | "min" | "max" | "mod" | "floorDiv"): Step<Whole> => (at) =>
        one(at)[name](this.#random() < 0.4 ? whole(this.#random, -5, 9) : one(at));
    return this.#step<Whole>(depth, [
      ...[b, h, q, k].map((node) => () => node),
      () => this.#at(wholes, deepest),
    ], [
      ...(["add", "sub", "mul", "min", "max", "mod", "floorDiv"] as const).map(two),
      (at) => one(at).clamp(-3, 20),
      (at) => one(at).abs(),
      (at) => one(at).neg(),
      ...(this.#isWhole ? [] : [(at: number) => this.score(at).toI32()]),
      (at) => this.#at(wholes, at),
      (at) => where(this.condition(at), one(at), one(at)),
    ]);
  }

  condition(depth = 0): Condition {
    const one: Step<Condition> = (at) => this.condition(at),
      names = ["lt", "le", "gt", "ge", "eq", "ne"] as const;
    const { q, k } = this.#place;
    const compareScores: Step<Condition> = (at) =>
      this.score(at)[this.#pick(names.slice(0, 4))](this.score(at));
    return this.#step<Condition>(depth, [
      () => q[this.#pick(names)](k),
      () => q.sub(k)[this.#pick(names)](whole(this.#random, -9, 9)),
    ], [
      (at) => this.whole(at)[this.#pick(names)](this.whole(at)),
      ...(this.#isWhole ? [] : [compareScores]),
      (at) => one(at).and(one(at)),
      (at) => one(at).or(one(at)),
      (at) => one(at).not(),
      (at) => where(one(at), one(at), one(at)),
    ]);
  }
}

/** A score function, by its seed. */
export function randomScoreMod(seed: number): ScoreMod {
  return (score, place) => new Writer(seed, place, score).score();
}

/** A mask function, by its seed. */
export function randomMaskMod(seed: number): MaskMod {
  return (place) => new Writer(seed, place).condition();
}

/** The same of whole numbers alone, which are the same on every machine. */
export function randomWholeMask(seed: number): MaskMod {
  return (place) => new Writer(seed, place, undefined, true).condition();
}
