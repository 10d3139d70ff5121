// What `./linear` exports, as `deno task surface --accept` writes it.

export interface AttendingOptions
  extends Pick<AttentionOptions, "scale" | "lse" | "layout" | "signal" | "out"> {
}

export type ConvolutionGradientOptions = Omit<ConvolutionOptions, "out">;

export interface ConvolutionGradients<V extends HostData, W extends HostData> {
  readonly dv: Tensor<V>;
  readonly dWeights: Tensor<W>;
}

export interface ConvolutionOptions<Out extends AnyTensor | undefined = AnyTensor | undefined> {
  readonly causal?: boolean | undefined;
  readonly layout?: Layout | undefined;
  readonly out?: Out | undefined;
  readonly signal?: SignalLike | null | undefined;
}

export type ConvolutionPassOptions = Pick<ConvolutionOptions, "signal">;

export type ConvolutionStateOptions = Pick<ConvolutionOptions, "layout">;

export type ConvolutionStepOptions<Out extends AnyTensor | undefined = AnyTensor | undefined> =
  Pick<ConvolutionOptions<Out>, "out" | "signal">;

export interface ConvolutionWithGradient<V extends HostData, W extends HostData> {
  readonly out: Tensor<V>;
  backward(dOut: AnyTensor, options?: ConvolutionPassOptions): Promise<ConvolutionGradients<V, W>>;
}

export interface DecodingState extends Disposable {
  close(): void;
}

export interface DynamicConvolutionState extends DecodingState {
  step<Data extends TensorData, Out extends AnyTensor | undefined = undefined>(
    v: Tensor<Data>,
    weights: AnyTensor,
    options?: ConvolutionStepOptions<Out>,
  ): Promise<RowsResult<Data, Out>>;
}

export interface LightweightConvolutionState extends DecodingState {
  step<Data extends TensorData, Out extends AnyTensor | undefined = undefined>(
    v: Tensor<Data>,
    options?: ConvolutionStepOptions<Out>,
  ): Promise<RowsResult<Data, Out>>;
}

export interface LinformerAttentionGradients<
  Q extends TensorData = Float32Array,
  K extends TensorData = Q,
  V extends TensorData = Q,
> {
  readonly dq: Tensor<Q>;
  readonly dk: Tensor<K>;
  readonly dv: Tensor<V>;
  readonly dProjectK: AnyTensor;
  readonly dProjectV?: AnyTensor;
}

export interface LinformerAttentionWithGradient<
  Q extends TensorData = Float32Array,
  K extends TensorData = Q,
  V extends TensorData = Q,
> extends AttentionResultWithLse<Q> {
  backward(
    dOut: AnyTensor,
    options?: BackwardPassOptions,
  ): Promise<LinformerAttentionGradients<Q, K, V>>;
}

export interface LinformerOptions extends AttendingOptions {
  readonly projectK: AnyTensor;
  readonly projectV?: AnyTensor | undefined;
}

export interface LocalGlobalAttentionGradients<
  Q extends TensorData = Float32Array,
  K extends TensorData = Q,
  V extends TensorData = Q,
> {
  readonly dq: Tensor<Q>;
  readonly dk: Tensor<K>;
  readonly dv: Tensor<V>;
  readonly dPool?: AnyTensor;
}

export interface LocalGlobalAttentionWithGradient<
  Q extends TensorData = Float32Array,
  K extends TensorData = Q,
  V extends TensorData = Q,
> extends AttentionResultWithLse<Q> {
  backward(
    dOut: AnyTensor,
    options?: BackwardPassOptions,
  ): Promise<LocalGlobalAttentionGradients<Q, K, V>>;
}

export interface LocalGlobalOptions extends AttendingOptions {
  readonly block: number;
  readonly causal?: boolean | undefined;
  readonly pool?: AnyTensor | undefined;
}

export interface LocalGlobalState extends DecodingState {
  readonly rows: number;
  step<
    Data extends TensorData,
    Lse extends boolean | undefined = boolean | undefined,
    Out extends AnyTensor | undefined = undefined,
  >(
    q: Tensor<Data>,
    k: AnyTensor,
    v: AnyTensor,
    options?: Asking<LocalGlobalStepOptions, Lse, Out>,
  ): Promise<ResultOf<Data, Lse, Out>>;
}

