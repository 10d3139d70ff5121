// What `.` exports, as `deno task surface --accept` writes it.

export type AnyTensor = Tensor<TensorData>;

export interface AppendOptions {
  readonly lengths?: ArrayLike<number>;
  readonly layout?: Layout;
}

export interface AttentionGradients<
  Q extends TensorData = Float32Array,
  K extends TensorData = Q,
  V extends TensorData = Q,
> {
  readonly dq: Tensor<Q>;
  readonly dk: Tensor<K>;
  readonly dv: Tensor<V>;
  readonly dBias?: Tensor<LseData<Q>>;
  readonly dSinks?: Tensor<LseData<Q>>;
}

export interface AttentionOptions {
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

export interface AttentionPart<Data extends TensorData = Float32Array> {
  readonly out: Tensor<Data>;
  readonly lse: Tensor<LseData<Data>>;
}

export interface AttentionResult<Data extends TensorData = Float32Array> {
  readonly out: Tensor<Data>;
  readonly lse?: Tensor<LseData<Data>>;
}

export type AttentionResultWithLse<Data extends TensorData = Float32Array> = Required<
  AttentionResult<Data>
>;

export interface AttentionWithGradient<
  Q extends TensorData = Float32Array,
  K extends TensorData = Q,
  V extends TensorData = Q,
> extends AttentionResultWithLse<Q> {
  backward(dOut: AnyTensor, options?: BackwardPassOptions): Promise<AttentionGradients<Q, K, V>>;
}

export interface Availability {
  readonly available: boolean;
  readonly reason: string;
}

export type BackendName = "wasm" | "webgpu";

export declare class BackendUnavailableError extends Error {
  readonly name = "BackendUnavailableError";
  readonly backend: string;
  constructor(backend: string, reason: string, options?: ErrorOptions);
}

export interface BackwardOptions extends GradientOptions {
  readonly out: AnyTensor;
  readonly lse: Tensor<Float32Array | GPUBuffer>;
  readonly dLse?: Tensor<Float32Array | GPUBuffer>;
}

export interface BackwardPassOptions
  extends Pick<BackwardOptions, "dLse" | "signal" | "onProgress"> {
}

export type BinaryName = "simd" | "relaxed";

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
  toString(): string;
}
export type { BlockMask };

export interface BlockMaskSize {
  readonly queries: number;
  readonly keys?: number;
  readonly batch?: number;
  readonly heads?: number;
  readonly block?:
    | number
    | readonly [
      queries: number,
      keys: number,
    ];
  readonly offset?: number;
}

export type BooleanDType = "u8" | "bit";

export interface BooleanTensor {
  readonly data: Uint8Array | Uint32Array | GPUBuffer;
  readonly shape: readonly number[];
  readonly dtype?: BooleanDType;
  readonly strides?: readonly number[];
  readonly offset?: number;
}

export interface CacheAttentionOptions
  extends Omit<AttentionOptions, "kvLengths" | "cuSeqlens" | "blockMask" | "encoder"> {
  readonly lengths?: ArrayLike<number>;
}

export type CacheDType = "f32" | "f16" | "bf16" | "int8" | "int4";

export interface Capabilities {
  readonly backend: BackendName | null;
  readonly reason: string;
  readonly wasm: Availability & {
    readonly binary: BinaryName | null;
  };
  readonly webgpu: Availability & {
    readonly software: boolean;
  };
  readonly threads: Availability & {
    readonly count: number;
  };
}

export interface CapabilityOptions {
  readonly device?: GPUDevice;
  readonly gpu?: GPU;
}

export type CascadeOptions = Pick<
  AttentionOptions,
  "causal" | "scale" | "softcap" | "sinks" | "layout" | "lse" | "signal"
>;

export type CascadePart = KvCache | {
  readonly k: AnyTensor;
  readonly v: AnyTensor;
};

export type Causal = boolean | "bottom-right" | "top-left";

export type DType = "f32" | "f16" | "bf16";

