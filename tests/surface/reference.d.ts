// What `./reference` exports, as `deno task surface --accept` writes it.

export interface ReferenceArray {
  readonly data: Float64Array;
  readonly shape: readonly number[];
}

export interface ReferenceBackwardOptions extends AttentionOptions {
  readonly dLse?: ReferenceTensor;
}

export interface ReferenceGradients {
  readonly dq: ReferenceArray;
  readonly dk: ReferenceArray;
  readonly dv: ReferenceArray;
  readonly dBias?: ReferenceArray;
  readonly dSinks?: ReferenceArray;
}

export interface ReferenceResult {
  readonly out: ReferenceArray;
  readonly lse: ReferenceArray;
}

export interface ReferenceTensor {
  readonly data: ArrayLike<number>;
  readonly shape: readonly number[];
  readonly strides?: readonly number[];
  readonly offset?: number;
  readonly dtype?: string;
}

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
): ReferenceGradients;

// Named by these, and not exported.

type AnyTensor = Tensor<TensorData>;

interface AttentionOptions {
  readonly causal?: Causal;
  readonly offset?: number | readonly number[];
  readonly window?: readonly [
    left: number | null,
    right: number | null,
  ];
  readonly kvLengths?: ArrayLike<number>;
  readonly scale?: number;
  readonly layout?: Layout;
  readonly lse?: boolean;
  readonly out?: AnyTensor;
  readonly signal?: AbortSignal;
  readonly encoder?: GPUCommandEncoder;
  readonly onProgress?: (progress: Progress) => void;
  readonly softcap?: number;
  readonly alibi?: Tensor;
  readonly bias?: Tensor<Float32Array | GPUBuffer>;
  readonly mask?: BooleanTensor;
  readonly sinks?: Tensor;
  readonly cuSeqlens?: {
    readonly q: ArrayLike<number>;
    readonly k: ArrayLike<number>;
  };
  readonly blockMask?: BlockMask;
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
  get starts(): Uint32Array;
  get columns(): Uint32Array;
  get mixed(): Int32Array;
  get bits(): Uint8Array;
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
  readonly dtype?: BooleanDType;
  readonly strides?: readonly number[];
  readonly offset?: number;
}

type Causal = boolean | "bottom-right" | "top-left";

type DType = "f32" | "f16" | "bf16";

type HostData = Float32Array | Float16Array | Uint16Array;

type Layout = "bhnd" | "bnhd";

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

interface Progress {
  readonly done: number;
  readonly total: number;
}

interface Tensor<Data extends TensorData = Float32Array> {
  readonly data: Data;
  readonly shape: readonly number[];
  readonly dtype?: DType;
  readonly strides?: readonly number[];
  readonly offset?: number;
}

type TensorData = HostData | GPUBuffer;

export {};
