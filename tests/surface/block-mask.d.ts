// What `./block-mask` exports, as `deno task surface --accept` writes it.

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

export declare function bigbird(pattern: BigBirdPattern, size: BlockMaskSize | number): BlockMask;

export declare function butterfly(size: BlockMaskSize | number): BlockMask;

export declare function causal(size: BlockMaskSize | number): BlockMask;

export declare function dilated(pattern: DilatedPattern, size: BlockMaskSize | number): BlockMask;

export declare function document(
  ids: DocumentIds,
  size?: Pick<BlockMaskSize, "block" | "batch" | "heads">,
): BlockMask;

export declare function fromDense(
  mask: BooleanTensor,
  options?: Pick<BlockMaskSize, "block">,
): BlockMask;

export declare function fromFunction(
  keeps: Keeps,
  size: Omit<BlockMaskSize, "offset"> | number,
): BlockMask;

export declare function fromIndices(
  indices: NumberList,
  size: Pick<BlockMaskSize, "queries" | "keys" | "block"> | number,
): BlockMask;

export declare function fromPlain(plain: PlainBlockMask): BlockMask;

export declare function longformer(
  pattern: LongformerPattern,
  size: BlockMaskSize | number,
): BlockMask;

export declare function prefix(length: number, size: BlockMaskSize | number): BlockMask;

export declare function window(window: Window, size: BlockMaskSize | number): BlockMask;

// Named by these, and not exported.

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

type DType = "f32" | "f16" | "bf16";

type NumberList = ArrayLike<number | bigint> | NumberTensor;

interface NumberTensor {
  readonly data: TypedNumbers;
  readonly shape: readonly number[];
  readonly dtype?: DType | undefined;
  readonly strides?: readonly number[] | undefined;
  readonly offset?: number | undefined;
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

type TypedNumbers = ArrayBufferView & ArrayLike<number | bigint>;

export {};
