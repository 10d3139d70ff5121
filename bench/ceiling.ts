/**
 * The ceiling: the micro-kernel alone on operands in L1, in this engine, in this run.
 *
 * @module
 */

import { chooseBinary, chooseSplats } from "../src/wasm/binary/choice.ts";
import { relaxed, simd } from "./asm/ceiling.gen.ts";

/** Multiply-adds of one round at depth 1: 32 queries and 16 keys. */
const perDepth = 32 * 16;

/** Work of one call, in floating-point operations. */
const workPerCall = 50e6;

/** A subject whose speed is the ceiling at one depth. */
export interface Ceiling {
  /** Floating-point operations of one `run`. */
  readonly work: number;
  run(): void;
}

type Run = (base: number, depth: number, rounds: number) => void;

interface Exports extends Record<"splat0" | "splat1" | "splat4", Run> {
  readonly memory: WebAssembly.Memory;
  base(): number;
}

/** Loads the kernel with the features of the binary that runs here. */
export async function loadCeiling(): Promise<(depth: number) => Ceiling> {
  const base64 = chooseBinary().name === "relaxed" ? relaxed : simd;
  const binary = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const { instance } = await WebAssembly.instantiate(binary);
  const { memory, base, ...kernels } = instance.exports as unknown as Exports;
  const run = kernels[`splat${chooseSplats()}`];
  new Float32Array(memory.buffer, base()).fill(0.01);
  return (depth) => {
    const rounds = Math.ceil(workPerCall / (2 * perDepth * depth));
    return {
      work: 2 * perDepth * depth * rounds,
      run: () => run(base(), depth, rounds),
    };
  };
}
