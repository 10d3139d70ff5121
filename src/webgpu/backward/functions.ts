/**
 * Score and mask functions in gradients: what a call asks of who has them, which is loaded with the first such call.
 *
 * @module
 */

import type { GradientTarget } from "../../operations/backward/target.ts";
import type { Binding } from "../device/buffers.ts";
import type { Loan, Submission } from "../device/submission.ts";
import type { Fields, Values } from "../shader/parameters.ts";
import type { Constants } from "../shader/template.ts";
import type { Region } from "../transfer/regions.ts";
import type { Gradient } from "./gradient.ts";
import type { GradientInputs, tileFields } from "./variants.ts";

/** A block of uniforms. */
type Block = Uint8Array<ArrayBuffer>;

/** The functions of a call; `at` is the byte of a piece's tables where they are. */
export interface GradientFunctions {
  /** The WGSL of a shader with tiles of scores. */
  code(path: string, fields: Fields, constants: Constants): string;
  /** Bytes of a region's tables. */
  bytes(region: Region): number;
  /** What is written there. */
  words(region: Region, at: number): Uint32Array<ArrayBuffer>;
  /** Uniforms with what they say of it. */
  uniforms(block: Block, fields: Fields, region: Region, at: number): Block;
  /** Copies what is on the GPU there. */
  copy(submission: Submission, tables: Binding, region: Region, at: number): void;
  /** Workgroups that add up gradients with respect to arrays. */
  readonly groups: number;
  /** Their uniforms for a piece. */
  sumsBlock(values: Values<typeof tileFields>, region: Region, at: number): Block;
  /** These gradients. */
  gradients(target: GradientTarget, inputs: GradientInputs, loan: Loan): Promise<Gradient[]>;
}
