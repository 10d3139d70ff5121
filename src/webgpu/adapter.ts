/**
 * Adapters: where they come from, what they call themselves, whether they are GPUs. They come from
 * `navigator.gpu`, or in Node and Bun from the package `webgpu` where it is installed.
 *
 * @module
 */

import { reasonOf } from "../errors.ts";
import { Patience } from "./patience.ts";

/** The part of a runtime that looks into the file system. */
interface Builtins {
  readonly fs: { existsSync(path: string): boolean };
  readonly path: { join(...parts: string[]): string; dirname(path: string): string };
  readonly url: { pathToFileURL(path: string): URL };
}

interface ProcessLike {
  readonly versions?: { readonly node?: string };
  cwd(): string;
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

async function findPackage(): Promise<GPU | undefined> {
  // Touching `process` costs Deno 20 ms, and it has `navigator.gpu` or none.
  if ("Deno" in globalThis) return undefined;
  const { process } = globalThis as { process?: ProcessLike };
  if (process?.versions?.node === undefined || !process.getBuiltinModule) return undefined;
  const builtins = Object.fromEntries(
    ["fs", "path", "url"].map((name) => [name, process.getBuiltinModule!(`node:${name}`)]),
  ) as unknown as Builtins;
  const entry = findEntry(builtins, process.cwd());
  if (entry === undefined) return undefined;
  const { host, pathname } = builtins.url.pathToFileURL(entry);
  // By its address: a bare name would make Bun, without a node_modules folder, fetch the package.
  // The scheme is written here, so that whoever publishes this sees that there is nothing to resolve.
  // Bundlers are to leave it alone: webpack would put an `import()` of its own there, which fails, and
  // Vite's server would complain.
  const { create } = await new Patience().ask(() =>
    import(
      /* webpackIgnore: true */ /* @vite-ignore */ `file://${host}${pathname}`
    ) as Promise<{ create(options: string[]): GPU }>
  );
  return create([]);
}

/** The package's entry in the nearest `node_modules` that has it, from a folder upwards. */
function findEntry({ fs, path }: Builtins, from: string): string | undefined {
  for (let folder = from;; folder = path.dirname(folder)) {
    const entry = path.join(folder, "node_modules", "webgpu", "index.js");
    if (fs.existsSync(entry)) return entry;
    if (path.dirname(folder) === folder) return undefined;
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
