// What `.` exports, as `deno task surface --accept` writes it.

export type AnyTensor = Tensor<TensorData>;

export interface AppendOptions {
  readonly lengths?: NumberList | undefined;
  readonly sequences?: NumberList | undefined;
  readonly cuSeqlens?: NumberList | undefined;
  readonly layout?: Layout | undefined;
}

export type Asking<
  Options,
  Lse extends boolean | undefined,
  Out extends AnyTensor | undefined = undefined,
> = Options & {
  readonly lse?: Lse | undefined;
  readonly out?: Out | undefined;
};

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
  readonly dCaptured?: ReadonlyMap<CapturedArray, Tensor<LseData<Q>>>;
}

export interface AttentionKeySums<Data extends TensorData> {
  readonly keySums: Tensor<LseData<Data>>;
}

export interface AttentionOptions extends ScoreFunctions {
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

export interface AttentionPart<Data extends TensorData = Float32Array> {
  readonly out: Tensor<Data>;
  readonly lse: Tensor<Data extends GPUBuffer ? GPUBuffer : Float32Array>;
}

export type AttentionRest<
  Keys extends AnyTensor | KvCache,
  Lse extends boolean | undefined,
  Out extends AnyTensor | undefined,
  More = unknown,
> = Keys extends KvCache ? [
    options?: Asking<CacheAttentionOptions & More, Lse, Out>,
  ]
  : [
    v: AnyTensor,
    options?: Asking<AttentionOptions & More, Lse, Out>,
  ];

export interface AttentionResult<Data extends TensorData = Float32Array> {
  readonly out: Tensor<Data>;
  readonly lse?: Tensor<LseData<Data>>;
}

export interface AttentionResultInto<Out extends AnyTensor> {
  readonly out: Out;
  readonly lse?: Tensor<LseData<Out["data"]>>;
}

export type AttentionResultWithLse<Data extends TensorData = Float32Array> = Required<
  AttentionResult<Data>
>;

export interface AttentionStream<Result> extends Disposable {
  push(k: AnyTensor, v: AnyTensor): Promise<void>;
  finish(): Promise<Result>;
  close(): void;
}

export interface AttentionWeights<Data extends TensorData> {
  readonly weights: Tensor<LseData<Data>>;
}

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
  readonly dLse?: Tensor<Float32Array | GPUBuffer> | undefined;
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
export type { BlockMask };

export interface BlockMaskSize {
  readonly queries: number;
  readonly keys?: number | undefined;
  readonly batch?: number | undefined;
  readonly heads?: number | undefined;
  readonly block?: number | readonly number[] | undefined;
  readonly offset?: number | undefined;
}

export type BooleanDType = "u8" | "bit";

export interface BooleanTensor {
  readonly data: Uint8Array | Uint32Array | GPUBuffer;
  readonly shape: readonly number[];
  readonly dtype?: BooleanDType | undefined;
  readonly strides?: readonly number[] | undefined;
  readonly offset?: number | undefined;
}

export interface CacheAttentionOptions
  extends Omit<AttentionOptions, "kvLengths" | "cuSeqlens" | "packed" | "blockMask" | "encoder"> {
  readonly lengths?: NumberList | undefined;
  readonly sequences?: NumberList | undefined;
  readonly cuSeqlens?: NumberList | undefined;
  readonly tailMask?: BooleanTensor | undefined;
  readonly parents?: NumberList | undefined;
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
  readonly device?: GPUDevice | undefined;
  readonly gpu?: GPU | undefined;
}

declare class Captured<Element extends Score | Whole = Score | Whole> implements CapturedArray {
  #private;
  readonly data: CapturedData;
  readonly shape: readonly number[];
  readonly dtype: CapturedDType;
  readonly grad: boolean;
  at(...indices: readonly (Whole | number)[]): Element;
}
export type { Captured };

export interface CapturedArray {
  readonly data: CapturedData;
  readonly shape: readonly number[];
  readonly dtype: CapturedDType;
  readonly grad: boolean;
}

export type CapturedDType = "f32" | "i32";

export type CapturedData = Float32Array | Int32Array | GPUBuffer;

export interface CapturedOptions {
  readonly grad?: boolean | undefined;
  readonly dtype?: CapturedDType | undefined;
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

export interface Condition {
  and(other: Condition | boolean): Condition;
  or(other: Condition | boolean): Condition;
  not(): Condition;
}

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
  attention<
    Data extends TensorData,
    Keys extends AnyTensor | KvCache = AnyTensor,
    Lse extends boolean | undefined = boolean | undefined,
    Out extends AnyTensor | undefined = undefined,
  >(
    q: Tensor<Data>,
    k: Keys,
    ...rest: AttentionRest<Keys, Lse, Out>
  ): Promise<ResultOf<Data, Lse, Out>>;
  attentionSync<
    Data extends TensorData,
    Lse extends boolean | undefined = boolean | undefined,
    Out extends AnyTensor | undefined = undefined,
  >(
    q: Tensor<Data>,
    k: AnyTensor,
    v: AnyTensor,
    options?: Asking<AttentionOptions, Lse, Out>,
  ): ResultOf<Data, Lse, Out>;
  attentionBackward<Q extends TensorData, K extends TensorData = Q, V extends TensorData = Q>(
    dOut: AnyTensor,
    q: Tensor<Q>,
    k: Tensor<K>,
    v: Tensor<V>,
    options: BackwardOptions,
  ): Promise<AttentionGradients<OwnData<Q>, OwnData<K>, OwnData<V>>>;
  attentionBackwardSync<Q extends TensorData, K extends TensorData = Q, V extends TensorData = Q>(
    dOut: AnyTensor,
    q: Tensor<Q>,
    k: Tensor<K>,
    v: Tensor<V>,
    options: BackwardOptions,
  ): AttentionGradients<OwnData<Q>, OwnData<K>, OwnData<V>>;
  attentionWithGradient<Q extends TensorData, K extends TensorData = Q, V extends TensorData = Q>(
    q: Tensor<Q>,
    k: Tensor<K>,
    v: Tensor<V>,
    options?: GradientOptions,
  ): Promise<AttentionWithGradient<OwnData<Q>, OwnData<K>, OwnData<V>>>;
  attentionWeights<Data extends TensorData, Sums extends KeySums | undefined = undefined>(
    q: Tensor<Data>,
    k: AnyTensor,
    options?: WeightsOptions & {
      readonly keySums?: Sums | undefined;
    },
  ): Promise<WeightsResult<Data, Sums>>;
  tensor<Stored extends DType = "f32">(
    shape: readonly number[] | TypedNumbers,
    dtype?: Stored,
  ): EngineTensor<MemoryFor<Memory, Stored>>;
  mergeAttention<Data extends TensorData>(
    parts: readonly AttentionPart<Data>[],
    options?: MergeOptions,
  ): Promise<AttentionResultWithLse<OwnData<Data>>>;
  cascadeAttention<Data extends TensorData, Lse extends boolean | undefined = boolean | undefined>(
    q: Tensor<Data>,
    prefix: CascadePart,
    suffix: CascadePart,
    options?: CascadeOptions & {
      readonly lse?: Lse | undefined;
    },
  ): Promise<ResultOf<Data, Lse>>;
  rope(q: AnyTensor, k?: AnyTensor | null, options?: RopeOptions): Promise<void>;
  ropeSync(q: AnyTensor, k?: AnyTensor | null, options?: RopeOptions): void;
  kvCache(
    options: KvCacheOptions & {
      readonly layers?: undefined;
    },
  ): KvCache;
  kvCache(options: LayeredKvCacheOptions): LayeredKvCache;
  warmup(options?: WarmupOptions): Promise<void>;
  close(): Promise<void>;
}

export interface EngineOptions {
  readonly backend?: "auto" | BackendName | undefined;
  readonly threads?: "auto" | number | undefined;
  readonly workerUrl?: string | {
    readonly href: string;
  } | undefined;
  readonly module?: WebAssembly.Module | undefined;
  readonly maxMemoryBytes?: number | undefined;
  readonly device?: GPUDevice | undefined;
  readonly gpu?: GPU | undefined;
  readonly wide?: boolean | undefined;
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

export type KeySums = boolean | "kv";

declare class KvCache implements Disposable {
  #private;
  readonly options:
    & {
      readonly [
        Name in Exclude<keyof KvCacheOptions, "capacity" | "pages" | "keepFirst" | "keepLast">
      ]-?: NonNullable<KvCacheOptions[Name]>;
    }
    & Partial<Kept>;
  get lengths(): readonly number[];
  get bytes(): number;
  get pages(): number;
  append(keys: AnyTensor, values: AnyTensor, options?: AppendOptions): void;
  truncate(sequence: number, length: number): void;
  keep(sequence: number, indices: NumberList): void;
  free(sequence: number): void;
  free(): void;
  [Symbol.dispose](): void;
  fork(from: number, to?: number): number;
  reorder(indices: NumberList): void;
  evict(kept: Kept, sequence?: number): void;
  save(sequence?: number): Promise<Uint8Array<ArrayBuffer>>;
  load(bytes: Uint8Array, sequence?: number): void;
  attend<
    Data extends TensorData,
    Lse extends boolean | undefined = boolean | undefined,
    Out extends AnyTensor | undefined = undefined,
  >(
    q: Tensor<Data>,
    options?: Asking<CacheAttentionOptions, Lse, Out>,
  ): Promise<ResultOf<Data, Lse, Out>>;
  attendSync<
    Data extends TensorData,
    Lse extends boolean | undefined = boolean | undefined,
    Out extends AnyTensor | undefined = undefined,
  >(q: Tensor<Data>, options?: Asking<CacheAttentionOptions, Lse, Out>): ResultOf<Data, Lse, Out>;
  step<
    Data extends TensorData,
    Lse extends boolean | undefined = boolean | undefined,
    Out extends AnyTensor | undefined = undefined,
  >(
    q: Tensor<Data>,
    k: AnyTensor,
    v: AnyTensor,
    options?: Asking<StepOptions, Lse, Out>,
  ): Promise<ResultOf<Data, Lse, Out>>;
}
export type { KvCache };

export interface KvCacheOptions {
  readonly batch?: number | undefined;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly valueDim?: number | undefined;
  readonly dtype?: CacheDType | undefined;
  readonly smoothKeys?: boolean | undefined;
  readonly keepLast?: number | undefined;
  readonly keepFirst?: number | undefined;
  readonly capacity?: number | undefined;
  readonly pageSize?: number | undefined;
  readonly pages?: number | undefined;
}

declare class LayeredKvCache implements Disposable {
  #private;
  readonly options: KvCache["options"] & {
    readonly layers: number;
  };
  get lengths(): readonly number[];
  get bytes(): number;
  get pages(): number;
  layer(layer: number): KvCache;
  append(layer: number, keys: AnyTensor, values: AnyTensor, options?: AppendOptions): void;
  attend<
    Data extends TensorData,
    Lse extends boolean | undefined = boolean | undefined,
    Out extends AnyTensor | undefined = undefined,
  >(
    layer: number,
    q: Tensor<Data>,
    options?: Asking<CacheAttentionOptions, Lse, Out>,
  ): Promise<ResultOf<Data, Lse, Out>>;
  attendSync<
    Data extends TensorData,
    Lse extends boolean | undefined = boolean | undefined,
    Out extends AnyTensor | undefined = undefined,
  >(
    layer: number,
    q: Tensor<Data>,
    options?: Asking<CacheAttentionOptions, Lse, Out>,
  ): ResultOf<Data, Lse, Out>;
  step<
    Data extends TensorData,
    Lse extends boolean | undefined = boolean | undefined,
    Out extends AnyTensor | undefined = undefined,
  >(
    layer: number,
    q: Tensor<Data>,
    k: AnyTensor,
    v: AnyTensor,
    options?: Asking<StepOptions, Lse, Out>,
  ): Promise<ResultOf<Data, Lse, Out>>;
  truncate(sequence: number, length: number): void;
  keep(sequence: number, indices: NumberList): void;
  free(sequence: number): void;
  free(): void;
  [Symbol.dispose](): void;
  fork(from: number, to?: number): number;
  reorder(indices: NumberList): void;
  evict(kept: Kept, sequence?: number): void;
  save(sequence?: number): Promise<Uint8Array<ArrayBuffer>>;
  load(bytes: Uint8Array, sequence?: number): void;
}
export type { LayeredKvCache };

export interface LayeredKvCacheOptions extends KvCacheOptions {
  readonly layers: number;
}

export type Layout = "bhnd" | "bnhd";

export type LseData<Data extends TensorData> = Data extends GPUBuffer ? GPUBuffer
  : Float32Array<ArrayBuffer>;

export type MaskMod = (place: Place) => Condition | boolean;

export type MemoryFor<Memory extends TensorData, Stored extends DType> = Memory extends GPUBuffer
  ? GPUBuffer
  : [
    Stored,
  ] extends [
    "f32",
  ] ? Float32Array
  : Memory;

export type MemoryOf<Name extends EngineOptions["backend"]> = [
  Name,
] extends [
  "webgpu",
] ? GPUBuffer
  : HostData;

export interface MergeOptions {
  readonly layout?: Layout | undefined;
}

export type NestedBooleans = readonly (boolean | NestedBooleans)[];

export type NestedNumbers = readonly (number | Float32Array | Float64Array | NestedNumbers)[];

export type NumberList = ArrayLike<number | bigint> | NumberTensor;

export interface NumberTensor {
  readonly data: TypedNumbers;
  readonly shape: readonly number[];
  readonly dtype?: DType | undefined;
  readonly strides?: readonly number[] | undefined;
  readonly offset?: number | undefined;
}

export interface Numeric<Self> {
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

export interface OnEngine {
  readonly engine?: Engine | Engine<GPUBuffer> | undefined;
}

export type OwnData<Data extends TensorData> = Data extends GPUBuffer ? GPUBuffer
  : Data extends Float32Array ? Float32Array<ArrayBuffer>
  : Data extends Uint16Array ? Uint16Array<ArrayBuffer>
  : Float16Array<ArrayBuffer>;

export type PassOptions = Pick<SoftmaxOptions, "signal">;

export interface Place {
  readonly b: Whole;
  readonly h: Whole;
  readonly q: Whole;
  readonly k: Whole;
}

export interface PlainBlockMask {
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

export type Precision = "f32" | "int16" | "int8-qk" | "int8";

export interface Progress {
  readonly done: number;
  readonly total: number;
}

export type ResultOf<
  Data extends TensorData,
  Lse extends boolean | undefined,
  Out extends AnyTensor | undefined = undefined,
> = ([
  Out,
] extends [
  undefined,
] ? AttentionResult<OwnData<Data>>
  : [
    AnyTensor,
  ] extends [
    Out,
  ] ? AttentionResult<Data>
  : AttentionResultInto<Exclude<Out, undefined>>) extends infer Result ? [
    Lse,
  ] extends [
    true,
  ] ? Required<Result>
  : Result
  : never;

export interface RopeConfigOptions {
  readonly length?: number | undefined;
  readonly layerType?: string | undefined;
}

export interface RopeOptions {
  readonly positions?: number | NumberList | undefined;
  readonly theta?: number | undefined;
  readonly style?: "half" | "interleaved" | undefined;
  readonly dims?: number | undefined;
  readonly scaling?: RopeScaling | undefined;
  readonly sections?: NumberList | undefined;
  readonly sectionStyle?: "blocks" | "interleaved" | undefined;
  readonly layout?: Layout | undefined;
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

export interface RowsResult<
  Data extends TensorData,
  Out extends AnyTensor | undefined = undefined,
> {
  readonly out: [
    Out,
  ] extends [
    undefined,
  ] ? Tensor<OwnData<Data>>
    : [
      AnyTensor,
    ] extends [
      Out,
    ] ? Tensor<Data>
    : Exclude<Out, undefined>;
}

export interface RowsWithGradient<Out extends HostData, X extends HostData = Out> {
  readonly out: Tensor<Out>;
  backward(dOut: AnyTensor, pass?: PassOptions): Promise<{
    readonly dx: Tensor<X>;
  }>;
}

export interface Score extends Numeric<Score> {
  div(other: Score | number): Score;
  exp(): Score;
  log(): Score;
  sqrt(): Score;
  tanh(): Score;
  sigmoid(): Score;
  toI32(): Whole;
}

export interface ScoreFunctions {
  readonly scoreMod?: ScoreMod | undefined;
  readonly maskMod?: MaskMod | undefined;
}

export type ScoreMod = (score: Score, place: Place) => Score | number;

export interface SignalLike {
  readonly aborted: boolean;
  readonly reason?: unknown;
}

export type SoftmaxGradientOptions = Omit<SoftmaxOptions, "out">;

export interface SoftmaxOptions<Out extends AnyTensor | undefined = AnyTensor | undefined> {
  readonly axis?: number | undefined;
  readonly scale?: number | undefined;
  readonly mask?: BooleanTensor | undefined;
  readonly out?: Out | undefined;
  readonly signal?: SignalLike | null | undefined;
}

export interface StepOptions extends CacheAttentionOptions {
  readonly rope?: Omit<RopeOptions, "layout"> | undefined;
}

export type StreamOptions = Pick<
  AttentionOptions,
  | ("causal" | "offset" | "window" | "scale" | "softcap" | "alibi" | "sinks")
  | ("layout" | "out" | "signal" | "precision" | "scoreMod" | "maskMod")
>;

export interface Tensor<Data extends TensorData = Float32Array> {
  readonly data: Data;
  readonly shape: readonly number[];
  readonly dtype?: DType | undefined;
  readonly strides?: readonly number[] | undefined;
  readonly offset?: number | undefined;
}

export type TensorData = HostData | GPUBuffer;

export type TypedNumbers = ArrayBufferView & ArrayLike<number | bigint>;

export interface WarmupOptions {
  readonly dim?: number | undefined;
  readonly valueDim?: number | undefined;
  readonly dtype?: DType | undefined;
  readonly precision?: Precision | undefined;
  readonly gradients?: boolean | undefined;
  readonly functions?: boolean | undefined;
  readonly rope?: boolean | undefined;
}

export interface WeightsOptions
  extends Omit<AttentionOptions, "lse" | "out" | "encoder" | "precision"> {
  readonly rows?: NumberList | undefined;
  readonly heads?: NumberList | undefined;
  readonly lse?: Tensor<Float32Array | GPUBuffer> | undefined;
  readonly keySums?: KeySums | undefined;
}

export type WeightsResult<Data extends TensorData, Sums extends KeySums | undefined> = [
  Sums,
] extends [
  true | "kv",
] ? AttentionKeySums<Data>
  : [
    Sums,
  ] extends [
    false | undefined,
  ] ? AttentionWeights<Data>
  : AttentionWeights<Data> | AttentionKeySums<Data>;

export interface Whole extends Numeric<Whole> {
  toF32(): Score;
}

export declare function alibiSlopes(heads: number): Tensor<Float32Array<ArrayBuffer>>;

export declare function attention<
  Data extends TensorData,
  Keys extends AnyTensor | KvCache = AnyTensor,
  Lse extends boolean | undefined = boolean | undefined,
  Out extends AnyTensor | undefined = undefined,
>(
  q: Tensor<Data>,
  k: Keys,
  ...rest: AttentionRest<Keys, Lse, Out, OnEngine>
): Promise<ResultOf<Data, Lse, Out>>;

export declare function attentionBackward<
  Q extends TensorData,
  K extends TensorData = Q,
  V extends TensorData = Q,
>(
  dOut: AnyTensor,
  q: Tensor<Q>,
  k: Tensor<K>,
  v: Tensor<V>,
  options: BackwardOptions & OnEngine,
): Promise<AttentionGradients<OwnData<Q>, OwnData<K>, OwnData<V>>>;

export declare function attentionStream<
  Data extends TensorData,
  Out extends AnyTensor | undefined = undefined,
>(
  q: Tensor<Data>,
  options?: StreamOptions & OnEngine & {
    readonly out?: Out | undefined;
  },
): AttentionStream<ResultOf<Data, true, Out>>;

export declare function attentionWeights<
  Data extends TensorData,
  Sums extends KeySums | undefined = undefined,
>(
  q: Tensor<Data>,
  k: AnyTensor,
  options?: WeightsOptions & OnEngine & {
    readonly keySums?: Sums | undefined;
  },
): Promise<WeightsResult<Data, Sums>>;

export declare function attentionWithGradient<
  Q extends TensorData,
  K extends TensorData = Q,
  V extends TensorData = Q,
>(
  q: Tensor<Q>,
  k: Tensor<K>,
  v: Tensor<V>,
  options?: GradientOptions & OnEngine,
): Promise<AttentionWithGradient<OwnData<Q>, OwnData<K>, OwnData<V>>>;

export declare namespace blockMask {
  export interface BigBirdPattern {
    readonly block?: BlockMaskSize["block"] | undefined;
    readonly windowBlocks: number;
    readonly global: number;
    readonly random: number;
    readonly seed?: number | undefined;
  }

