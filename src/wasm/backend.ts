/**
 * The Wasm backend: cache-blocked FlashAttention in linear memory.
 *
 * @module
 */

import { BackendUnavailableError } from "../check/errors.ts";
import type { Backend, Control, EngineTensor } from "../contract/backend.ts";
import type { Operation } from "../contract/operation.ts";
import type { PageLayout, PageStore } from "../contract/pages.ts";
import { hardwareThreads, threadsUnavailable } from "../runtime.ts";
import { type DType, type HostData, isGpuBuffer } from "../tensor/dtype.ts";
import type { Machine } from "./team/machine.ts";
import { initialPages, maximumPages } from "./binary/binaries.gen.ts";
import type { Kernels } from "./binary/kernels.gen.ts";
import { chooseBinary, chooseSplats } from "./binary/choice.ts";
import { checkModule, compileBinary, instantiate } from "./binary/module.ts";
import { Arena, pageBytes } from "./memory/arena.ts";
import { allocateTensor } from "./memory/tensor.ts";
import { WasmPages } from "./pages/pages.ts";
import { runners } from "./runners.ts";
import { finish, finishInTurns } from "./team/steps.ts";
import { LateTeam, Solo, type Team } from "./team/team.ts";

/** Bytes that a Wasm memory has at least, and can have at most. */
export const memoryLimits = {
  least: initialPages * pageBytes,
  most: maximumPages * pageBytes,
} as const;

/** Threads that `"auto"` takes at most: more than that, and memory is what they wait for. */
const mostAutomaticThreads = 16;

/** Options of the Wasm backend. */
export interface WasmOptions {
  /** A compiled binary of this library, where compiling is not allowed. */
  readonly module?: WebAssembly.Module;
  /** Most bytes that linear memory may grow to. */
  readonly maxMemoryBytes?: number;
  /** Threads, the calling one included. */
  readonly threads?: "auto" | number;
  /** Where pages have the workers' script from. */
  readonly workerUrl?: string;
  /** Whether wide kernels are wanted. */
  readonly wide?: boolean | undefined;
}

/** What the backend is made of. */
interface Parts {
  readonly machine: Machine;
  readonly team: Team;
}

/**
 * Makes the backend: picks and compiles a binary unless one is given.
 *
 * @param late Whether threads are loaded later, when a call is worth them: where all calls wait.
 * @throws {BackendUnavailableError} When there is no binary for this runtime, no memory that it reserves,
 * or fewer threads than were asked for.
 */
export async function createWasmBackend(
  options: WasmOptions = {},
  late = false,
): Promise<Backend> {
  const { module, maxMemoryBytes = memoryLimits.most, threads = "auto", workerUrl } = options;
  if (module !== undefined) {
    checkModule(module);
    const parts = assemble(module, reserve(maxMemoryBytes, 1), { splats: chooseSplats() });
    return new WasmBackend(parts, () => "the module passed in");
  }
  const choice = chooseBinary(options.wide), memory = reserve(maxMemoryBytes, threads);
  const compiled = await compileBinary(choice.name, memory.threads > 1, choice.wide);
  const kind = { binary: choice.name, splats: chooseSplats(choice.name) };
  const parts = assemble(compiled, memory, kind, workerUrl);
  const { team } = parts;
  if (!late && team instanceof LateTeam) await team.ready();
  return new WasmBackend(
    parts,
    () => `${choice.name} binary, ${describeThreads(team)}${memory.note}: ${choice.reason}`,
  );
}

function describeThreads({ threads, alone }: Team): string {
  if (alone !== undefined) return `one thread (${alone})`;
  return threads === 1 ? "one thread" : `${threads} threads`;
}

/** A memory that the system has reserved, and what can be done with it. */
interface Reserved {
  readonly memory: WebAssembly.Memory;
  readonly mostBytes: number;
  readonly threads: number;
  /** What is less than was asked for, in words. */
  readonly note: string;
}

/** Bytes that memory is worth having with. */
const leastBytes = 32 * 1024 * 1024;

/** Reserves memory for so many threads, or, where that is not to be had, for what can be. */
function reserve(mostBytes: number, asked: "auto" | number): Reserved {
  const threads = countThreads(asked);
  const own = tryMaxima(mostBytes, threads);
  if (own !== undefined) return own;
  const tried = `the system reserves no memory of ${inMiB(mostBytes)} or less`;
  if (threads === 1) throw new BackendUnavailableError("wasm", tried);
  if (asked !== "auto") {
    const words = `it cannot have ${threads} threads: ${tried} that threads can share`;
    throw new BackendUnavailableError("wasm", words);
  }
  const alone = reserve(mostBytes, 1);
  return { ...alone, note: `${alone.note} (no memory can be reserved that threads can share)` };
}

