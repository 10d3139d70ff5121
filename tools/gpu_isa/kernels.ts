/**
 * The kernels that are compiled: every tile, plain and with terms, and the gradients.
 *
 * @module
 */

import {
  chooseSlices,
  forwardCode,
  keysOf,
  rowsOf,
  type Tile,
  tiles,
  unrolled,
  workgroupBytes,
} from "../../src/webgpu/attention/variants.ts";
import {
  backwardCode,
  gradientBytes,
  gradientTile,
  type TensorGoal,
} from "../../src/webgpu/backward/variants.ts";
import type { Access } from "../../src/webgpu/shader/access.ts";
import type { KeyLoop } from "./loops.ts";

/** A shader that is judged. */
export interface Kernel {
  readonly name: string;
  readonly code: string;
  readonly workgroupBytes: number;
  readonly loop: KeyLoop;
}

/** Elements of a row of queries, keys and values that each tile is compiled for. */
const dims: Readonly<Record<keyof typeof tiles, readonly number[]>> = {
  ...{ large: [64, 128], narrow: [64], small: [128, 256], flat: [128] },
};

/** Element types, plain or with terms: what is stored in 16 bits differs in how it is loaded alone. */
const ways: readonly [dtype: "f32" | "f16", terms: boolean][] = [
  ["f32", false],
  ["f16", false],
  ["f32", true],
];

const access = (dtype: Access["dtype"]): Access => ({ dtype, vectors: true });

function loopOf(tile: Tile, dim: number, slices: number): KeyLoop {
  const { TX, TY, SLICE, VALUES } = tile, vectors = dim / 4;
  const columns = vectors + slices * VALUES;
  return {
    fmas: rowsOf(tile) * keysOf(tile) * 4 * columns / (TX * TY),
    steps: vectors / SLICE,
    productTrips: SLICE,
    valueTrips: keysOf(tile) / unrolled,
    across: TX,
  };
}

/** A forward kernel, as calls have it that want `lse`, too. */
function forwardKernel(
  name: string,
  tile: Tile,
  dim: number,
  dtype: "f32" | "f16",
  terms: boolean,
): Kernel {
  const slices = chooseSlices(tile, dim), one = access(dtype);
  return {
    name: `${name} D=${dim} ${dtype}${terms ? " terms" : ""}`,
    code: forwardCode({
      ...{ tile, slices, q: one, k: one, v: one, out: one },
      ...{ lse: true, subgroups: false, terms },
    }),
    workgroupBytes: workgroupBytes(tile),
    loop: loopOf(tile, dim, slices),
  };
}

/** What makes a gradient. */
function gradientKernel(goal: TensorGoal, dim: number, plain: boolean): Kernel {
  const { TX, TY, RK, SLICE } = gradientTile, one = access("f32");
  const vectors = dim / 4, pairs = 4 * RK;
  // Products of queries and keys, and of `dOut` and values but for dV, and what is added up.
  const products = goal === "dv" ? 1 : 2;
  return {
    name: `${goal} D=${dim} f32${plain ? "" : " terms"}`,
    code: backwardCode(goal, { q: one, k: one, v: one, d_out: one }, one, dim, { plain }),
    workgroupBytes: gradientBytes(gradientTile),
    loop: {
      fmas: pairs * dim * (products + 1),
      steps: vectors / SLICE,
      productTrips: SLICE,
      valueTrips: goal === "dq" ? TX * RK / unrolled : TY,
      across: TX,
    },
  };
}

/** All of them. */
export function kernels(): Kernel[] {
  const forward = (Object.keys(tiles) as (keyof typeof tiles)[]).flatMap((name) =>
    dims[name].flatMap((dim) =>
      ways.map(([dtype, terms]) => forwardKernel(name, tiles[name], dim, dtype, terms))
    )
  );
  const gradients = [64, 128].flatMap((dim) =>
    (["dq", "dk", "dv"] as const).flatMap((goal) =>
      [true, false].map((plain) => gradientKernel(goal, dim, plain))
    )
  );
  return [...forward, ...gradients];
}