export interface LocalGlobalStateOptions
  extends Pick<LocalGlobalOptions, "block" | "pool" | "scale" | "layout"> {
}

export interface LocalGlobalStepOptions extends Pick<AttendingOptions, "lse" | "out" | "signal"> {
}

export interface PerformerFeatures {
  readonly features?: number | undefined;
  readonly seed?: number | undefined;
  readonly projection?: AnyTensor | undefined;
  readonly kernel?: PerformerKernel | undefined;
  readonly scale?: number | undefined;
  readonly layout?: Layout | undefined;
}

export type PerformerGradientOptions = Omit<PerformerOptions, "out">;

export interface PerformerGradients<
  Q extends TensorData = Float32Array,
  K extends TensorData = Q,
  V extends TensorData = Q,
> {
  readonly dq: Tensor<Q>;
  readonly dk: Tensor<K>;
  readonly dv: Tensor<V>;
}

export type PerformerKernel = "softmax" | "relu";

export interface PerformerOptions extends PerformerFeatures {
  readonly causal?: boolean | undefined;
  readonly out?: AnyTensor | undefined;
  readonly signal?: SignalLike | null | undefined;
}

export interface PerformerPassOptions extends Pick<PerformerOptions, "signal"> {
}

export interface PerformerProjectionOptions {
  readonly dim: number;
  readonly features?: number | undefined;
  readonly seed?: number | undefined;
}

export interface PerformerState extends Disposable {
  readonly rows: number;
  step<Data extends TensorData, Out extends AnyTensor | undefined = undefined>(
    q: Tensor<Data>,
    k: AnyTensor,
    v: AnyTensor,
    options?: PerformerStepOptions & {
      readonly out?: Out | undefined;
    },
  ): Promise<RowsResult<Data, Out>>;
  close(): void;
}

export interface PerformerStepOptions extends Pick<PerformerOptions, "out" | "signal"> {
}

export interface PerformerWithGradient<
  Q extends TensorData = Float32Array,
  K extends TensorData = Q,
  V extends TensorData = Q,
> {
  readonly out: Tensor<Q>;
  backward(dOut: AnyTensor, options?: PerformerPassOptions): Promise<PerformerGradients<Q, K, V>>;
}

export declare function createDynamicConvolutionState(
  options?: ConvolutionStateOptions & OnEngine,
): DynamicConvolutionState;

export declare function createLightweightConvolutionState(
  weights: AnyTensor,
  options?: ConvolutionStateOptions & OnEngine,
): LightweightConvolutionState;

export declare function createLocalGlobalState(
  options: LocalGlobalStateOptions & OnEngine,
): LocalGlobalState;

export declare function createPerformerState(
  options?: PerformerFeatures & OnEngine,
): PerformerState;

export declare function dynamicConvolution<
  Data extends TensorData,
  Out extends AnyTensor | undefined = undefined,
>(
  v: Tensor<Data>,
  weights: AnyTensor,
  options?: ConvolutionOptions<Out> & OnEngine,
): Promise<RowsResult<Data, Out>>;

export declare function dynamicConvolutionWithGradient<V extends HostData, W extends HostData>(
  v: Tensor<V>,
  weights: Tensor<W>,
  options?: ConvolutionGradientOptions & OnEngine,
): Promise<ConvolutionWithGradient<OwnData<V>, OwnData<W>>>;

export declare function lightweightConvolution<
  Data extends TensorData,
  Out extends AnyTensor | undefined = undefined,
>(
  v: Tensor<Data>,
  weights: AnyTensor,
  options?: ConvolutionOptions<Out> & OnEngine,
): Promise<RowsResult<Data, Out>>;

export declare function lightweightConvolutionWithGradient<V extends HostData, W extends HostData>(
  v: Tensor<V>,
  weights: Tensor<W>,
  options?: ConvolutionGradientOptions & OnEngine,
): Promise<ConvolutionWithGradient<OwnData<V>, OwnData<W>>>;

export declare function linformerAttention<
  Data extends TensorData,
  Lse extends boolean | undefined = boolean | undefined,
  Out extends AnyTensor | undefined = undefined,
>(
  q: Tensor<Data>,
  k: AnyTensor,
  v: AnyTensor,
  options: Asking<LinformerOptions & OnEngine, Lse, Out>,
): Promise<ResultOf<Data, Lse, Out>>;

