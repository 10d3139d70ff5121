// What `./reference` exports, as `deno task surface --accept` writes it.

export interface CapturedGradients {
  readonly dCaptured?: ReadonlyMap<CapturedArray, ReferenceArray>;
}

export interface ReferenceArray {
  readonly data: Float64Array<ArrayBuffer>;
  readonly shape: readonly number[];
}

export interface ReferenceBackwardOptions extends AttentionOptions {
  readonly dLse?: ReferenceTensor | undefined;
}

export interface ReferenceConvolutionGradients {
  readonly dv: ReferenceArray;
  readonly dWeights: ReferenceArray;
}

export interface ReferenceConvolutionOptions {
  readonly causal?: boolean | undefined;
  readonly layout?: Layout | undefined;
}

export interface ReferenceGradients {
  readonly dq: ReferenceArray;
  readonly dk: ReferenceArray;
  readonly dv: ReferenceArray;
  readonly dBias?: ReferenceArray;
  readonly dSinks?: ReferenceArray;
}

export interface ReferenceLinearOptions {
  readonly bias?: ReferenceTensor | undefined;
  readonly activation?: Activation | undefined;
  readonly residual?: ReferenceTensor | undefined;
}

export interface ReferenceLinformerBackwardOptions extends ReferenceLinformerOptions {
  readonly dLse?: ReferenceTensor | undefined;
}

export interface ReferenceLinformerGradients {
  readonly dq: ReferenceArray;
  readonly dk: ReferenceArray;
  readonly dv: ReferenceArray;
  readonly dProjectK: ReferenceArray;
  readonly dProjectV?: ReferenceArray;
}

export interface ReferenceLinformerOptions {
  readonly projectK: ReferenceTensor;
  readonly projectV?: ReferenceTensor | undefined;
  readonly scale?: number | undefined;
  readonly layout?: Layout | undefined;
  readonly lse?: boolean | undefined;
}

export interface ReferenceLocalGlobalBackwardOptions extends ReferenceLocalGlobalOptions {
  readonly dLse?: ReferenceTensor | undefined;
}

export interface ReferenceLocalGlobalGradients {
  readonly dq: ReferenceArray;
  readonly dk: ReferenceArray;
  readonly dv: ReferenceArray;
  readonly dPool?: ReferenceArray;
}

export interface ReferenceLocalGlobalOptions {
  readonly block: number;
  readonly causal?: boolean | undefined;
  readonly pool?: ReferenceTensor | undefined;
  readonly scale?: number | undefined;
  readonly layout?: Layout | undefined;
  readonly lse?: boolean | undefined;
}

export interface ReferenceNormOptions {
  readonly weight?: ReferenceTensor | undefined;
  readonly bias?: ReferenceTensor | undefined;
  readonly eps?: number | undefined;
  readonly offset?: number | undefined;
  readonly residual?: ReferenceTensor | undefined;
}

export interface ReferenceOutput {
  readonly out: ReferenceArray;
}

export interface ReferencePerformerGradients {
  readonly dq: ReferenceArray;
  readonly dk: ReferenceArray;
  readonly dv: ReferenceArray;
}

export interface ReferencePerformerOptions {
  readonly projection: ReferenceTensor;
  readonly kernel?: "softmax" | "relu" | undefined;
  readonly causal?: boolean | undefined;
  readonly scale?: number | undefined;
  readonly layout?: Layout | undefined;
}

export interface ReferenceResult {
  readonly out: ReferenceArray;
  readonly lse: ReferenceArray;
}

export interface ReferenceRotation {
  readonly frequencies: Float64Array<ArrayBuffer>;
  readonly factor: number;
}

export interface ReferenceSoftmaxGradient {
  readonly dx: ReferenceArray;
}

export interface ReferenceSoftmaxOptions {
  readonly axis?: number | undefined;
  readonly scale?: number | undefined;
  readonly mask?: BooleanTensor | undefined;
}

export interface ReferenceTensor {
  readonly data: ArrayLike<number>;
  readonly shape: readonly number[];
  readonly strides?: readonly number[] | undefined;
  readonly offset?: number | undefined;
  readonly dtype?: string | undefined;
}