  export interface BlockMaskSize {
    readonly queries: number;
    readonly keys?: number | undefined;
    readonly batch?: number | undefined;
    readonly heads?: number | undefined;
    readonly block?: number | readonly number[] | undefined;
    readonly offset?: number | undefined;
  }

  export interface DilatedPattern {
    readonly window: Window;
    readonly dilation: number;
  }

  export type DocumentIds = NumberList | {
    readonly queries: NumberList;
    readonly keys: NumberList;
  };

  export type Keeps = (b: number, h: number, query: number, key: number) => boolean;

  export interface LongformerPattern {
    readonly window: number;
    readonly dilation?: number | undefined;
    readonly global?: NumberList | undefined;
  }

  export type Window = number | readonly (number | null)[];

  export function bigbird(pattern: BigBirdPattern, size: BlockMaskSize | number): BlockMask;

  export function butterfly(size: BlockMaskSize | number): BlockMask;

  export function causal(size: BlockMaskSize | number): BlockMask;

  export function dilated(pattern: DilatedPattern, size: BlockMaskSize | number): BlockMask;

  export function document(
    ids: DocumentIds,
    size?: Pick<BlockMaskSize, "block" | "batch" | "heads">,
  ): BlockMask;

  export function fromDense(mask: BooleanTensor, options?: Pick<BlockMaskSize, "block">): BlockMask;

