/**
 * Uniform blocks: each shader has a table of its fields; its struct is written from it, and so are the bytes.
 *
 * @module
 */

/** Types of the fields: four bytes, or a tensor, of which five words are told. */
export type FieldType = "u32" | "i32" | "f32" | "tensor";

/** The fields of a block, in order. */
export type Fields = Readonly<Record<string, FieldType>>;

/** Where a tensor begins in its binding, and its strides, in elements. */
export interface Placed {
  readonly at: number;
  readonly strides: readonly [batch: number, head: number, row: number, column: number];
}

/** Values of fields; those that are absent are 0. */
export type Values<Table extends Fields> = {
  readonly [Name in keyof Table]?: Table[Name] extends "tensor" ? Placed | null : number;
};

/** What is told of a tensor. */
const words = ["at", "batch", "head", "row", "column"];

const nowhere: Placed = { at: 0, strides: [0, 0, 0, 0] };

/** Writes the fields of a table one after the other; gives the byte behind them. */
export function writeFields<Table extends Fields>(
  view: DataView,
  at: number,
  fields: Table,
  values: Values<Table>,
): number {
  for (const [name, type] of Object.entries(fields)) {
    const value = values[name] as number | Placed | null | undefined;
    const tensor = type === "tensor" ? value as Placed | null ?? nowhere : null;
    for (const word of tensor ? [tensor.at, ...tensor.strides] : [value as number ?? 0]) {
      if (type === "f32") view.setFloat32(at, word, true);
      else if (type === "i32") view.setInt32(at, word, true);
      else view.setUint32(at, word, true);
      at += 4;
    }
  }
  return at;
}

/** Bytes of a block, at most. */
export const blockBytes = 512;

/** A block as bytes; its values must be of fields that it has. Blocks are multiples of 16. */
export function encode<Table extends Fields, Given extends Values<Table>>(
  fields: Table,
  values: Given & { readonly [Name in Exclude<keyof Given, keyof Table>]: never },
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(blockBytes);
  const end = writeFields(new DataView(bytes.buffer), 0, fields, values);
  return bytes.subarray(0, Math.ceil(end / 16) * 16);
}

/** Bytes of the fields of a table: words, and five for a tensor. */
function bytesOf(fields: Fields): number {
  return Object.values(fields).reduce((sum, type) => sum + (type === "tensor" ? 20 : 4), 0);
}

/** A block of the fields of a table with more behind them. */
export function extended<Table extends Fields>(
  block: Uint8Array<ArrayBuffer>,
  fields: Fields,
  more: Table,
  values: Values<Table>,
): Uint8Array<ArrayBuffer> {
  const at = bytesOf(fields), all = new Uint8Array(Math.ceil((at + bytesOf(more)) / 16) * 16);
  all.set(block);
  writeFields(new DataView(all.buffer), at, more, values);
  return all;
}

/** A struct of WGSL. */
export function structOf(name: string, fields: Fields): string {
  const lines = Object.entries(fields).flatMap(([field, type]) =>
    type === "tensor" ? words.map((word) => `${field}_${word}: u32,`) : `${field}: ${type},`
  );
  return `struct ${name} {\n${lines.join("\n")}\n}\n`;
}

/** The file that a shader imports as `shared/parameters.wgsl`. */
export function parametersSource(fields: Fields): string {
  return structOf("Parameters", fields) + "@group(0) @binding(0) var<uniform> p: Parameters;\n";
}
