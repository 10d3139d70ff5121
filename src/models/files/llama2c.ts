/**
 * The file of the llama2.c project: seven numbers, then all weights in f32, those of all layers together.
 * Pairs of neighbours are rotated. Tensors get the names that they have in safetensors files.
 *
 * @module
 */

import { cannot, checkEnd, exactly, openBytes } from "./bytes.ts";
import { looksLike } from "./foreign.ts";
import { countOf, type PlacedEntry, type WeightFile, weightFile } from "./weights.ts";

/** Bytes of the seven numbers. */
const headBytes = 28;

/** Its sizes, as a config of the same model has them. */
export interface Llama2cFile extends WeightFile {
  readonly format: "llama2.c";
  readonly config: Readonly<Record<string, unknown>>;
}

interface Sizes {
  readonly dim: number;
  readonly hidden: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly vocabulary: number;
  readonly context: number;
  /** Whether logits have a matrix of their own, which a negative vocabulary says. */
  readonly hasHead: boolean;
}

function readSizes(bytes: Uint8Array): Sizes {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const [dim, hidden, layers, heads, kvHeads, vocabulary, context] = Array.from(
    { length: 7 },
    (_, at) => view.getInt32(4 * at, true),
  );
  const most = 2 ** 24, all = [dim, hidden, layers, heads, kvHeads, Math.abs(vocabulary), context];
  const isRight = all.every((one) => one > 0 && one < most) && dim % heads === 0 &&
    heads % kvHeads === 0 && dim / heads % 2 === 0;
  if (!isRight) {
    throw new RangeError(
      `${cannot}: the file is no llama2.c checkpoint, its sizes would be ${all}${looksLike(bytes)}`,
    );
  }
  return {
    ...{ dim, hidden, layers, heads, kvHeads, vocabulary: Math.abs(vocabulary), context },
    hasHead: vocabulary < 0,
  };
}

/** What follows the seven numbers: the name in each layer, or of all, and the shape. `null` is passed over. */
function partsOf(sizes: Sizes): (readonly [name: string | null, ...shape: number[]])[] {
  const { dim, hidden, heads, kvHeads, vocabulary, context, hasHead } = sizes;
  const head = dim / heads, kv = head * kvHeads, layer = "model.layers.{}.";
  return [
    ["model.embed_tokens.weight", vocabulary, dim],
    [`${layer}input_layernorm.weight`, dim],
    [`${layer}self_attn.q_proj.weight`, dim, dim],
    [`${layer}self_attn.k_proj.weight`, kv, dim],
    [`${layer}self_attn.v_proj.weight`, kv, dim],
    [`${layer}self_attn.o_proj.weight`, dim, dim],
    [`${layer}post_attention_layernorm.weight`, dim],
    [`${layer}mlp.gate_proj.weight`, hidden, dim],
    [`${layer}mlp.down_proj.weight`, dim, hidden],
    [`${layer}mlp.up_proj.weight`, hidden, dim],
    ["model.norm.weight", dim],
    [null, context, head], // Cosines and sines that nobody reads any more.
    ...(hasHead ? [["lm_head.weight", vocabulary, dim] as const] : []),
  ];
}

function configOf(sizes: Sizes): Record<string, unknown> {
  return {
    model_type: "llama",
    hidden_size: sizes.dim,
    intermediate_size: sizes.hidden,
    num_hidden_layers: sizes.layers,
    num_attention_heads: sizes.heads,
    num_key_value_heads: sizes.kvHeads,
    vocab_size: sizes.vocabulary,
    max_position_embeddings: sizes.context,
    rms_norm_eps: 1e-5,
    tie_word_embeddings: !sizes.hasHead,
    bos_token_id: 1,
    eos_token_id: [2, 1], // One that begins the next text ends this one.
  };
}

/** A part of the file: one tensor, or one for each layer. */
interface Part {
  readonly names: readonly string[];
  readonly shape: readonly number[];
  /** Bytes of each. */
  readonly bytes: number;
  readonly offset: number;
}

/** Where each part lies; names are made after the file was found to be long enough. */
function placesOf(sizes: Sizes): { end: number; parts: (() => Part)[] } {
  let end = headBytes;
  const parts = partsOf(sizes).map(([name, ...shape]) => {
    const isOfLayers = name?.includes("{}"), offset = end, bytes = 4 * countOf(shape)!;
    end += bytes * (isOfLayers ? sizes.layers : 1);
    const names = () =>
      isOfLayers
        ? Array.from({ length: sizes.layers }, (_, layer) => name!.replace("{}", `${layer}`))
        : name === null
        ? []
        : [name];
    return () => ({ names: names(), shape, bytes, offset });
  });
  return { end, parts };
}

/**
 * Opens a llama2.c checkpoint: its sizes are read and checked, and no weight.
 *
 * @throws {RangeError} When the file is cut off, or something else.
 */
export async function openLlama2c(given: unknown): Promise<Llama2cFile> {
  const source = openBytes(given);
  const sizes = readSizes(await exactly(source, 0, headBytes, "the checkpoint's head"));
  const { end, parts } = placesOf(sizes);
  await checkEnd(source, end, true);
  const entries = new Map<string, PlacedEntry>();
  for (const part of parts) {
    const { names, shape, bytes, offset } = part();
    names.forEach((name, at) => {
      entries.set(name, {
        ...{ name, shape, dtype: "f32", bytes, source },
        offset: offset + at * bytes,
      });
    });
  }
  return { ...weightFile("llama2.c", entries), format: "llama2.c", config: configOf(sizes) };
}