export declare function referenceActivation(
  x: ReferenceTensor,
  activation: Activation,
  up?: ReferenceTensor,
): ReferenceOutput;

export declare function referenceAttention(
  q: ReferenceTensor,
  k: ReferenceTensor,
  v: ReferenceTensor,
  options?: AttentionOptions,
): ReferenceResult;

export declare function referenceAttentionBackward(
  dOut: ReferenceTensor,
  q: ReferenceTensor,
  k: ReferenceTensor,
  v: ReferenceTensor,
  options?: ReferenceBackwardOptions,
): ReferenceGradients & CapturedGradients;

export declare function referenceAttentionWeights(
  q: ReferenceTensor,
  k: ReferenceTensor,
  options?: WeightsOptions,
): ReferenceArray;

export declare function referenceDynamicConvolution(
  v: ReferenceTensor,
  weights: ReferenceTensor,
  options?: ReferenceConvolutionOptions,
): ReferenceOutput;

export declare function referenceDynamicConvolutionBackward(
  v: ReferenceTensor,
  weights: ReferenceTensor,
  dOut: ReferenceTensor,
  options?: ReferenceConvolutionOptions,
): ReferenceConvolutionGradients;

export declare function referenceLayerNorm(
  x: ReferenceTensor,
  options?: ReferenceNormOptions,
): ReferenceOutput;

export declare function referenceLightweightConvolution(
  v: ReferenceTensor,
  weights: ReferenceTensor,
  options?: ReferenceConvolutionOptions,
): ReferenceOutput;

export declare function referenceLightweightConvolutionBackward(
  v: ReferenceTensor,
  weights: ReferenceTensor,
  dOut: ReferenceTensor,
  options?: ReferenceConvolutionOptions,
): ReferenceConvolutionGradients;

export declare function referenceLinear(
  x: ReferenceTensor,
  weight: ReferenceTensor,
  options?: ReferenceLinearOptions,
): ReferenceOutput;

export declare function referenceLinformerAttention(
  q: ReferenceTensor,
  k: ReferenceTensor,
  v: ReferenceTensor,
  options: ReferenceLinformerOptions,
): ReferenceResult;

export declare function referenceLinformerAttentionBackward(
  q: ReferenceTensor,
  k: ReferenceTensor,
  v: ReferenceTensor,
  dOut: ReferenceTensor,
  options: ReferenceLinformerBackwardOptions,
): ReferenceLinformerGradients;

export declare function referenceLocalGlobalAttention(
  q: ReferenceTensor,
  k: ReferenceTensor,
  v: ReferenceTensor,
  options: ReferenceLocalGlobalOptions,
): ReferenceResult;

export declare function referenceLocalGlobalAttentionBackward(
  q: ReferenceTensor,
  k: ReferenceTensor,
  v: ReferenceTensor,
  dOut: ReferenceTensor,
  options: ReferenceLocalGlobalBackwardOptions,
): ReferenceLocalGlobalGradients;

export declare function referenceLogSoftmax(
  x: ReferenceTensor,
  options?: ReferenceSoftmaxOptions,
): ReferenceOutput;

export declare function referenceLogSoftmaxBackward(
  x: ReferenceTensor,
  dOut: ReferenceTensor,
  options?: ReferenceSoftmaxOptions,
): ReferenceSoftmaxGradient;

export declare function referenceLogSumExp(
  x: ReferenceTensor,
  options?: ReferenceSoftmaxOptions,
): ReferenceOutput;

export declare function referenceLogSumExpBackward(
  x: ReferenceTensor,
  dOut: ReferenceTensor,
  options?: ReferenceSoftmaxOptions,
): ReferenceSoftmaxGradient;

export declare function referenceMeanRows(
  x: ReferenceTensor,
  cuSeqlens: NumberList,
): ReferenceOutput;

export declare function referencePerformerAttention(
  q: ReferenceTensor,
  k: ReferenceTensor,
  v: ReferenceTensor,
  options: ReferencePerformerOptions,
): ReferenceOutput;

export declare function referencePerformerAttentionBackward(
  q: ReferenceTensor,
  k: ReferenceTensor,
  v: ReferenceTensor,
  dOut: ReferenceTensor,
  options: ReferencePerformerOptions,
): ReferencePerformerGradients;

