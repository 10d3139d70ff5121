/**
 * The Wasm backend: cache-blocked FlashAttention in linear memory.
 *
 * @module
 */

import type { Backend, Control, EngineTensor, Target } from "../backend.ts";
import type { AttentionPlan } from "../plan.ts";
import { Arena, pageBytes } from "./arena.ts";
import { initialPages, maximumPages } from "./binaries.gen.ts";
import { forward } from "./forward.ts";
import { chooseBinary, compileBinary, instantiate, type Kernels } from "./module.ts";
import { finish, finishInTurns } from "./slices.ts";
import { allocateTensor } from "./tensor.ts";

/** Bytes that a Wasm memory has at least, and can have at most. */
export const memoryLimits = {
  least: initialPages * pageBytes,
  most: maximumPages * pageBytes,
} as const;

/** Options of the Wasm backend. */
export interface WasmOptions {
  /** A compiled binary of this library, where compiling is not allowed. */
  readonly module?: WebAssembly.Module;
  /** Most bytes that linear memory may grow to. */
  readonly maxMemoryBytes?: number;
}

/** Makes the backend: picks and compiles a binary unless one is given. */
export async function createWasmBackend(options: WasmOptions = {}): Promise<Backend> {
  const { module, maxMemoryBytes = memoryLimits.most } = options;
  if (module !== undefined) return new WasmBackend(module, "the module passed in", maxMemoryBytes);
  const choice = chooseBinary();
  const compiled = await compileBinary(choice.name);
  return new WasmBackend(compiled, `${choice.name} binary: ${choice.reason}`, maxMemoryBytes);
}

class WasmBackend implements Backend {
  readonly name = "wasm";
  readonly reason: string;
  #machine: { readonly kernels: Kernels; readonly arena: Arena } | undefined;

  constructor(module: WebAssembly.Module, reason: string, maxMemoryBytes: number) {
    const memory = new WebAssembly.Memory({
      initial: initialPages,
      maximum: Math.floor(maxMemoryBytes / pageBytes),
    });
    const kernels = instantiate(module, memory);
    this.reason = reason;
    this.#machine = { kernels, arena: new Arena(memory, kernels.heapBase() >>> 0, maxMemoryBytes) };
  }

  get memoryBytes(): number {
    return this.#machine?.arena.reservedBytes ?? 0;
  }

  async run(plan: AttentionPlan, target: Target, control: Control): Promise<void> {
    await finishInTurns(this.#forward(plan, target), rowsOf(plan), control);
  }

  runSync(plan: AttentionPlan, target: Target, control: Control): void {
    finish(this.#forward(plan, target), rowsOf(plan), control);
  }

  tensor(shape: readonly number[]): EngineTensor {
    return allocateTensor(this.#open().arena, shape);
  }

  close(): void {
    this.#machine = undefined;
  }

  *#forward(plan: AttentionPlan, target: Target): Generator<number> {
    const { kernels, arena } = this.#open();
    for (const rows of forward(kernels, arena, plan, target)) {
      yield rows;
      this.#open(); // Closed while this call waited for its turn: stop here.
    }
  }

  #open(): { readonly kernels: Kernels; readonly arena: Arena } {
    if (this.#machine === undefined) throw new Error("Cannot use an engine after `close()`");
    return this.#machine;
  }
}

function rowsOf(plan: AttentionPlan): number {
  return plan.batch * plan.queryHeads * plan.queries;
}
