/**
 * What an architecture is: a table of the names of its tensors and of choices. How they are read is the same
 * for all.
 *
 * @module
 */

import type { Fields } from "./fields.ts";

/** What becomes of a feed-forward layer's numbers. */
export type Activation = "gelu" | "gelu-tanh" | "silu" | "relu" | "tanh";

/** What a layer sees: all tokens, or a window. */
export type LayerType = "full_attention" | "sliding_attention";

/** Whether there are biases: always, never, or as a field of the config says. */
export type Bias = boolean | string;

/**
 * Where a layer's norms stand: `"before"` attention and feed-forward, on what goes in; `"after"` the sum of
 * what goes in and what comes out; `"around"`, on what goes in and on what comes out before the sum.
 */
export type Block = "before" | "after" | "around";

/** Names of modules in a layer, behind its own. Lists are fused from first to last: one name may be all. */
export interface LayerNames {
  /** Queries, keys and values. */
  readonly qkv: readonly string[];
  readonly output: string;
  /** Norms of each head's queries and keys. */
  readonly headNorms?: readonly [query: string, key: string];
  /** The gate, whose numbers are activated, and what it multiplies; or what is activated alone. */
  readonly feed: readonly string[];
  readonly down: string;
  readonly attentionNorm: string;
  readonly feedNorm: string;
  /** Of what attention and feed-forward give, where norms stand around them. */
  readonly attentionAfter?: string;
  readonly feedAfter?: string;
}

/** Names of modules. */
export interface Names {
  /** What may stand in front of all of them: the first with which the embedding is found. */
  readonly prefixes: readonly string[];
  readonly embedding: string;
  readonly positions?: string;
  readonly types?: string;
  readonly embeddingNorm?: string;
  /** With `{}` for the number. */
  readonly layer: string;
  readonly layers: LayerNames;
  readonly finalNorm?: string;
  /** A bias of scores by distance, for all layers. */
  readonly relative?: string;
  /** Of logits, without prefix; those that may be. */
  readonly heads?: readonly string[];
  /** Tensors that may be there and are not needed. */
  readonly ignored: RegExp;
}

/** An architecture. */
export interface Architecture {
  readonly kind: "encoder" | "decoder";
  readonly names: Names;
  /** Those in GGUF files, where it is found there. */
  readonly gguf?: Names;
  readonly block: Block;
  readonly norm: "rms" | "layer";
  /** Rows are multiplied by the weight plus this; in GGUF files it has been added. */
  readonly normOffset?: 1;
  /** Of norms, if the config does not say it. */
  readonly eps: number;
  readonly activation: Activation;
  /** Whether the feed-forward layer has a gate. */
  readonly isGated: boolean;
  readonly biases: { readonly [Part in "qkv" | "output" | "feed" | "down" | "norm"]?: Bias };
  /** Whether weights are `[inputs, outputs]`. */
  readonly isInOut?: boolean;
  /** Whether logits have the embedding's weights, if the config does not say it. */
  readonly isTied?: boolean;
  /** Which elements GGUF files have as pairs: their writers permute rows of some architectures. */
  readonly ggufStyle?: "interleaved";
  readonly usesRope?: boolean;
  /** Base of the angles, if the config does not say it: by the kind of the layer. */
  readonly theta?: number | Readonly<Record<LayerType, number>>;
  /** Whether embeddings are multiplied by the root of the width. */
  readonly scalesEmbedding?: boolean;
  /** Positions of a table begin behind the padding token's id. */
  readonly positionsBehindPad?: boolean;
  /** The first layer has no norm before attention. */
  readonly lacksFirstNorm?: boolean;
  /** Whether a layer sees a window alone, if the config has no `layer_types`. */
  readonly slides?: (layer: number, config: Fields) => boolean;
  /** Keys that it sees then, its own included; or how many before and behind. */
  readonly window?: (config: Fields) => readonly [before: number, after: number] | undefined;
  /** Whether a layer rotates queries and keys. */
  readonly rotates?: (layer: number, config: Fields) => boolean;
  /** Tokens of a text at most, where there are fewer than positions. */
  readonly mostTokens?: (config: Fields) => number | undefined;
  /** What of a config changes the meaning and is not known here: words for it, or nothing. */
  readonly refuses?: (config: Fields) => string | false;
}
