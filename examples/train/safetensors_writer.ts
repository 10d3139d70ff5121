/**
 * Writing the safetensors file format, which the demo loads.
 *
 * @module
 */

/** A tensor to be written. */
export interface NamedTensor {
  /** What it is found by. */
  readonly name: string;
  /** Extent of each axis, last axis fastest. */
  readonly shape: readonly number[];
  /** The elements. */
  readonly data: Float32Array;
}

const LENGTH_BYTES = 8;

/**
 * Writes tensors as F32.
 *
 * @param tensors The tensors, in the order in which they are to lie in the file.
 * @param words What else the file is to say, by names.
 * @returns The whole file.
 */
export function formatSafetensors(
  tensors: readonly NamedTensor[],
  words?: Readonly<Record<string, string>>,
): Uint8Array<ArrayBuffer> {
  const { header, size } = formatHeader(tensors, words);
  const file = new Uint8Array(LENGTH_BYTES + header.length + size);
  const view = new DataView(file.buffer);
  view.setBigUint64(0, BigInt(header.length), true);
  file.set(header, LENGTH_BYTES);
  let at = LENGTH_BYTES + header.length;
  for (const { data } of tensors) {
    for (const value of data) {
      view.setFloat32(at, value, true);
      at += Float32Array.BYTES_PER_ELEMENT;
    }
  }
  return file;
}

/** The header, and how many bytes of data it speaks of. */
function formatHeader(
  tensors: readonly NamedTensor[],
  words?: Readonly<Record<string, string>>,
): { header: Uint8Array; size: number } {
  let size = 0;
  const entries = tensors.map(({ name, shape, data }) => {
    const begin = size;
    size += data.byteLength;
    return [name, { dtype: "F32", shape, data_offsets: [begin, size] }];
  });
  const json = JSON.stringify({
    ...(words && { __metadata__: words }),
    ...Object.fromEntries(entries),
  });
  // Spaces at the end are allowed, so that readers which map the file find aligned data.
  const padded = json.padEnd(Math.ceil(json.length / LENGTH_BYTES) * LENGTH_BYTES);
  return { header: new TextEncoder().encode(padded), size };
}