export declare function referenceRmsNorm(
  x: ReferenceTensor,
  options?: ReferenceNormOptions,
): ReferenceOutput;

export declare function referenceRope(x: ReferenceTensor, options?: RopeOptions): ReferenceArray;

export declare function referenceRotation(options: RopeOptions, dims: number): ReferenceRotation;

export declare function referenceSoftmax(
  x: ReferenceTensor,
  options?: ReferenceSoftmaxOptions,
): ReferenceOutput;

export declare function referenceSoftmaxBackward(
  x: ReferenceTensor,
  dOut: ReferenceTensor,
  options?: ReferenceSoftmaxOptions,
): ReferenceSoftmaxGradient;

// Named by these, and not exported.

type Activation = "gelu" | "gelu-tanh" | "silu" | "relu" | "tanh";

type AnyTensor = Tensor<TensorData>;

interface AttentionOptions extends ScoreFunctions {
  readonly causal?: Causal | undefined;
  readonly offset?: number | NumberList | undefined;
  readonly window?: number | readonly (number | null)[] | undefined;
  readonly chunk?: number | undefined;
  readonly kvLengths?: NumberList | undefined;
  readonly scale?: number | undefined;
  readonly layout?: Layout | undefined;
  readonly lse?: boolean | undefined;
  readonly out?: AnyTensor | undefined;
  readonly signal?: SignalLike | null | undefined;
  readonly encoder?: GPUCommandEncoder | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  readonly softcap?: number | undefined;
  readonly alibi?: NumberList | undefined;
  readonly bias?: Tensor<Float32Array | GPUBuffer> | undefined;
  readonly mask?: BooleanTensor | undefined;
  readonly sinks?: NumberList | undefined;
  readonly cuSeqlens?: NumberList | {
    readonly q: NumberList;
    readonly k: NumberList;
  } | undefined;
  readonly packed?: NumberList | {
    readonly q: NumberList;
    readonly k: NumberList;
  } | undefined;
  readonly blockMask?: BlockMask | undefined;
  readonly precision?: Precision | undefined;
}

declare class BlockMask {
  #private;
  readonly queries: number;
  readonly keys: number;
  readonly batch: number;
  readonly heads: number;
  readonly block: readonly [
    queries: number,
    keys: number,
  ];
  readonly queryBlocks: number;
  readonly keyBlocks: number;
  get starts(): Uint32Array<ArrayBuffer>;
  get columns(): Uint32Array<ArrayBuffer>;
  get mixed(): Int32Array<ArrayBuffer>;
  get bits(): Uint8Array<ArrayBuffer>;
  get density(): number;
  get visited(): number;
  keeps(b: number, h: number, query: number, key: number): boolean;
  rowRuns(b: number, h: number, query: number): Iterable<[
    from: number,
    to: number,
  ]>;
  and(other: BlockMask): BlockMask;
  or(other: BlockMask): BlockMask;
  not(): BlockMask;
  toPlain(): PlainBlockMask;
  toString(): string;
}

type BooleanDType = "u8" | "bit";

interface BooleanTensor {
  readonly data: Uint8Array | Uint32Array | GPUBuffer;
  readonly shape: readonly number[];
  readonly dtype?: BooleanDType | undefined;
  readonly strides?: readonly number[] | undefined;
  readonly offset?: number | undefined;
}

interface CapturedArray {
  readonly data: CapturedData;
  readonly shape: readonly number[];
  readonly dtype: CapturedDType;
  readonly grad: boolean;
}

type CapturedDType = "f32" | "i32";

type CapturedData = Float32Array | Int32Array | GPUBuffer;

type Causal = boolean | "bottom-right" | "top-left";

interface Condition {
  and(other: Condition | boolean): Condition;
  or(other: Condition | boolean): Condition;
  not(): Condition;
}

type DType = "f32" | "f16" | "bf16";

type HostData = Float32Array | Float16Array | Uint16Array;

type KeySums = boolean | "kv";

type Layout = "bhnd" | "bnhd";

type MaskMod = (place: Place) => Condition | boolean;

type NumberList = ArrayLike<number | bigint> | NumberTensor;

