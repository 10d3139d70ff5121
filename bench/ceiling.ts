/**
 * The ceiling: the micro-kernel alone on operands in L1, in this engine, in this run.
 *
 * @module
 */

import { compile, generatedSources } from "../tools/build_wasm.ts";
import { chooseBinary, chooseSplats } from "../src/wasm/module.ts";

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

/** Compiles the kernel with the features of the binary that runs here. */
export async function loadCeiling(): Promise<(depth: number) => Ceiling> {
  const features = chooseBinary().name === "relaxed" ? "simd,relaxed-simd" : "simd";
  const binary = await compile("bench/asm/ceiling.ts", generatedSources(), [
    ...["--enable", features],
    ...["--initialMemory", "16"],
  ]);
  const { instance } = await WebAssembly.instantiate(binary as Uint8Array<ArrayBuffer>);
  const { memory, base, ceiling } = instance.exports as {
    memory: WebAssembly.Memory;
    base(): number;
    ceiling(base: number, depth: number, rounds: number, splats: number): void;
  };
  new Float32Array(memory.buffer, base()).fill(0.01);
  return (depth) => {
    const rounds = Math.ceil(workPerCall / (2 * perDepth * depth));
    return {
      work: 2 * perDepth * depth * rounds,
      run: () => ceiling(base(), depth, rounds, chooseSplats()),
    };
  };
}
