/**
 * Arrays as the vectors' files hold them.
 *
 * @module
 */

/** An array in a file: little-endian f32, or bytes for masks. */
export interface Encoded {
  readonly shape: number[];
  readonly b64: string;
}

/** Its bytes. */
export function bytesOf({ b64 }: Encoded): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(b64), (character) => character.charCodeAt(0));
}

/** Its numbers. */
export function floatsOf(encoded: Encoded): Float32Array<ArrayBuffer> {
  const view = new DataView(bytesOf(encoded).buffer);
  return Float32Array.from(
    { length: view.byteLength / 4 },
    (_, at) => view.getFloat32(at * 4, true),
  );
}
