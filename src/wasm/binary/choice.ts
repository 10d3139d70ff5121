/**
 * Which binary, and which of its micro-kernels, are the faster ones here.
 *
 * @module
 */

import { BackendUnavailableError } from "../../check/errors.ts";
import type { BinaryName } from "../../contract/capabilities.ts";
import { isWorkerd } from "../../runtime.ts";
import { probe, simdProbe } from "./binaries.gen.ts";
import { compiledTooLate, compileValid, decode, takeAhead } from "./module.ts";

/** A binary, and why it is the one to take here. */
export interface BinaryChoice {
  readonly name: BinaryName;
  readonly reason: string;
  /** The bytes of kernels for vectors of 256 bits, where these stand for those of the binary. */
  readonly wide?: () => Uint8Array<ArrayBuffer>;
}

/** Says what to take instead of a binary; `isAsked` where an engine asks for it. */
export type WideChoice = (choice: BinaryChoice, isAsked?: boolean) => BinaryChoice;

let chooseWide: WideChoice | undefined;

/** Has a choice of wide kernels be asked from now on: of the subpath `wide`. */
export function provideWide(choose: WideChoice | undefined): void {
  chooseWide = choose;
}

/** Whether relaxed multiply-add rounds once here; `null` where relaxed SIMD is unknown. */
export function relaxedFuses(): boolean | null {
  const bytes = decode(probe);
  if (!WebAssembly.validate(bytes)) return null;
  const { exports } = new WebAssembly.Instance(compileValid(bytes));
  return Boolean((exports as { fused(): number }).fused());
}

function takeProvided(): BinaryChoice | undefined {
  try {
    const ahead = takeAhead();
    return ahead && { name: ahead.name, reason: "compiled before the program serves" };
  } catch {
    throw compiledTooLate();
  }
}

/**
 * Picks the binary that is faster here. Relaxed SIMD pays where the engine fuses (V8: a third
 * faster); where it does not (JavaScriptCore) the plain binary is as fast and rounds the same way
 * everywhere.
 *
 * @param wide Whether wide kernels are wanted where they are faster; by default where `wide` was imported.
 * @throws {BackendUnavailableError} When the engine has no 128-bit SIMD, or nothing may be compiled.
 */
export function chooseBinary(wide?: boolean): BinaryChoice {
  if (wide && !chooseWide) {
    throw new TypeError(
      "Cannot create an engine: `wide` needs the subpath of that name, imported before",
    );
  }

  if (typeof WebAssembly === "undefined") {
    throw new BackendUnavailableError("wasm", "this runtime has no WebAssembly");
  }
  const ahead = takeProvided();
  if (ahead !== undefined) return ahead;
  const fuses = relaxedFuses();
  if (fuses) return orWide("relaxed", "this engine fuses relaxed multiply-add", wide);
  const bytes = decode(simdProbe);
  if (!WebAssembly.validate(bytes)) {
    throw new BackendUnavailableError("wasm", "this engine has no 128-bit SIMD (simd128)");
  }
  if (fuses === null) compileValid(bytes); // Nothing was compiled yet.
  const reason = fuses === null
    ? "this engine has no relaxed SIMD"
    : "this engine's relaxed multiply-add is not fused, so no faster";
  return orWide("simd", reason, wide);
}

function orWide(name: BinaryName, reason: string, wide?: boolean): BinaryChoice {
  const choice = { name, reason };
  return wide !== false && chooseWide?.(choice, wide) || choice;
}

/**
 * How many of four elements micro-kernels should splat while loading, for this engine: see the table
 * of `tools/microkernels.ts`.
 *
 * @param binary What `chooseBinary()` took, if it was asked: so nothing is probed again.
 */
export function chooseSplats(binary?: BinaryName): 0 | 1 | 4 {
  // Deno first: there, touching `process` loads what stands behind it, 20 ms.
  if ("Deno" in globalThis) {
    const fuses = binary === undefined ? relaxedFuses() : binary === "relaxed";
    return fuses ? 1 : 0;
  }
  if (isWorkerd()) return 1;
  const { process, navigator } = globalThis as {
    process?: { versions?: { v8?: string; bun?: string } };
    navigator?: { userAgent?: string };
  };
  const { v8, bun } = process?.versions ?? {};
  const guarded = v8 !== undefined && bun === undefined;
  return guarded || /Chrom/.test(navigator?.userAgent ?? "") ? 4 : 0;
}
