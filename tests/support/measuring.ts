/**
 * Binaries that measure a kernel against float64: see `tests/asm`.
 *
 * @module
 */

/** What a binary exports; `undefined` where this engine does not know its instructions. */
export function loadMeasuring<Exports>(base64: string): Exports | undefined {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  if (!WebAssembly.validate(bytes)) return undefined;
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes), { env: {} });
  return exports as Exports;
}

/** Bits of a number as f32. */
export function bitsOf(x: number): number {
  return new Uint32Array(Float32Array.of(x).buffer)[0];
}