export declare function linformerAttentionWithGradient<
  Q extends TensorData,
  K extends TensorData = Q,
  V extends TensorData = Q,
>(
  q: Tensor<Q>,
  k: Tensor<K>,
  v: Tensor<V>,
  options: Omit<LinformerOptions, "lse" | "out"> & OnEngine,
): Promise<LinformerAttentionWithGradient<OwnData<Q>, OwnData<K>, OwnData<V>>>;

export declare function localGlobalAttention<
  Data extends TensorData,
  Lse extends boolean | undefined = boolean | undefined,
  Out extends AnyTensor | undefined = undefined,
>(
  q: Tensor<Data>,
  k: AnyTensor,
  v: AnyTensor,
  options: Asking<LocalGlobalOptions & OnEngine, Lse, Out>,
): Promise<ResultOf<Data, Lse, Out>>;

export declare function localGlobalAttentionWithGradient<
  Q extends TensorData,
  K extends TensorData = Q,
  V extends TensorData = Q,
>(
  q: Tensor<Q>,
  k: Tensor<K>,
  v: Tensor<V>,
  options: Omit<LocalGlobalOptions, "lse" | "out"> & OnEngine,
): Promise<LocalGlobalAttentionWithGradient<OwnData<Q>, OwnData<K>, OwnData<V>>>;

export declare function performerAttention<
  Data extends TensorData,
  Out extends AnyTensor | undefined = undefined,
>(
  q: Tensor<Data>,
  k: AnyTensor,
  v: AnyTensor,
  options?: PerformerOptions & OnEngine & {
    readonly out?: Out | undefined;
  },
): Promise<RowsResult<Data, Out>>;

export declare function performerAttentionWithGradient<
  Q extends TensorData,
  K extends TensorData = Q,
  V extends TensorData = Q,
>(
  q: Tensor<Q>,
  k: Tensor<K>,
  v: Tensor<V>,
  options?: PerformerGradientOptions & OnEngine,
): Promise<PerformerWithGradient<OwnData<Q>, OwnData<K>, OwnData<V>>>;

export declare function performerProjection(
  options: PerformerProjectionOptions,
): Tensor<Float32Array<ArrayBuffer>>;

// Named by these, and not exported.

type AnyTensor = Tensor<TensorData>;

interface AppendOptions {
  readonly lengths?: NumberList | undefined;
  readonly sequences?: NumberList | undefined;
  readonly cuSeqlens?: NumberList | undefined;
  readonly layout?: Layout | undefined;
}

type Asking<
  Options,
  Lse extends boolean | undefined,
  Out extends AnyTensor | undefined = undefined,
> = Options & {
  readonly lse?: Lse | undefined;
  readonly out?: Out | undefined;
};

interface AttentionGradients<
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

interface AttentionKeySums<Data extends TensorData> {
  readonly keySums: Tensor<LseData<Data>>;
}

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

interface AttentionPart<Data extends TensorData = Float32Array> {
  readonly out: Tensor<Data>;
  readonly lse: Tensor<Data extends GPUBuffer ? GPUBuffer : Float32Array>;
}

type AttentionRest<
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

interface AttentionResult<Data extends TensorData = Float32Array> {
  readonly out: Tensor<Data>;
  readonly lse?: Tensor<LseData<Data>>;
}

interface AttentionResultInto<Out extends AnyTensor> {
  readonly out: Out;
  readonly lse?: Tensor<LseData<Out["data"]>>;
}

type AttentionResultWithLse<Data extends TensorData = Float32Array> = Required<
  AttentionResult<Data>
>;

interface AttentionWeights<Data extends TensorData> {
  readonly weights: Tensor<LseData<Data>>;
}

interface AttentionWithGradient<
  Q extends TensorData = Float32Array,
  K extends TensorData = Q,
  V extends TensorData = Q,
> extends AttentionResultWithLse<Q> {
  backward(dOut: AnyTensor, options?: BackwardPassOptions): Promise<AttentionGradients<Q, K, V>>;
}

interface Availability {
  readonly available: boolean;
  readonly reason: string;
}

type BackendName = "wasm" | "webgpu";

interface BackwardOptions extends GradientOptions {
  readonly out: AnyTensor;
  readonly lse: Tensor<Float32Array | GPUBuffer>;
  readonly dLse?: Tensor<Float32Array | GPUBuffer> | undefined;
}