export declare class DeviceLostError extends Error {
  readonly name = "DeviceLostError";
  constructor(reason: string, options?: ErrorOptions);
}

export interface Engine<Memory extends TensorData = HostData> extends AsyncDisposable {
  readonly backend: BackendName;
  readonly reason: string;
  capabilities(): Promise<Capabilities>;
  readonly memoryBytes: number;
  attention<Data extends TensorData>(
    q: Tensor<Data>,
    k: AnyTensor,
    v: AnyTensor,
    options: AttentionOptions & {
      readonly lse: true;
    },
  ): Promise<AttentionResultWithLse<Data>>;
  attention<Data extends TensorData>(
    q: Tensor<Data>,
    k: AnyTensor,
    v: AnyTensor,
    options?: AttentionOptions,
  ): Promise<AttentionResult<Data>>;
  attention<Data extends TensorData>(
    q: Tensor<Data>,
    cache: KvCache,
    options: CacheAttentionOptions & {
      readonly lse: true;
    },
  ): Promise<AttentionResultWithLse<Data>>;
  attention<Data extends TensorData>(
    q: Tensor<Data>,
    cache: KvCache,
    options?: CacheAttentionOptions,
  ): Promise<AttentionResult<Data>>;
  attentionSync<Data extends TensorData>(
    q: Tensor<Data>,
    k: AnyTensor,
    v: AnyTensor,
    options: AttentionOptions & {
      readonly lse: true;
    },
  ): AttentionResultWithLse<Data>;
  attentionSync<Data extends TensorData>(
    q: Tensor<Data>,
    k: AnyTensor,
    v: AnyTensor,
    options?: AttentionOptions,
  ): AttentionResult<Data>;
  attentionBackward<Q extends TensorData, K extends TensorData = Q, V extends TensorData = Q>(
    dOut: AnyTensor,
    q: Tensor<Q>,
    k: Tensor<K>,
    v: Tensor<V>,
    options: BackwardOptions,
  ): Promise<AttentionGradients<Q, K, V>>;
  attentionBackwardSync<Q extends TensorData, K extends TensorData = Q, V extends TensorData = Q>(
    dOut: AnyTensor,
    q: Tensor<Q>,
    k: Tensor<K>,
    v: Tensor<V>,
    options: BackwardOptions,
  ): AttentionGradients<Q, K, V>;
  attentionWithGradient<Q extends TensorData, K extends TensorData = Q, V extends TensorData = Q>(
    q: Tensor<Q>,
    k: Tensor<K>,
    v: Tensor<V>,
    options?: GradientOptions,
  ): Promise<AttentionWithGradient<Q, K, V>>;
  tensor(
    shape: readonly number[],
    dtype?: "f32",
  ): EngineTensor<Memory extends GPUBuffer ? GPUBuffer : Float32Array>;
  tensor(shape: readonly number[], dtype: DType): EngineTensor<Memory>;
  mergeAttention<Data extends TensorData>(
    parts: readonly AttentionPart<Data>[],
    options?: MergeOptions,
  ): Promise<AttentionResultWithLse<Data>>;
  cascadeAttention<Data extends TensorData>(
    q: Tensor<Data>,
    prefix: CascadePart,
    suffix: CascadePart,
    options: CascadeOptions & {
      readonly lse: true;
    },
  ): Promise<AttentionResultWithLse<Data>>;
  cascadeAttention<Data extends TensorData>(
    q: Tensor<Data>,
    prefix: CascadePart,
    suffix: CascadePart,
    options?: CascadeOptions,
  ): Promise<AttentionResult<Data>>;
  rope(q: AnyTensor, k?: AnyTensor | null, options?: RopeOptions): Promise<void>;
  kvCache(options: KvCacheOptions): KvCache;
  warmup(options?: WarmupOptions): Promise<void>;
  close(): Promise<void>;
}

export interface EngineOptions {
  readonly backend?: "auto" | BackendName;
  readonly threads?: "auto" | number;
  readonly workerUrl?: string | {
    readonly href: string;
  };
  readonly module?: WebAssembly.Module;
  readonly maxMemoryBytes?: number;
  readonly device?: GPUDevice;
  readonly gpu?: GPU;
}

