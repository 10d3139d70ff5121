// What `./sharded` exports, as `deno task surface --accept` writes it.

export interface ConnectionMessage {
  readonly subject: string;
  readonly data: Uint8Array;
  readonly reply?: string | undefined;
}

export interface ConnectionSubscription {
  unsubscribe(): void;
}

export type RefusalReason =
  | "version"
  | "epoch"
  | "stale"
  | "behind"
  | "conflict"
  | "sizes"
  | "shape"
  | "full"
  | "payload"
  | "name"
  | "permission"
  | "closed"
  | "failed";

export interface RestoreOptions {
  readonly saved?: string | undefined;
}

export interface ServeShardOptions {
  readonly connection: ShardConnection;
  readonly prefix: string;
  readonly group: number;
  readonly name: string;
  readonly engine: Engine | Engine<GPUBuffer>;
  readonly maxBytes?: number | undefined;
  readonly store?: ShardStore | undefined;
}

export interface ServedShard extends AsyncDisposable {
  stats(): ShardStats;
  readonly ended: Promise<ShardRefusedError | undefined>;
  close(): Promise<void>;
}

export interface ShardConnection {
  publish(subject: string, payload?: Uint8Array, options?: {
    reply?: string;
  }): void;
  subscribe(subject: string, options: {
    callback: (error: Error | null, message: ConnectionMessage) => void;
  }): ConnectionSubscription;
  flush(): Promise<void>;
  isClosed(): boolean;
  isDraining(): boolean;
  closed(): Promise<void | Error>;
  status?(): AsyncIterable<unknown>;
  readonly info?: {
    readonly version?: string | undefined;
    readonly max_payload?: number | undefined;
  } | undefined;
}

export declare class ShardLostError extends Error {
  readonly name = "ShardLostError";
  readonly shards: readonly string[];
  readonly tokens: number;
  constructor(doing: string, shards: readonly string[], tokens: number, reason: string);
}

export declare class ShardRefusedError extends Error {
  readonly name = "ShardRefusedError";
  readonly shard: string;
  readonly reason: RefusalReason;
  constructor(doing: string, shard: string, reason: RefusalReason, text: string);
}

export interface ShardState {
  readonly name: string;
  readonly group: number;
  readonly lives: boolean;
}

export interface ShardStats {
  readonly name: string;
  readonly group: number;
  readonly epoch: number;
  readonly generation: number;
  readonly lengths: readonly number[];
  readonly bytes: number;
  readonly answered: number;
  readonly refused: number;
  readonly malformed: number;
  readonly waiting: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
}

export interface ShardStore {
  put(name: string, bytes: Uint8Array): Promise<unknown>;
  get(name: string): Promise<Uint8Array | null>;
}

export interface ShardedAppendOptions {
  readonly lengths?: NumberList | undefined;
  readonly layout?: Layout | undefined;
  readonly signal?: SignalLike | null | undefined;
}

export interface ShardedAttendOptions extends ShardedAppendOptions {
  readonly causal?: boolean | undefined;
  readonly window?: readonly (number | null)[] | undefined;
  readonly scale?: number | undefined;
  readonly softcap?: number | undefined;
}

export interface ShardedCache extends AsyncDisposable {
  readonly options: ShardedSizes & {
    readonly groups: number;
    readonly replicas: number;
  };
  readonly lengths: readonly number[];
  lengthsOf(layer: number): readonly number[];
  readonly shards: readonly ShardState[];
  readonly epoch: number;
  readonly traffic: Traffic;
  append(layer: number, k: AnyTensor, v: AnyTensor, options?: ShardedAppendOptions): Promise<void>;
  attend(layer: number, q: AnyTensor, options?: ShardedAttendOptions): Promise<ShardedResult>;
  step(
    layer: number,
    q: AnyTensor,
    k: AnyTensor,
    v: AnyTensor,
    options?: ShardedStepOptions,
  ): Promise<ShardedResult>;
  truncate(sequence: number, length: number): Promise<void>;
  fork(from: number, to: number): Promise<void>;
  free(sequence?: number): Promise<void>;
  save(name: string): Promise<void>;
  restore(options?: RestoreOptions): Promise<void>;
  rebalance(): Promise<number>;
  close(): Promise<void>;
}

export interface ShardedCacheOptions {
  readonly connection: ShardConnection;
  readonly prefix: string;
  readonly groups?: number | undefined;
  readonly replicas?: number | undefined;
  readonly layers: number;
  readonly batch?: number | undefined;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly valueDim?: number | undefined;
  readonly dtype?: CacheDType | undefined;
  readonly pageSize?: number | undefined;
  readonly deadline?: number | undefined;
  readonly heartbeat?: number | undefined;
}

export interface ShardedResult {
  readonly out: Tensor<Float32Array<ArrayBuffer>>;
  readonly lse: Tensor<Float32Array<ArrayBuffer>>;
}

export interface ShardedSizes {
  readonly layers: number;
  readonly batch: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly valueDim: number;
  readonly pageSize: number;
  readonly dtype: CacheDType;
}

export interface ShardedStepOptions extends ShardedAttendOptions {
  readonly rope?: Omit<RopeOptions, "layout"> | undefined;
}

export interface Traffic {
  readonly messagesOut: number;
  readonly bytesOut: number;
  readonly messagesIn: number;
  readonly bytesIn: number;
  readonly again: number;
}

export declare function serveShard(options: ServeShardOptions): Promise<ServedShard>;

export declare function shardedCache(options: ShardedCacheOptions): Promise<ShardedCache>;

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
