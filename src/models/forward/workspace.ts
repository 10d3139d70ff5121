/**
 * What a pass has its rows in: tensors of the engine's that grow with the passes.
 *
 * @module
 */

import type { EngineTensor } from "../../contract/backend.ts";
import type { Engine } from "../../engine/engine.ts";
import type { TensorData } from "../../tensor/dtype.ts";
import type { AnyTensor } from "../../tensor/tensor.ts";
import type { ModelPlan } from "../architectures/model.ts";

/** Rows by name. */
type Name = "x" | "h" | "wide" | "context";

/** Columns of each: the stream of states, what norms give, what linear layers widen to, and what attention gives. */
function columnsOf(plan: ModelPlan): Record<Name, number> {
  const { width, heads, kvHeads, headDim, feedWidth, isGated } = plan;
  return {
    ...{ x: width, h: width, context: heads * headDim },
    wide: Math.max((heads + 2 * kvHeads) * headDim, feedWidth * (isGated ? 2 : 1)),
  };
}

/** Some columns of rows. */
export interface Columns {
  /** Elements from a row to the next; by default as many as there are columns. */
  readonly step?: number;
  /** The first column. */
  readonly from?: number;
}

/** Rows of a tensor: its first ones, whose memory is wherever it is by now. */
export function rowsOf(
  { data }: EngineTensor<TensorData>,
  rows: number,
  columns: number,
  { step = columns, from = 0 }: Columns = {},
): AnyTensor {
  return { data, dtype: "f32", shape: [rows, columns], strides: [step, 1], offset: from };
}

/** The memory of passes. */
export class Workspace {
  readonly #engine: Engine;
  readonly #columns: Record<Name, number>;
  #rows = 0;
  #tensors: Partial<Record<Name, EngineTensor<TensorData>>> = {};

  constructor(plan: ModelPlan, engine: Engine) {
    this.#columns = columnsOf(plan);
    this.#engine = engine;
  }

  /** Has room for so many rows. */
  reserve(rows: number): void {
    if (rows <= this.#rows) return;
    this.free();
    for (const name of Object.keys(this.#columns) as Name[]) {
      this.#tensors[name] = this.#engine.tensor([rows, this.#columns[name]]);
    }
    this.#rows = rows;
  }

  /** A tensor of it. */
  get(name: Name): EngineTensor<TensorData> {
    return this.#tensors[name]!;
  }

  /** Gives the memory back. */
  free(): void {
    for (const tensor of Object.values(this.#tensors)) tensor.free();
    this.#tensors = {};
    this.#rows = 0;
  }
}
