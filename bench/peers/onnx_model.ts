/**
 * Writes ONNX models of a single node, so that the bench ships none. Field numbers are those of
 * `onnx.proto`; of protocol buffers only what these models need is here.
 *
 * @module
 */

/** A message or a part of one: fields follow each other. */
type Bytes = readonly number[];

/** Tensor element types by their numbers. */
const elementTypes = { f32: 1, f16: 10 } as const;

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

/** `ValueInfoProto` of a tensor whose extents are all free. */
function tensor(field: number, name: string, rank: number, type: ElementType): Bytes {
  const extents = Array.from({ length: rank }, (_, axis) => bytes(1, text(2, `${name}${axis}`)));
  const kind = bytes(1, number(1, elementTypes[type]), bytes(2, ...extents));
  return bytes(field, text(1, name), bytes(2, kind));
}

/** `ModelProto.opset_import`. */
function operators(domain: string, version: number): Bytes {
  return bytes(8, text(1, domain), number(2, version));
}

/** `GraphProto` of one node from `q`, `k`, `v` to `out`. */
function graph(
  operator: string,
  rank: number,
  type: ElementType,
  ...rest: readonly Bytes[]
): Bytes {
  const ports = [text(1, "q"), text(1, "k"), text(1, "v"), text(2, "out")];
  return bytes(
    7,
    bytes(1, ...ports, text(4, operator), ...rest),
    text(2, "attention"),
    ...["q", "k", "v"].map((name) => tensor(11, name, rank, type)),
    tensor(12, "out", rank, type),
  );
}

/** `Attention` of ONNX opset 23, tensors `[B, H, N, D]`. */
export function attentionModel(causal: boolean): Uint8Array {
  const attributes = causal ? [attribute("is_causal", 1)] : [];
  return Uint8Array.from([
    ...number(1, 11),
    ...operators("", 23),
    ...graph("Attention", 4, "f32", ...attributes),
  ]);
}

/** `MultiHeadAttention` of onnxruntime's own domain, tensors `[B, N, H * D]`. */
export function multiHeadAttentionModel(
  heads: number,
  causal: boolean,
  type: ElementType = "f32",
): Uint8Array {
  const domain = "com.microsoft";
  const attributes = [attribute("num_heads", heads)];
  if (causal) attributes.push(attribute("unidirectional", 1));
  return Uint8Array.from([
    ...number(1, 8),
    ...operators("", 17),
    ...operators(domain, 1),
    ...graph("MultiHeadAttention", 3, type, ...attributes, text(7, domain)),
  ]);
}
