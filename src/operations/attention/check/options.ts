/**
 * Options are read by themselves: names, kinds and ranges.
 *
 * @module
 */

import {
  cannot,
  checkLayoutName,
  checkOneOf,
  isWhole,
  kindOf,
  readOptions,
  readShort,
} from "../../../check/words.ts";
import { around, before } from "../../../check/window.ts";
import { type AttentionOptions, precisions } from "../options.ts";

/**
 * Reads the options, once, and checks them by themselves: names and kinds.
 *
 * @param names Those that there are.
 * @param doing What messages begin with.
 * @param unlisted Names that the call at hand refuses by a message of its own.
 */
export function readAttentionOptions<Options extends AttentionOptions>(
  options: Options,
  names: readonly (keyof Options & string)[],
  doing = cannot,
  unlisted?: readonly string[],
): Options {
  const given = readOptions(options, names, doing, unlisted);
  checkOneOf("causal", given.causal, [true, false, "bottom-right", "top-left"], doing);
  checkLayoutName(given.layout, doing);
  checkOneOf("lse", given.lse, [true, false], doing);
  checkOneOf("precision", given.precision, precisions, doing);
  checkSoftcap(given.softcap);
  checkChunk(given.chunk);
  if (given.scale !== undefined) {
    if (typeof given.scale !== "number") {
      throw new TypeError(`${doing}: \`scale\` must be a number, got ${kindOf(given.scale)}`);
    }
    // As the kernels use it: in f32, with the exponential's log2(e) in it.
    if (!Number.isFinite(Math.fround(given.scale * Math.LOG2E))) {
      throw new RangeError(`${doing}: \`scale\` must be finite in f32, got ${given.scale}`);
    }
  }
  if (given.onProgress !== undefined && typeof given.onProgress !== "function") {
    throw new TypeError(
      `${cannot}: \`onProgress\` must be a function, got ${kindOf(given.onProgress)}`,
    );
  }
  const { encoder, window } = given;
  if (
    encoder !== undefined &&
    typeof (encoder as GPUCommandEncoder | null)?.beginComputePass !== "function"
  ) {
    throw new TypeError(
      `${cannot}: \`encoder\` must be a GPUCommandEncoder, got ${kindOf(encoder)}`,
    );
  }
  if (window === undefined) return given;
  const sides = typeof window === "number"
    ? (given.causal ? before : around)(window, cannot)
    : readWindow(window);
  return Object.assign(given, { window: sides });
}

function checkSoftcap(softcap: unknown): void {
  if (softcap === undefined) return;
  if (typeof softcap !== "number") {
    throw new TypeError(`${cannot}: \`softcap\` must be a number, got ${kindOf(softcap)}`);
  }
  // Kernels use it in f32, where its inverse must be a number too.
  if (softcap === 0 || (softcap >= 1e-30 && softcap <= 1e30)) return;
  throw new RangeError(
    `${cannot}: \`softcap\` must be from 1e-30 to 1e30, or 0 for none, got ${softcap}`,
  );
}

function checkChunk(chunk: unknown): void {
  if (chunk === undefined || (isWhole(chunk) && chunk >= 1)) return;
  const Kind = typeof chunk === "number" ? RangeError : TypeError;
  throw new Kind(`${cannot}: \`chunk\` must be a whole number >= 1, got ${kindOf(chunk)}`);
}

function readWindow(given: unknown): AttentionOptions["window"] {
  const window = readShort(given);
  const isSide = (side: unknown) => side === null || side === Infinity || isWhole(side);
  if (window?.length !== 2 || !window.every(isSide)) {
    throw new TypeError(
      `${cannot}: \`window\` must be [left, right] of whole numbers or null, or how many keys, got ${
        window === undefined ? kindOf(given) : `[${window.map(kindOf)}]`
      }`,
    );
  }
  if (window.every((side) => side === null || side as number >= 0)) {
    return window as unknown as [number | null, number | null];
  }
  throw new RangeError(`${cannot}: \`window\` must not be negative, got [${window.map(kindOf)}]`);
}

/** Options that say where keys are, which a cache knows by itself. */
export const uncachedNames = [
  "kvLengths",
  "packed",
  "blockMask",
  "encoder",
] as const;

/** Checks that nothing is asked that cannot be with a cache. */
export function checkUncached(options: AttentionOptions): void {
  const given = uncachedNames.find((name) => options[name] !== undefined);
  if (given === undefined) return;
  throw new TypeError(
    `${cannot}: \`${given}\` cannot be given with a cache, whose sequences say which keys they have`,
  );
}