export interface EngineTensor<Data extends TensorData = Float32Array>
  extends Tensor<Data>, Disposable {
  readonly data: Data;
  free(): void;
}

export type GradientOptions = Omit<AttentionOptions, "lse" | "out" | "encoder">;

export type HostData = Float32Array | Float16Array | Uint16Array;

export type HostTensor = Tensor<HostData>;

export interface Kept {
  readonly keepFirst: number;
  readonly keepLast: number;
}

declare class KvCache implements Disposable {
  #private;
  readonly options: Readonly<Required<Omit<KvCacheOptions, "capacity" | "pages">>>;
  get lengths(): readonly number[];
  get bytes(): number;
  get pages(): number;
  append(keys: AnyTensor, values: AnyTensor, options?: AppendOptions): void;
  truncate(sequence: number, length: number): void;
  free(sequence: number): void;
  free(): void;
  [Symbol.dispose](): void;
  fork(from: number, to?: number): number;
  evict(kept: Kept, sequence?: number): void;
  save(): Promise<Uint8Array<ArrayBuffer>>;
  load(bytes: Uint8Array): void;
  attend<Data extends TensorData>(
    q: Tensor<Data>,
    options: CacheAttentionOptions & {
      readonly lse: true;
    },
  ): Promise<AttentionResultWithLse<Data>>;
  attend<Data extends TensorData>(
    q: Tensor<Data>,
    options?: CacheAttentionOptions,
  ): Promise<AttentionResult<Data>>;
  attendSync<Data extends TensorData>(
    q: Tensor<Data>,
    options: CacheAttentionOptions & {
      readonly lse: true;
    },
  ): AttentionResultWithLse<Data>;
  attendSync<Data extends TensorData>(
    q: Tensor<Data>,
    options?: CacheAttentionOptions,
  ): AttentionResult<Data>;
}
export type { KvCache };

export interface KvCacheOptions {
  readonly batch?: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly valueDim?: number;
  readonly dtype?: CacheDType;
  readonly smoothKeys?: boolean;
  readonly capacity?: number;
  readonly pageSize?: number;
  readonly pages?: number;
}

export type Layout = "bhnd" | "bnhd";

export type LseData<Data extends TensorData> = Data extends GPUBuffer ? GPUBuffer : Float32Array;

export interface MergeOptions {
  readonly layout?: Layout;
}

export interface Progress {
  readonly done: number;
  readonly total: number;
}

export interface RopeOptions {
  readonly positions?: number | ArrayLike<number>;
  readonly theta?: number;
  readonly style?: "half" | "interleaved";
  readonly dims?: number;
  readonly scaling?: RopeScaling;
  readonly layout?: Layout;
}

export type RopeScaling = {
  readonly type: "linear";
  readonly factor: number;
} | {
  readonly type: "ntk";
  readonly factor: number;
} | {
  readonly type: "llama3";
  readonly factor: number;
  readonly originalLength: number;
  readonly lowFrequencyFactor?: number;
  readonly highFrequencyFactor?: number;
} | {
  readonly type: "yarn";
  readonly factor: number;
  readonly originalLength: number;
  readonly betaFast?: number;
  readonly betaSlow?: number;
  readonly attentionFactor?: number;
};

export interface Tensor<Data extends TensorData = Float32Array> {
  readonly data: Data;
  readonly shape: readonly number[];
  readonly dtype?: DType;
  readonly strides?: readonly number[];
  readonly offset?: number;
}

export type TensorData = HostData | GPUBuffer;

export interface WarmupOptions {
  readonly dim?: number;
  readonly valueDim?: number;
  readonly dtype?: DType;
  readonly gradients?: boolean;
}

export declare function alibiSlopes(heads: number): Tensor<Float32Array>;

