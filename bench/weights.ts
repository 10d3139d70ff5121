/**
 * Weights of a model's file, as the functions of `nn` take them: for benches that want to look, or to reach, between
 * the layers of a model.
 *
 * @module
 */

import { readFile } from "node:fs/promises";
import type { AnyTensor, Engine } from "../mod.ts";
import { openWeights } from "../src/models/files/open.ts";
import type { WeightFile } from "../src/models/files/weights.ts";
import { type PackedLinear, packLinear } from "../src/nn/mod.ts";

/** A norm. */
export interface Norm {
  readonly weight: AnyTensor;
  readonly bias: AnyTensor | null;
}

/** A linear layer. */
export interface Linear {
  readonly weight: PackedLinear;
  readonly bias: AnyTensor | undefined;
}

/** Tensors by their names, whose endings are left out. */
export class Weights {
  readonly #file: WeightFile;
  readonly #engine: Engine;

  private constructor(file: WeightFile, engine: Engine) {
    this.#file = file;
    this.#engine = engine;
  }

  /** Opens a file. */
  static async open(path: string, engine: Engine): Promise<Weights> {
    return new Weights(await openWeights(new Uint8Array(await readFile(path))), engine);
  }

  /** A tensor as it is stored. */
  async tensor(name: string): Promise<AnyTensor> {
    return await this.#file.read(name) as AnyTensor;
  }

  /** A matrix whose rows `embedding()` gives too, in f32. */
  async matrix(name: string): Promise<PackedLinear> {
    const stored = await this.tensor(`${name}.weight`);
    return await packLinear(stored, { engine: this.#engine, dtype: "f32" });
  }

  /** A linear layer. */
  async linear(name: string): Promise<Linear> {
    return { weight: await this.matrix(name), bias: await this.#bias(name) };
  }

  /** A norm. */
  async norm(name: string): Promise<Norm> {
    return {
      weight: await this.tensor(`${name}.weight`),
      bias: await this.#bias(name) ?? null,
    };
  }

  async #bias(name: string): Promise<AnyTensor | undefined> {
    return this.#file.entries.has(`${name}.bias`) ? await this.tensor(`${name}.bias`) : undefined;
  }
}