  export function fromFunction(
    keeps: Keeps,
    size: Omit<BlockMaskSize, "offset"> | number,
  ): BlockMask;

  export function fromIndices(
    indices: NumberList,
    size: Pick<BlockMaskSize, "queries" | "keys" | "block"> | number,
  ): BlockMask;

  export function fromPlain(plain: PlainBlockMask): BlockMask;

  export function longformer(pattern: LongformerPattern, size: BlockMaskSize | number): BlockMask;

  export function prefix(length: number, size: BlockMaskSize | number): BlockMask;

  export function window(window: Window, size: BlockMaskSize | number): BlockMask;
}

export declare function capabilities(options?: CapabilityOptions): Promise<Capabilities>;

export declare function captured(
  data: Float32Array,
  shape: readonly number[],
  options?: CapturedOptions & {
    readonly dtype?: "f32" | undefined;
  },
): Captured<Score>;
export declare function captured(
  data: Int32Array,
  shape: readonly number[],
  options?: CapturedOptions & {
    readonly dtype?: "i32" | undefined;
    readonly grad?: false | undefined;
  },
): Captured<Whole>;
export declare function captured<DType extends CapturedDType>(
  data: GPUBuffer,
  shape: readonly number[],
  options: CapturedOptions & {
    readonly dtype: DType;
  },
): Captured<DType extends "f32" ? Score : Whole>;

export declare function cascadeAttention<
  Data extends TensorData,
  Lse extends boolean | undefined = boolean | undefined,
>(
  q: Tensor<Data>,
  prefix: CascadePart,
  suffix: CascadePart,
  options?: CascadeOptions & OnEngine & {
    readonly lse?: Lse | undefined;
  },
): Promise<ResultOf<Data, Lse>>;

export declare function createEngine<Name extends EngineOptions["backend"] = "auto">(
  options?: EngineOptions & {
    readonly backend?: Name | undefined;
  },
): Promise<Engine<MemoryOf<Name>>>;

export declare function logSoftmax<
  Data extends TensorData,
  Out extends AnyTensor | undefined = undefined,
>(x: Tensor<Data>, options?: SoftmaxOptions<Out> & OnEngine): Promise<RowsResult<Data, Out>>;

export declare function logSoftmaxWithGradient<Data extends HostData>(
  x: Tensor<Data>,
  options?: SoftmaxGradientOptions & OnEngine,
): Promise<RowsWithGradient<OwnData<Data>>>;

export declare function logSumExp<
  Data extends TensorData,
  Out extends AnyTensor | undefined = undefined,
>(
  x: Tensor<Data>,
  options?: SoftmaxOptions<Out> & OnEngine,
): Promise<RowsResult<Data extends GPUBuffer ? GPUBuffer : Float32Array, Out>>;

export declare function logSumExpWithGradient<Data extends HostData>(
  x: Tensor<Data>,
  options?: SoftmaxGradientOptions & OnEngine,
): Promise<RowsWithGradient<Float32Array<ArrayBuffer>, OwnData<Data>>>;

export declare function mergeAttention<Data extends TensorData>(
  parts: readonly AttentionPart<Data>[],
  options?: MergeOptions & OnEngine,
): Promise<AttentionResultWithLse<OwnData<Data>>>;

export declare function rope(
  q: AnyTensor,
  k?: AnyTensor | null,
  options?: RopeOptions & OnEngine,
): Promise<void>;

export declare function ropeOptions(config: object, options?: RopeConfigOptions): RopeOptions;

export declare function softmax<
  Data extends TensorData,
  Out extends AnyTensor | undefined = undefined,
>(x: Tensor<Data>, options?: SoftmaxOptions<Out> & OnEngine): Promise<RowsResult<Data, Out>>;

export declare function softmaxWithGradient<Data extends HostData>(
  x: Tensor<Data>,
  options?: SoftmaxGradientOptions & OnEngine,
): Promise<RowsWithGradient<OwnData<Data>>>;

export declare function tensor<Data extends HostData>(
  data: Data,
  shape: readonly number[] | TypedNumbers,
  dtype?: DType,
): Tensor<Data>;
export declare function tensor(
  data: NestedNumbers,
  shape?: readonly number[] | TypedNumbers,
  dtype?: "f32",
): Tensor;
export declare function tensor(
  data: NestedBooleans | Uint8Array,
  shape?: readonly number[] | TypedNumbers,
  dtype?: "u8",
): BooleanTensor;

export declare function where(condition: Condition | boolean, a: Whole, b: Whole | number): Whole;
export declare function where(condition: Condition | boolean, a: Whole | number, b: Whole): Whole;
export declare function where(
  condition: Condition | boolean,
  a: Condition | boolean,
  b: Condition | boolean,
): Condition;
export declare function where(
  condition: Condition | boolean,
  a: Score | number,
  b: Score | number,
): Score;

export {};
