/**
 * Measures what a user downloads, the package's minified scripts, gzipped each by itself as they are
 * served; and fails when it is past its bound, or when shaders are loaded by who needs none.
 *
 * @module
 */

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { gzipSync } from "node:zlib";
import type { BinaryName } from "../src/contract/capabilities.ts";
import { binaryBytes } from "../src/wasm/binary/module.ts";
import { shaders } from "../src/webgpu/shader/shaders.gen.ts";
import { minified, single } from "./build_npm/entries.ts";
import { bundleMinified, chunks } from "./build_npm/minify.ts";
import { bundle } from "./build_npm/scripts.ts";
import { loaded, type Scripts } from "./loaded.ts";

/**
 * Most bytes, gzipped: of all there is; of what a program on the CPU loads, both Wasm binaries
 * included; and of what it loads more where it has threads, when it asks for gradients there, and when it
 * takes a GPU. What is loaded from the start may be 800 bytes more than before calls were read once and long
 * rows summed in parts, although what threads and what GPUs need has left it: that is the price of both; and 1,500 more for hosts
 * that reserve little memory, have fake timers, other realms or other copies of the library; and 200 for
 * `rope()`, `cascadeAttention()` and an engine among the options of functions; and 600 for functions on rows by
 * themselves, whose kernels are a program of their own that is loaded at their first call. Their shaders are loaded
 * then, too; and 450 for `attentionStream()`, the rest of which is loaded when one is opened; and 300 for runs of keys
 * beside block masks, and for programs of kernels that are loaded with what needs them; and 100 for short rows of a
 * softmax, which go through each pass eight at a time; and 100 in the one script for options that have nothing of what some
 * script gave to all objects; and 250 for `precision`: its option, and what tells calls by integers from others, whose
 * kernels and all else are loaded when one is made; and 200 for packing keys by itself, without the factor that queries have; and 150 for few queries against
 * tensors: what tells them from others, whose kernels are loaded for them, and how many threads make them worth it; less 900 for what `rope()` works out, which is
 * loaded at its first call; and 90 for the option `wide`, and for asking what the subpath of that name
 * provides, whose kernels are not among these scripts; and on a GPU 100 for cutting calls where tiles end; and 100 for caches of bytes
 * in whole words, which files of the version before are brought to, and 500 more, loaded with integers, for reading these words as
 * they are. A `precision` on a GPU is loaded when one is asked for there: 6,000 of
 * everything, for its shaders and what dispatches them; and 3,400 for score and mask functions, 50 with gradients: what runs them and writes down
 * what they do, since that is read when a call is made, with words for what cannot be written so. Their kernels, 25,600 with
 * all else, are loaded at the first call that has some; 150 on a GPU are for those that options say, too; and 900 for `ropeOptions()`, which answers without waiting and so is
 * there from the start in these scripts, though not in a bundle that does not import it; 250 of `rope()` are for what
 * configs ask of it; 400 more with rows for passes that read ahead; and 100 for runners of subpaths that are kept once they are loaded, since functions that
 * return at once need them. The subpath `linear` is not among these scripts, and nothing of it
 * is loaded with them; nor are `nn` and `models`, which have bounds of their own: what who imports `nn` loads more, kernels included, and `models` beside that, which shares scripts with it.
 */
const bounds = {
  ...{ everything: 186_900, cpu: 63_800, threads: 3_200, gradients: 6_050, gpu: 36_150 },
  ...{
    rows: 10_900,
    gpuRows: 3_500,
    gpuIntegers: 6_100,
    streams: 3_000,
    integers: 15_100,
    narrow: 12_200,
    functions: 25_800,
    layers: 22_400,
    models: 23_600,
    rope: 1_850,
    single: 185_450,
  },
};

/** What is only in scripts with shaders. */
const shaderText = /@(?:compute|group)\b/;

function gzipped(data: string | Uint8Array): number {
  return gzipSync(data, { level: 9, memLevel: 9 }).length; // As `gzip -9`.
}

