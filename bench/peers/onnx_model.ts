/**
 * Writes ONNX models of a single node, so that the bench ships none. Field numbers are those of
 * `onnx.proto`; of protocol buffers only what these models need is here.
 *
 * @module
 */

/** A message or a part of one: fields follow each other. */
type Bytes = readonly number[];

/** Tensor element types by their numbers. */
const elementTypes = { f32: 1, i32: 6, f16: 10 } as const;

/** Element types of a model's tensors. */
export type ElementType = keyof typeof elementTypes;

/** Attribute type 2 is a whole number. */
const wholeNumber = 2;

function varint(value: number): Bytes {
  return value < 128 ? [value] : [value % 128 + 128, ...varint(Math.floor(value / 128))];
}

/** A field that holds a number: wire type 0. */
function number(field: number, value: number): Bytes {
  return [...varint(field * 8), ...varint(value)];
}

/** A field that holds a message or a string: wire type 2. */
function bytes(field: number, ...content: readonly Bytes[]): Bytes {
  const all = content.flat();
  return [...varint(field * 8 + 2), ...varint(all.length), ...all];
}

function text(field: number, value: string): Bytes {
  return bytes(field, [...new TextEncoder().encode(value)]);
}

/** `NodeProto.attribute` with a whole number. */
function attribute(name: string, value: number): Bytes {
  return bytes(5, text(1, name), number(3, value), number(20, wholeNumber));
}

/** A tensor that a graph takes or gives. */
interface Port {
  readonly name: string;
  readonly rank: number;
  readonly type: ElementType;
}

/** `ValueInfoProto` of a tensor whose extents are all free. */
function tensor(field: number, { name, rank, type }: Port): Bytes {
  const extents = Array.from({ length: rank }, (_, axis) => bytes(1, text(2, `${name}${axis}`)));
  const kind = bytes(1, number(1, elementTypes[type]), bytes(2, ...extents));
  return bytes(field, text(1, name), bytes(2, kind));
}

/** `ModelProto.opset_import`. */
function operators(domain: string, version: number): Bytes {
  return bytes(8, text(1, domain), number(2, version));
}

/** Operators of onnxruntime's own, beside the standard's. */
const microsoft = "com.microsoft";
const withMicrosoft = [...number(1, 8), ...operators("", 17), ...operators(microsoft, 1)];

/** `NodeProto`; an input without a name is left out. */
function node(
  operator: string,
  inputs: readonly string[],
  outputs: readonly string[],
  ...rest: readonly Bytes[]
): Bytes {
  const ports = [...inputs.map((name) => text(1, name)), ...outputs.map((name) => text(2, name))];
  return bytes(1, ...ports, text(4, operator), ...rest);
}

/** `GraphProto` of one node. */
function graph(
  only: Bytes,
  inputs: readonly Port[],
  outputs: readonly Port[],
  ...initializers: readonly Bytes[]
): Bytes {
  return bytes(
    7,
    only,
    text(2, "attention"),
    ...initializers,
    ...inputs.map((port) => tensor(11, port)),
    ...outputs.map((port) => tensor(12, port)),
  );
}

/** `q`, `k` and `v`, and `out`. */
function ports(rank: number, type: ElementType): [inputs: Port[], outputs: Port[]] {
  return [["q", "k", "v"].map((name) => ({ name, rank, type })), [{ name: "out", rank, type }]];
}

/** `Attention` of ONNX opset 23, tensors `[B, H, N, D]`. */
export function attentionModel(causal: boolean): Uint8Array {
  const attributes = causal ? [attribute("is_causal", 1)] : [];
  const only = node("Attention", ["q", "k", "v"], ["out"], ...attributes);
  return Uint8Array.from([
    ...number(1, 11),
    ...operators("", 23),
    ...graph(only, ...ports(4, "f32")),
  ]);
}

/** `MultiHeadAttention` of onnxruntime's own domain, tensors `[B, N, H * D]`. */
export function multiHeadAttentionModel(
  heads: number,
  causal: boolean,
  type: ElementType = "f32",
): Uint8Array {
  const attributes = [attribute("num_heads", heads)];
  if (causal) attributes.push(attribute("unidirectional", 1));
  const only = node(
    "MultiHeadAttention",
    ["q", "k", "v"],
    ["out"],
    ...attributes,
    text(7, microsoft),
  );
  return Uint8Array.from([...withMicrosoft, ...graph(only, ...ports(3, type))]);
}

/** A tensor whose numbers are part of a model, in a file beside it that has its name. */
export interface Held {
  readonly name: string;
  readonly shape: readonly number[];
}

/** `TensorProto` of f32 with `external_data`. */
function initializer({ name, shape }: Held): Bytes {
  const external = 1;
  return bytes(
    5,
    ...shape.map((extent) => number(1, extent)),
    number(2, elementTypes.f32),
    text(8, name),
    bytes(13, text(1, "location"), text(2, name)),
    number(14, external),
  );
}

/**
 * `GroupQueryAttention` of onnxruntime's own domain: queries, keys and values `[B, N, H * D]`; `pastK`
 * and `pastV`, `[B, Hkv, past, D]`; `last`, `[B]`, the last position, and `total`, the number of
 * positions. Gives `out`, and past and new keys and values together as `presentK` and `presentV`.
 *
 * @param held Those of the past that are part of the model.
 */
export function groupQueryAttentionModel(
  heads: number,
  kvHeads: number,
  held: readonly Held[] = [],
): Uint8Array {
  const floats = (rank: number, ...names: string[]) =>
    names.map((name): Port => ({ name, rank, type: "f32" }));
  const inputs: Port[] = [
    ...floats(3, "q", "k", "v"),
    ...floats(4, "pastK", "pastV"),
    { name: "last", rank: 1, type: "i32" },
    { name: "total", rank: 1, type: "i32" },
  ];
  const outputs = [...floats(3, "out"), ...floats(4, "presentK", "presentV")];
  const only = node(
    "GroupQueryAttention",
    inputs.map(({ name }) => name),
    outputs.map(({ name }) => name),
    ...[attribute("num_heads", heads), attribute("kv_num_heads", kvHeads), text(7, microsoft)],
  );
  const given = inputs.filter(({ name }) => held.every((tensor) => tensor.name !== name));
  return Uint8Array.from([
    ...withMicrosoft,
    ...graph(only, given, outputs, ...held.map(initializer)),
  ]);
}
