/**
 * A model as it is run: sizes, choices and tensors, whatever its config and its files call them.
 *
 * @module
 */

import type { RopeOptions } from "../../operations/rope/options.ts";
import type { TensorEntry } from "../files/weights.ts";
import type { Activation, Block } from "./architecture.ts";

/** A norm's tensors. */
export interface NormTensors {
  readonly weight: TensorEntry;
  readonly bias?: TensorEntry | undefined;
}

/** A linear layer's tensors. */
export interface LinearTensors {
  readonly weight: TensorEntry;
  readonly bias?: TensorEntry | undefined;
  readonly outputs: number;
  readonly inputs: number;
  /** Whether the weight is `[outputs, inputs]` or the other way round, as `packLinear()` has it. */
  readonly layout: "out-in" | "in-out";
}

/** A layer. */
export interface LayerPlan {
  /** Tokens before and behind that a token sees, `null` for all; nothing where it sees all there are. */
  readonly window?: readonly [before: number, after: number];
  /** How queries and keys are rotated; nothing where they are not. */
  readonly rope?: RopeOptions;
  /** Nothing in ModernBERT's first layer. */
  readonly attentionNorm?: NormTensors;
  /** `[heads * headDim + 2 * kvHeads * headDim]` outputs, queries first: in one matrix or in three. */
  readonly qkv: readonly LinearTensors[];
  /** Norms of each head's queries and keys, `[headDim]`, before they are rotated. */
  readonly queryNorm?: NormTensors;
  readonly keyNorm?: NormTensors;
  readonly output: LinearTensors;
  /** Of what attention gives, where norms stand around it. */
  readonly attentionAfter?: NormTensors;
  readonly feedNorm: NormTensors;
  /** With a gate `2 * feedWidth` outputs, those that are activated first: in one matrix or in two. */
  readonly feed: readonly LinearTensors[];
  readonly down: LinearTensors;
  /** Of what the feed-forward layer gives, where norms stand around it. */
  readonly feedAfter?: NormTensors;
}

/** Sizes of a model. */
export interface ModelSizes {
  /** Numbers of a token between layers. */
  readonly width: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** Numbers of a token within a feed-forward layer. */
  readonly feedWidth: number;
  readonly vocabulary: number;
  /** Rows of a table of positions, or what the config says of a text's length. */
  readonly positions: number;
  /** Tokens of a text at most. */
  readonly maxTokens: number;
}

/** A model. */
export interface ModelPlan extends ModelSizes {
  /** What its config calls its architecture. */
  readonly architecture: string;
  /** Whether a token sees those before it alone. */
  readonly isCausal: boolean;
  readonly block: Block;
  readonly norm: "rms" | "layer";
  /** Rows are multiplied by the weight of an RMS norm plus this. */
  readonly normOffset: 0 | 1;
  readonly eps: number;
  readonly activation: Activation;
  readonly isGated: boolean;
  /** Of scores: products of queries and keys times this. */
  readonly scale: number;
  /** Scores become `softcap tanh(score / softcap)`. */
  readonly softcap?: number;
  readonly embedding: {
    /** `[vocabulary, width]`. */
    readonly tokens: TensorEntry;
    /** They are multiplied by this. */
    readonly scale: number;
    /** A row for each position, of which those of a text begin at `firstPosition`. */
    readonly positions?: TensorEntry;
    readonly firstPosition: number;
    /** Its first row is added to all. */
    readonly types?: TensorEntry;
    readonly norm?: NormTensors;
  };
  /** Added to scores by distance: `[buckets, heads]`, half of the buckets for keys behind the query. */
  readonly relative?: TensorEntry;
  readonly layers: readonly LayerPlan[];
  readonly finalNorm?: NormTensors;
  /** Of logits: `[vocabulary, width]`, which may be the embedding's; nothing where states are asked for. */
  readonly head?: LinearTensors;
  /** Logits become `softcap tanh(logit / softcap)`. */
  readonly logitSoftcap?: number;
  /** Ids: the beginning, those that end a text, padding. */
  readonly begin?: number;
  readonly ends: readonly number[];
  readonly pad?: number;
}