/** Bytes of scripts but for those that are there already. */
function sizeOf(scripts: Scripts, there?: Scripts): number {
  let sum = 0;
  for (const [path, text] of scripts) if (!there?.has(path)) sum += gzipped(text);
  return sum;
}

function fail(what: string): void {
  console.error(`error: ${what}`);
  process.exitCode = 1;
}

function print(name: string, bytes: number, most?: number): void {
  const bound = most === undefined ? "" : `, at most ${most}`;
  console.log(`${name.padEnd(24)} ${String(bytes).padStart(6)} bytes gzipped${bound}`);
  if (most !== undefined && bytes > most) fail(`${bytes - most} bytes too many`);
}

function hasShaders(scripts: Scripts): boolean {
  return [...scripts.values()].some((text) => shaderText.test(text));
}

/** Prints and checks the scripts in a folder. */
function check(folder: string): void {
  const main = join(folder, `${minified[0].name}.js`);
  const start = loaded(main, false), everything = loaded(main, true);
  const chunk = (name: string) => loaded(join(folder, chunks, `${name}.js`), false);
  const threads = chunk("threads"), gradients = chunk("gradients");
  const rows = new Map([...chunk("softmax"), ...chunk("rows")]);
  const gpu = new Map([...chunk("gpu"), ...chunk("webgpu")]), gpuRows = chunk("gpu-rows");
  const gpuIntegers = chunk("gpu-int");
  for (const name of ["simd", "relaxed"] satisfies BinaryName[]) {
    print(`Wasm, ${name}`, gzipped(binaryBytes(name)));
  }
  print("WGSL", gzipped(Object.values(shaders).join("\n")));
  print("on the CPU", sizeOf(start), bounds.cpu);
  print("more for threads there", sizeOf(threads, start), bounds.threads);
  print("more for gradients there", sizeOf(gradients, start), bounds.gradients);
  print("more for rows there", sizeOf(rows, start), bounds.rows);
  print("more for streams there", sizeOf(chunk("stream"), start), bounds.streams);
  print("more for integers there", sizeOf(chunk("integers"), start), bounds.integers);
  print("more for few queries there", sizeOf(chunk("narrow"), start), bounds.narrow);
  print("more for functions there", sizeOf(chunk("functions"), start), bounds.functions);
  print("more for rope there", sizeOf(chunk("rope"), start), bounds.rope);
  print("more on a GPU", sizeOf(gpu, start), bounds.gpu);
  print("more for rows there", sizeOf(gpuRows, gpu), bounds.gpuRows);
  print("more for integers there", sizeOf(gpuIntegers, gpu), bounds.gpuIntegers);
  print("everything", sizeOf(everything), bounds.everything);
  for (const { name } of single) {
    print(`${name}.js`, gzipped(readFileSync(join(folder, `${name}.js`))), bounds.single);
  }
  if (!hasShaders(gpu)) fail("no shaders are found, not even where they must be");
  if (hasShaders(start) || hasShaders(gradients)) fail("a program on the CPU loads shaders");
}

/**
 * Prints and checks what the subpath `nn` is beside all of the main entry, and `models` beside both, minified by one tool of
 * the two.
 */
function checkSubpaths(folder: string): void {
  const layers = { name: "nn", source: "src/nn/mod.ts" };
  const models = { name: "models", source: "src/models/mod.ts" };
  bundle(folder, [minified[0], layers, models], ["--minify"]);
  const all = ({ name }: { readonly name: string }) => loaded(join(folder, `${name}.js`), true);
  const there = all(minified[0]), own = all(layers);
  print("more for layers there", sizeOf(own, there), bounds.layers);
  print("more for models there", sizeOf(all(models), new Map([...there, ...own])), bounds.models);
}

const folder = mkdtempSync(join(tmpdir(), "flashtile-size-"));
try {
  bundleMinified(folder);
  check(folder);
  checkSubpaths(join(folder, "subpaths"));
} finally {
  rmSync(folder, { recursive: true });
}
