/**
 * Adapters: where they come from, what they call themselves, whether they are GPUs. They come from
 * `navigator.gpu`, or in Node and Bun from the package `webgpu` where it is installed.
 *
 * @module
 */

import { reasonOf } from "../../check/errors.ts";
import { Patience } from "./patience.ts";

/** What Node and Bun find packages by. */
interface Builtins {
  readonly module: { createRequire(from: string): Require };
  readonly fs: { existsSync(path: string): boolean; realpathSync(path: string): string };
  readonly path: { join(...parts: string[]): string; isAbsolute(path: string): boolean };
  readonly url: { fileURLToPath(url: string): string };
}

interface Require {
  (name: string): unknown;
  readonly resolve: { (name: string): string; paths(name: string): readonly string[] | null };
}

interface ProcessLike {
  readonly argv?: readonly string[];
  readonly versions?: { readonly node?: string; readonly bun?: string };
  getBuiltinModule?(name: string): unknown;
}

/** Made once: it must be referenced for as long as its adapters are used, or the process crashes. */
let found: Promise<GPU | undefined> | undefined;

/** WebGPU, if this runtime has it. Nothing is ever downloaded. */
export function findGpu(): Promise<GPU | undefined> {
  const gpu = ownGpu();
  if (gpu !== undefined) return Promise.resolve(gpu);
  found ??= findPackage().catch(() => undefined).then((package_) => {
    if (package_ === undefined) found = undefined; // It may be installed later.
    return package_;
  });
  return found;
}

/** That of the runtime. Some that are no browsers have one that throws: it gives no adapter. */
function ownGpu(): GPU | undefined {
  try {
    return globalThis.navigator?.gpu;
  } catch (error) {
    return { requestAdapter: () => Promise.reject(error) } as unknown as GPU;
  }
}

// Asynchronous as the answers of `navigator.gpu` are: what fails is a rejection.
// deno-lint-ignore require-await
async function findPackage(): Promise<GPU | undefined> {
  // Touching `process` costs Deno 20 ms, and it has `navigator.gpu` or none.
  if ("Deno" in globalThis) return undefined;
  const { process } = globalThis as { process?: ProcessLike };
  if (process?.versions?.node === undefined || !process.getBuiltinModule) return undefined;
  const builtins = Object.fromEntries(
    ["module", "fs", "path", "url"].map((
      name,
    ) => [name, process.getBuiltinModule!(`node:${name}`)]),
  ) as unknown as Builtins;
  for (const place of places(builtins, process.argv?.[1])) {
    const load = builtins.module.createRequire(place);
    if (!isThere(builtins, load, process)) continue;
    // Loaded by the same rules as it is found (a folder `node_modules`, Yarn's Plug'n'Play), and not by
    // `import()`: bundlers would want to know what that imports, and service workers have none.
    const { create } = load("webgpu") as { create(options: string[]): GPU };
    return create([]);
  }
}

/**
 * Where the package is looked for: beside this script, which is the library or what it was bundled
 * into, then beside the program that was started. The folder in which it was started says nothing: what
 * happens to lie there is nobody's choice.
 */
function places({ fs, path, url }: Builtins, main: string | undefined): string[] {
  const own = ownPath(), found: string[] = [];
  if (own !== undefined) found.push(own.startsWith("file:") ? url.fileURLToPath(own) : own);
  // A folder may be started, too: with a slash at its end a script is as good as one. Programs that are
  // installed are links to where they are.
  if (main !== undefined && path.isAbsolute(main) && fs.existsSync(main)) {
    found.push(`${main}/`, `${fs.realpathSync(main)}/`);
  }
  return found;
}

/**
 * Path or address of this script, from the first line of a stack that names one. `import.meta` would be
 * a syntax error in every classic script that a bundler makes of it.
 */
function ownPath(): string | undefined {
  const { stack } = new Error();
  if (typeof stack !== "string") return undefined; // Somebody else writes them.
  return /(?:\(|at |@)((?:file:\/\/|\/|[A-Za-z]:[\\/]).*?):\d+:\d+\)?$/m.exec(stack)?.[1];
}

/** Whether the package can be loaded from a place. */
function isThere({ fs, path }: Builtins, load: Require, process: ProcessLike): boolean {
  // Asked for what is not installed, Bun fetches it, unless there is a folder that has it.
  if (process.versions?.bun !== undefined) {
    const folders = load.resolve.paths("webgpu") ?? [];
    return folders.some((folder) => fs.existsSync(path.join(folder, "webgpu", "package.json")));
  }
  try {
    return load.resolve("webgpu") !== "";
  } catch {
    return false;
  }
}

/** Names of adapters that are programs on the CPU. */
const softwareNames = /swiftshader|llvmpipe|lavapipe|basic render|warp\b|software|cpu\b/i;

type AdapterInfo = GPUAdapterInfo & { readonly isFallbackAdapter?: boolean };

function infoOf(adapter: GPUAdapter | GPUDevice): AdapterInfo | undefined {
  try {
    const { info, adapterInfo } = adapter as { info?: AdapterInfo; adapterInfo?: AdapterInfo };
    return info ?? adapterInfo;
  } catch {
    return undefined; // It does not say.
  }
}

/** What an adapter calls itself. */
export function describeAdapter(adapter: GPUAdapter | GPUDevice): string {
  const info = infoOf(adapter);
  const words = [info?.vendor, info?.architecture, info?.device, info?.description]
    .filter((word) => word !== undefined && word !== "" && !/^\d+$/.test(word));
  if (words.length === 0) return "an adapter that does not say its name";
  return [...new Set(words)].join(" ");
}

/** Whether an adapter computes on the CPU: `auto` never takes one. */
export function isSoftware(adapter: GPUAdapter | GPUDevice): boolean {
  // Where it stands has moved from the adapter to its info.
  const { isFallbackAdapter } = adapter as { isFallbackAdapter?: boolean };
  const fallback = isFallbackAdapter ?? infoOf(adapter)?.isFallbackAdapter;
  return fallback === true || softwareNames.test(describeAdapter(adapter));
}

/** Asks for an adapter and says why there is none. */
export async function findAdapter(
  gpu: GPU | undefined,
  patience: Patience = new Patience(),
): Promise<GPUAdapter | string> {
  if (!gpu) return "this runtime has no `navigator.gpu`, pass `gpu` or `device`";
  try {
    const options = { powerPreference: "high-performance" } as const;
    const adapter = await patience.ask(() => gpu.requestAdapter(options));
    return adapter ?? "no adapter was found: there is no GPU, or no driver for it";
  } catch (error) {
    return `asking for an adapter failed: ${reasonOf(error)}`;
  }
}