/** Some systems reserve at once all that a memory may grow to, and refuse 4 GiB of shared memory, or 1. */
function tryMaxima(mostBytes: number, threads: number): Reserved | undefined {
  for (let bytes = mostBytes; bytes === mostBytes || bytes >= leastBytes; bytes /= 2) {
    try {
      const maximum = Math.floor(bytes / pageBytes);
      const memory = new WebAssembly.Memory({
        initial: initialPages,
        maximum,
        shared: threads > 1,
      });
      const note = bytes === mostBytes ? "" : `, at most ${inMiB(bytes)} of memory`;
      return { memory, mostBytes: bytes, threads, note };
    } catch { /* Less, then. */ }
  }
}

function inMiB(bytes: number): string {
  return `${Math.floor(bytes / 1024 / 1024)} MiB`;
}

/** Threads to run on. A number that was asked for is taken or refused. */
export function countThreads(threads: "auto" | number): number {
  const reason = threadsUnavailable();
  if (threads === "auto") {
    return reason === undefined ? Math.min(hardwareThreads(), mostAutomaticThreads) : 1;
  }
  if (threads > 1 && reason !== undefined) {
    throw new BackendUnavailableError("wasm", `it cannot have ${threads} threads: ${reason}`);
  }
  return threads;
}

function assemble(
  module: WebAssembly.Module,
  { memory, mostBytes, threads }: Reserved,
  kind: Pick<Machine, "splats" | "binary">,
  workerUrl?: string,
): Parts {
  const kernels = instantiate<Kernels>(module, memory), programs = [{ kernels, module }];
  const arena = new Arena(memory, kernels.heapBase() >>> 0, mostBytes);
  const load = async () => {
    const { WorkerTeam } = await import("./team/threads/team.ts");
    return new WorkerTeam({ programs, memory, threads, workerUrl });
  };
  const team = threads === 1 ? new Solo(programs) : new LateTeam(programs, threads, load);
  return { machine: { kernels, arena, threads, ...kind, programs }, team };
}

class WasmBackend implements Backend {
  readonly name = "wasm";
  readonly #describe: () => string;
  #parts: Parts | undefined;

  constructor(parts: Parts, describe: () => string) {
    this.#parts = parts;
    this.#describe = describe;
  }

  get reason(): string {
    return this.#describe();
  }

  get memoryBytes(): number {
    return this.#parts?.machine.arena.reservedBytes ?? 0;
  }

  get own(): Backend {
    return this;
  }

  serving(): Backend {
    return this;
  }

  check<Plan, Target>(
    operation: Operation<Plan, Target>,
    plan: Plan,
    { encoder }: Control,
  ): void {
    runners.check(operation, plan, {});
    const inputs = operation.inputs(plan), { cannot } = operation;
    for (const name of Object.keys(inputs)) {
      if (!isGpuBuffer(inputs[name]?.data)) continue;
      throw new TypeError(
        `${cannot}: \`${name}\` is a GPUBuffer, which the wasm backend cannot read; ` +
          'make the engine with { backend: "webgpu", device }',
      );
    }
    if (encoder !== undefined) {
      throw new TypeError(`${cannot}: \`encoder\` is for the webgpu backend, this one is wasm`);
    }
  }

  async run<Plan, Target>(
    operation: Operation<Plan, Target>,
    plan: Plan,
    target: Target,
    control: Control,
  ): Promise<void> {
    const runner = runners.loaded(operation) ?? await runners.load(operation);
    if (runner.prepare) await runner.prepare(this.#open().machine, plan);
    const { machine, team } = this.#open();
    const steps = runner.run(machine, plan, target, control), rows = operation.rows(plan);
    await finishInTurns(steps, team, rows, control, () => this.checkOpen());
  }

  runSync<Plan, Target>(
    operation: Operation<Plan, Target>,
    plan: Plan,
    target: Target,
    control: Control,
  ): void {
    const { machine, team } = this.#open(), runner = runners.loaded(operation);
    if (runner === undefined || runner.isReady?.(machine) === false) throw notLoaded(operation);
    const steps = runner.run(machine, plan, target, control), rows = operation.rows(plan);
    finish(steps, team, rows, control, () => this.checkOpen());
  }

  checkOpen(): void {
    this.#open();
  }

  tensor(shape: readonly number[], dtype: DType): EngineTensor<HostData> {
    return allocateTensor(this.#open().machine.arena, shape, dtype);
  }

  createPages(layout: PageLayout): PageStore {
    return new WasmPages(this.#open().machine, layout);
  }

  async close(): Promise<void> {
    const parts = this.#parts;
    this.#parts = undefined;
    await parts?.team.close();
  }

  #open(): Parts {
    if (this.#parts === undefined) throw new Error("Cannot use an engine after `close()`");
    return this.#parts;
  }
}

function notLoaded(
  { name, cannot, part, late }: Pick<Operation<never, never>, "name" | "cannot" | "part" | "late">,
): Error {
  if (late) {
    return new Error(
      `${cannot}: \`${name}()\` is not loaded yet, which takes a promise; await a call of it on this engine first`,
    );
  }
  const [what, warmup] = part ?? [`\`${name}()\``, "{ gradients: true }"];
  return new Error(
    `${cannot}: ${what} is not loaded yet, which takes a promise; ` +
      `call \`await engine.warmup(${warmup})\` first`,
  );
}