interface BackwardPassOptions extends Pick<BackwardOptions, "dLse" | "signal" | "onProgress"> {
}

type BinaryName = "simd" | "relaxed";

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

interface CacheAttentionOptions
  extends Omit<AttentionOptions, "kvLengths" | "cuSeqlens" | "packed" | "blockMask" | "encoder"> {
  readonly lengths?: NumberList | undefined;
  readonly sequences?: NumberList | undefined;
  readonly cuSeqlens?: NumberList | undefined;
  readonly tailMask?: BooleanTensor | undefined;
  readonly parents?: NumberList | undefined;
}

type CacheDType = "f32" | "f16" | "bf16" | "int8" | "int4";

interface Capabilities {
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

interface CapturedArray {
  readonly data: CapturedData;
  readonly shape: readonly number[];
  readonly dtype: CapturedDType;
  readonly grad: boolean;
}

type CapturedDType = "f32" | "i32";

type CapturedData = Float32Array | Int32Array | GPUBuffer;

type CascadeOptions = Pick<
  AttentionOptions,
  "causal" | "scale" | "softcap" | "sinks" | "layout" | "lse" | "signal"
>;

type CascadePart = KvCache | {
  readonly k: AnyTensor;
  readonly v: AnyTensor;
};

type Causal = boolean | "bottom-right" | "top-left";

interface Condition {
  and(other: Condition | boolean): Condition;
  or(other: Condition | boolean): Condition;
  not(): Condition;
}

type DType = "f32" | "f16" | "bf16";

interface Engine<Memory extends TensorData = HostData> extends AsyncDisposable {
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

interface EngineTensor<Data extends TensorData = Float32Array> extends Tensor<Data>, Disposable {
  readonly data: Data;
  free(): void;
}

type GradientOptions = Omit<AttentionOptions, "lse" | "out" | "encoder">;

type HostData = Float32Array | Float16Array | Uint16Array;

interface Kept {
  readonly keepFirst: number;
  readonly keepLast: number;
}

type KeySums = boolean | "kv";

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

interface KvCacheOptions {
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

interface LayeredKvCacheOptions extends KvCacheOptions {
  readonly layers: number;
}

type Layout = "bhnd" | "bnhd";

type LseData<Data extends TensorData> = Data extends GPUBuffer ? GPUBuffer
  : Float32Array<ArrayBuffer>;

type MaskMod = (place: Place) => Condition | boolean;

type MemoryFor<Memory extends TensorData, Stored extends DType> = Memory extends GPUBuffer
  ? GPUBuffer
  : [
    Stored,
  ] extends [
    "f32",
  ] ? Float32Array
  : Memory;

interface MergeOptions {
  readonly layout?: Layout | undefined;
}

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

interface OnEngine {
  readonly engine?: Engine | Engine<GPUBuffer> | undefined;
}

type OwnData<Data extends TensorData> = Data extends GPUBuffer ? GPUBuffer
  : Data extends Float32Array ? Float32Array<ArrayBuffer>
  : Data extends Uint16Array ? Uint16Array<ArrayBuffer>
  : Float16Array<ArrayBuffer>;

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

type ResultOf<
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

interface RowsResult<Data extends TensorData, Out extends AnyTensor | undefined = undefined> {
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

interface StepOptions extends CacheAttentionOptions {
  readonly rope?: Omit<RopeOptions, "layout"> | undefined;
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

interface WarmupOptions {
  readonly dim?: number | undefined;
  readonly valueDim?: number | undefined;
  readonly dtype?: DType | undefined;
  readonly precision?: Precision | undefined;
  readonly gradients?: boolean | undefined;
  readonly functions?: boolean | undefined;
  readonly rope?: boolean | undefined;
}

interface WeightsOptions extends Omit<AttentionOptions, "lse" | "out" | "encoder" | "precision"> {
  readonly rows?: NumberList | undefined;
  readonly heads?: NumberList | undefined;
  readonly lse?: Tensor<Float32Array | GPUBuffer> | undefined;
  readonly keySums?: KeySums | undefined;
}

type WeightsResult<Data extends TensorData, Sums extends KeySums | undefined> = [
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

interface Whole extends Numeric<Whole> {
  toF32(): Score;
}

export {};
