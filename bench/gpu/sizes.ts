/**
 * How much is measured: on a GPU, and on a program that plays one.
 *
 * @module
 */

import type { Bounds } from "./timing.ts";

/** Sizes of everything. */
export interface Sizes {
  readonly heads: number;
  readonly lengths: readonly number[];
  readonly dims: readonly number[];
  /** Extents of the products that the ceiling is taken from, ascending, each twice the one before. */
  readonly products: readonly number[];
  /** How many ways of cutting them are tried. */
  readonly blockings: number;
  readonly bounds: Bounds;
  readonly search: {
    /** Tokens of the searched shapes, and keys of decoding. */
    readonly length: number;
    readonly keys: number;
    /** Which of them, by name. */
    readonly shapes: readonly string[];
    /** Candidates for each, beside the tile that is chosen. */
    readonly most: number;
    readonly bounds: Bounds;
  };
}

/** For a GPU. */
export const fullSizes: Sizes = {
  heads: 8,
  lengths: [1024, 4096],
  dims: [64, 128],
  products: [1024, 2048, 4096],
  blockings: Infinity,
  bounds: { rounds: 9, round: 100, all: 3000 },
  search: {
    length: 4096,
    keys: 16_384,
    shapes: ["D=64", "D=128", "D=256", "flat"],
    most: Infinity,
    bounds: { rounds: 5, round: 40, all: 1000 },
  },
};

/** To see that everything runs: figures say nothing. */
export const quickSizes: Sizes = {
  heads: 1,
  lengths: [256],
  dims: [64, 128],
  products: [256],
  blockings: 2,
  bounds: { rounds: 2, round: 10, all: 100 },
  search: {
    length: 256,
    keys: 1024,
    shapes: ["D=64"],
    most: 2,
    bounds: { rounds: 2, round: 10, all: 100 },
  },
};
