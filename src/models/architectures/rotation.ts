/**
 * Rotations as a config says them. Loaded for architectures that rotate, and with it what turns settings into angles.
 *
 * @module
 */

import { ropeOptions } from "../../operations/rope/config.ts";
import { readRope, type RopeOptions } from "../../operations/rope/options.ts";
import { planRotation } from "../../operations/rope/plan.ts";
import type { Architecture, LayerType } from "./architecture.ts";
import type { Config, Fields } from "./fields.ts";

/** A config with the base that its architecture has where it says none. */
function ropeConfig({ config }: Fields, { theta }: Architecture): Config {
  const base = config.rope_theta ?? config.rotary_emb_base;
  const part = config.partial_rotary_factor ?? config.rotary_emb_fraction;
  const known = { ...config, partial_rotary_factor: part };
  if (typeof theta !== "object") return { ...known, rope_theta: base ?? theta };
  const full = base ?? config.global_rope_theta ?? theta.full_attention;
  // ModernBERT's `null` is the base of the other layers.
  const { local_rope_theta: local = theta.sliding_attention } = config;
  return {
    ...{ ...known, rope_theta: full },
    rope_local_base_freq: config.rope_local_base_freq ?? local ?? full,
  };
}

/** Numbers of a head for which rotations are tried, before it is known that tensors have as many. */
const mostHeadDim = 2 ** 16;

/** What is told of rotations beside the config. */
export interface RopeChoices {
  /** Tokens of a text at most, which some depend on. */
  readonly length: number | undefined;
  readonly style: RopeOptions["style"];
  readonly headDim: number;
}

/** The rotation of a kind of layers. What `rope()` would refuse when it is called is refused now. */
export function readRotation(
  fields: Fields,
  architecture: Architecture,
  layerType: LayerType,
  { length, style, headDim }: RopeChoices,
): RopeOptions | undefined {
  const dim = Math.min(headDim || 2, mostHeadDim);
  const row = { data: new Float32Array(dim), shape: [1, dim] };
  try {
    const config = ropeConfig(fields, architecture);
    const rope = { ...ropeOptions(config, { length, layerType }), ...(style && { style }) };
    if (rope.sections !== undefined) throw new RangeError("`mrope_section` is not supported");
    planRotation(readRope(row, null, rope));
    return rope;
  } catch (error) {
    fields.problems.push((error as Error).message);
    return undefined;
  }
}