interface NumberTensor {
  readonly data: TypedNumbers;
  readonly shape: readonly number[];
  readonly dtype?: DType | undefined;
  readonly strides?: readonly number[] | undefined;
  readonly offset?: number | undefined;
}

interface Numeric<Self> {
  add(other: Self | number): Self;
  sub(other: Self | number): Self;
  mul(other: Self | number): Self;
  floorDiv(other: Self | number): Self;
  mod(other: Self | number): Self;
  min(other: Self | number): Self;
  max(other: Self | number): Self;
  clamp(lo: Self | number, hi: Self | number): Self;
  abs(): Self;
  neg(): Self;
  lt(other: Self | number): Condition;
  le(other: Self | number): Condition;
  gt(other: Self | number): Condition;
  ge(other: Self | number): Condition;
  eq(other: Self | number): Condition;
  ne(other: Self | number): Condition;
}

interface Place {
  readonly b: Whole;
  readonly h: Whole;
  readonly q: Whole;
  readonly k: Whole;
}

interface PlainBlockMask {
  readonly queries: number;
  readonly keys: number;
  readonly batch: number;
  readonly heads: number;
  readonly block: readonly [
    queries: number,
    keys: number,
  ];
  readonly starts: Uint32Array<ArrayBuffer>;
  readonly columns: Uint32Array<ArrayBuffer>;
  readonly mixed: Int32Array<ArrayBuffer>;
  readonly bits: Uint8Array<ArrayBuffer>;
}

type Precision = "f32" | "int16" | "int8-qk" | "int8";

interface Progress {
  readonly done: number;
  readonly total: number;
}

interface RopeOptions {
  readonly positions?: number | NumberList | undefined;
  readonly theta?: number | undefined;
  readonly style?: "half" | "interleaved" | undefined;
  readonly dims?: number | undefined;
  readonly scaling?: RopeScaling | undefined;
  readonly sections?: NumberList | undefined;
  readonly sectionStyle?: "blocks" | "interleaved" | undefined;
  readonly layout?: Layout | undefined;
}

type RopeScaling = {
  readonly type: "linear";
  readonly factor: number;
} | {
  readonly type: "ntk";
  readonly factor: number;
} | {
  readonly type: "llama3";
  readonly factor: number;
  readonly originalLength: number;
  readonly lowFrequencyFactor?: number | undefined;
  readonly highFrequencyFactor?: number | undefined;
} | {
  readonly type: "yarn";
  readonly factor: number;
  readonly originalLength: number;
  readonly betaFast?: number | undefined;
  readonly betaSlow?: number | undefined;
  readonly attentionFactor?: number | undefined;
  readonly truncate?: boolean | undefined;
} | {
  readonly type: "longrope";
  readonly factors: NumberList;
  readonly attentionFactor?: number | undefined;
};

interface Score extends Numeric<Score> {
  div(other: Score | number): Score;
  exp(): Score;
  log(): Score;
  sqrt(): Score;
  tanh(): Score;
  sigmoid(): Score;
  toI32(): Whole;
}

interface ScoreFunctions {
  readonly scoreMod?: ScoreMod | undefined;
  readonly maskMod?: MaskMod | undefined;
}

type ScoreMod = (score: Score, place: Place) => Score | number;

interface SignalLike {
  readonly aborted: boolean;
  readonly reason?: unknown;
}

interface Tensor<Data extends TensorData = Float32Array> {
  readonly data: Data;
  readonly shape: readonly number[];
  readonly dtype?: DType | undefined;
  readonly strides?: readonly number[] | undefined;
  readonly offset?: number | undefined;
}

type TensorData = HostData | GPUBuffer;

type TypedNumbers = ArrayBufferView & ArrayLike<number | bigint>;

interface WeightsOptions extends Omit<AttentionOptions, "lse" | "out" | "encoder" | "precision"> {
  readonly rows?: NumberList | undefined;
  readonly heads?: NumberList | undefined;
  readonly lse?: Tensor<Float32Array | GPUBuffer> | undefined;
  readonly keySums?: KeySums | undefined;
}

interface Whole extends Numeric<Whole> {
  toF32(): Score;
}

export {};