export declare function attention<Data extends TensorData>(
  q: Tensor<Data>,
  k: AnyTensor,
  v: AnyTensor,
  options: AttentionOptions & {
    readonly lse: true;
  },
): Promise<AttentionResultWithLse<Data>>;
export declare function attention<Data extends TensorData>(
  q: Tensor<Data>,
  k: AnyTensor,
  v: AnyTensor,
  options?: AttentionOptions,
): Promise<AttentionResult<Data>>;
export declare function attention<Data extends TensorData>(
  q: Tensor<Data>,
  cache: KvCache,
  options: CacheAttentionOptions & {
    readonly lse: true;
  },
): Promise<AttentionResultWithLse<Data>>;
export declare function attention<Data extends TensorData>(
  q: Tensor<Data>,
  cache: KvCache,
  options?: CacheAttentionOptions,
): Promise<AttentionResult<Data>>;

export declare function attentionBackward<
  Q extends TensorData,
  K extends TensorData = Q,
  V extends TensorData = Q,
>(
  dOut: AnyTensor,
  q: Tensor<Q>,
  k: Tensor<K>,
  v: Tensor<V>,
  options: BackwardOptions,
): Promise<AttentionGradients<Q, K, V>>;

export declare function attentionWithGradient<
  Q extends TensorData,
  K extends TensorData = Q,
  V extends TensorData = Q,
>(
  q: Tensor<Q>,
  k: Tensor<K>,
  v: Tensor<V>,
  options?: GradientOptions,
): Promise<AttentionWithGradient<Q, K, V>>;

export declare namespace blockMask {
  export interface BigBirdPattern {
    readonly block?: BlockMaskSize["block"];
    readonly window: number;
    readonly global: number;
    readonly random: number;
    readonly seed?: number;
  }

  export interface BlockMaskSize {
    readonly queries: number;
    readonly keys?: number;
    readonly batch?: number;
    readonly heads?: number;
    readonly block?:
      | number
      | readonly [
        queries: number,
        keys: number,
      ];
    readonly offset?: number;
  }

  export interface DilatedPattern {
    readonly window: Window;
    readonly dilation: number;
  }

  export type DocumentIds = ArrayLike<number> | {
    readonly queries: ArrayLike<number>;
    readonly keys: ArrayLike<number>;
  };

  export type Keeps = (b: number, h: number, query: number, key: number) => boolean;

  export interface LongformerPattern {
    readonly window: number;
    readonly dilation?: number;
    readonly global?: ArrayLike<number>;
  }

  export type Window = readonly [
    left: number | null,
    right: number | null,
  ];

  export function bigbird(pattern: BigBirdPattern, size: BlockMaskSize): BlockMask;

  export function butterfly(size: BlockMaskSize): BlockMask;

  export function causal(size: BlockMaskSize): BlockMask;

  export function dilated(pattern: DilatedPattern, size: BlockMaskSize): BlockMask;

  export function document(
    ids: DocumentIds,
    size?: Pick<BlockMaskSize, "block" | "batch" | "heads">,
  ): BlockMask;

  export function fromDense(mask: BooleanTensor, options?: Pick<BlockMaskSize, "block">): BlockMask;

  export function fromFunction(keeps: Keeps, size: Omit<BlockMaskSize, "offset">): BlockMask;

  export function longformer(pattern: LongformerPattern, size: BlockMaskSize): BlockMask;

  export function prefix(length: number, size: BlockMaskSize): BlockMask;

  export function window(window: Window, size: BlockMaskSize): BlockMask;
}

export declare function capabilities(options?: CapabilityOptions): Promise<Capabilities>;

export declare function createEngine(
  options: EngineOptions & {
    readonly backend: "webgpu";
  },
): Promise<Engine<GPUBuffer>>;
export declare function createEngine(options?: EngineOptions): Promise<Engine>;

export declare function mergeAttention<Data extends TensorData>(
  parts: readonly AttentionPart<Data>[],
  options?: MergeOptions,
): Promise<AttentionResultWithLse<Data>>;

export declare function tensor<Data extends HostData>(
  data: Data,
  shape: readonly number[],
  dtype?: DType,
): Tensor<Data>;

export {};
