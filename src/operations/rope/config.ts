/**
 * What published configs say of rotary embeddings, in the words of `rope()`. Types of scaling, their
 * formulas and defaults are those of the transformers package, which configs are written for.
 *
 * @module
 */

import { isExtent, kindOf, readOptions } from "../../check/words.ts";
import type { RopeOptions, RopeScaling } from "./options.ts";

/** What `ropeOptions()` is told beside the config. */
export interface RopeConfigOptions {
  /**
   * Tokens that the sequence will have at most, which `dynamic` and `longrope` depend on; default: no more
   * than the model was trained with.
   */
  readonly length?: number | undefined;
  /** Kind of the layer, as `layer_types` has it, where a config has a rotation for each. */
  readonly layerType?: string | undefined;
}

/** Fields of a config, in which `null` is as nothing. */
type Fields = Readonly<Record<string, unknown>>;

const cannot = "Cannot read the config's rotation";

function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Configs as they were written before there was `rope_parameters`: one base, and another for windows. */
function olderParameters(config: Fields): Fields {
  const { rope_theta, global_rope_theta, rope_scaling } = config;
  const rope_local = config.rope_local_base_freq ?? config.local_rope_theta;
  const rope = { ...rope_scaling as Fields, rope_theta: rope_theta ?? global_rope_theta };
  return (rope_local ?? null) === null
    ? rope
    : { full_attention: rope, sliding_attention: { rope_theta: rope_local } };
}

/** What holds for a kind of layers. */
function parametersOf(config: Fields, layerType: string | undefined): Fields {
  const all = (config.rope_parameters ?? olderParameters(config)) as Fields;
  const types = Object.keys(all).filter((name) => isFields(all[name]));
  if (types.length === 0) return all;
  if (types.includes(layerType!)) return all[layerType!] as Fields;
  throw new RangeError(
    `${cannot}: \`layerType\` must be one of ${types.join(", ")}, got ${kindOf(layerType)}`,
  );
}

/** Gives a field that must be a number, `otherwise` where there is none. */
type ReadField = (name: string, otherwise?: unknown) => number;

/** Rows grow with the logarithm of the factor (YaRN, section 3.4). */
function growth(factor: number, mscale: number): number {
  return factor > 1 ? 0.1 * mscale * Math.log(factor) + 1 : 1;
}

/** What changes angles for contexts longer than those trained on, by `rope_type`. */
function scalingOf(
  type: unknown,
  rope: Fields,
  read: ReadField,
  length: number,
): RopeScaling | undefined {
  const most = () => read("max_position_embeddings");
  const originalLength = () => read("original_max_position_embeddings", most);
  const factor = () => read("factor", () => most() / originalLength());
  switch (type) {
    case "default":
      return undefined;
    case "linear":
      return { type, factor: read("factor") };
    case "dynamic":
      if (length <= most()) return undefined;
      return { type: "ntk", factor: read("factor") * (length / most() - 1) + 1 };
    case "llama3":
      return {
        ...{ type, factor: factor(), originalLength: originalLength() },
        lowFrequencyFactor: read("low_freq_factor", 1),
        highFrequencyFactor: read("high_freq_factor", 4),
      };
    case "yarn": {
      const { mscale, mscale_all_dim } = rope;
      const grown = mscale && mscale_all_dim
        ? () => growth(factor(), read("mscale")) / growth(factor(), read("mscale_all_dim"))
        : () => growth(factor(), 1);
      return {
        ...{ type, factor: factor(), originalLength: originalLength() },
        ...{ betaFast: read("beta_fast", 32), betaSlow: read("beta_slow", 1) },
        attentionFactor: read("attention_factor", grown),
        truncate: (rope.truncate ?? true) as boolean,
      };
    }
    case "longrope":
    case "su": { // As Phi-3's first configs call it.
      const original = originalLength();
      const grown = () => Math.sqrt(1 + Math.log(Math.max(1, factor())) / Math.log(original));
      return {
        type: "longrope",
        factors: rope[length > original ? "long_factor" : "short_factor"] as number[],
        attentionFactor: read("attention_factor", grown),
      };
    }
  }
  throw new RangeError(
    `${cannot}: \`rope_type\` must be one of default, linear, dynamic, llama3, yarn, longrope, ` +
      `got ${kindOf(type)}`,
  );
}

/**
 * Reads the options of `rope()` from a model's `config.json`, in both spellings: `rope_parameters`, also
 * one for each kind of layers, or `rope_theta` with `rope_scaling`. It knows the types `default`,
 * `linear`, `dynamic` (Peng et al., arXiv 2309.00071, appendix), `llama3`, `yarn` (the same paper) and
 * `longrope` (Ding et al., arXiv 2402.13753), and rows that are turned in part
 * (`partial_rotary_factor`) or by several axes (`mrope_section`), as the transformers package does.
 *
 * ```ts
 * import { rope, ropeOptions, tensor } from "@flashtile/attention";
 *
 * const scaling = { rope_type: "yarn", factor: 4, original_max_position_embeddings: 32768 };
 * const config = { head_dim: 64, rope_theta: 1e6, rope_scaling: scaling };
 * const q = tensor(new Float32Array(8 * 16 * 64), [8, 16, 64]);
 * await rope(q, null, { ...ropeOptions(config), positions: 100 });
 * ```
 *
 * @param config The parsed file.
 * @param options Tokens of the sequence, for `dynamic` and `longrope`, and the kind of the layer.
 * @returns `theta`, `dims`, `scaling` and `sections`, as far as the config says them.
 * @throws {TypeError} When the config or a field is of a wrong kind.
 * @throws {RangeError} When its type is unknown, or it has other rotations for each kind of layers and
 * none for this.
 */
export function ropeOptions(config: object, options: RopeConfigOptions = {}): RopeOptions {
  if (!isFields(config)) {
    throw new TypeError(`${cannot}: \`config\` must be an object, got ${kindOf(config)}`);
  }
  const { length = 0, layerType } = readOptions(options, ["length", "layerType"], cannot);
  if (!isExtent(length)) {
    throw new RangeError(`${cannot}: \`length\` must be a whole number, got ${kindOf(length)}`);
  }
  const rope = parametersOf(config, layerType);
  const read: ReadField = (name, otherwise) => {
    const given = rope[name] ?? config[name] ?? otherwise;
    const value = typeof given === "function" ? given() : given;
    if (Number.isFinite(value)) return value;
    throw new TypeError(`${cannot}: \`${name}\` must be a number, got ${kindOf(value)}`);
  };
  const { mrope_section, mrope_interleaved } = rope;
  const written = rope.rope_type ?? rope.type ?? "default";
  // As Qwen2-VL's first configs call what has sections, and no scaling.
  const type = mrope_section && written === "mrope" ? "default" : written;
  const scaling = scalingOf(type, rope, read, length);
  const part = read("partial_rotary_factor", 1);
  const perHead = () => read("hidden_size") / read("num_attention_heads");
  return {
    theta: read("rope_theta", 10_000),
    ...(part !== 1 && { dims: Math.floor(read("head_dim", perHead) * part) }),
    ...(scaling && { scaling }),
    ...(mrope_section !== undefined && mrope_section !== null && {
      sections: mrope_section as number[],
      ...(mrope_interleaved === true && { sectionStyle: "interleaved" as const }),
    }),
  };
}
