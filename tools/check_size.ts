/**
 * `deno task size`: measures what a user downloads, the package's minified scripts, gzipped each by
 * itself as they are served; and fails when it is past its bound, or when shaders are loaded by who
 * needs none.
 *
 * @module
 */

import "./help.ts";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { gzipSync } from "node:zlib";
import type { BinaryName } from "../src/contract/capabilities.ts";
import { binaryBytes } from "../src/wasm/binary/module.ts";
import { shaders } from "../src/webgpu/shader/shaders.gen.ts";
import { entries, minified, single } from "./build_npm/entries.ts";
import { bundleMinified, bundleProgram, chunks } from "./build_npm/minify.ts";
import { bundle } from "./build_npm/scripts.ts";
import { loaded, type Scripts } from "./loaded.ts";

/** Most bytes, gzipped: of all there is, of what a program on the CPU loads, and of what it loads more when it asks for it. */
const bounds = {
  /**
   * 11,100 for weights, whose program is the most of it, chunks, listed blocks of keys and axes of positions; 3,300 for caches
   * that are windows, in every program, and for tiles of several kinds on a GPU.
   */
  everything: 223_450,
  /**
   * From the start, both Wasm binaries included. Beside attention, in the order in which they came: calls read once and long rows
   * summed in parts (800); little memory, fake timers, other realms, other copies of the library (1,500); `cascadeAttention()`
   * and an engine among options (200); the names of functions on rows (600), of streams (450), of runs of keys (300); `precision`
   * (250) and `wide` (90) as options; keys packed by themselves (200); few queries told from others (150); functions of scores
   * (3,400), since they are run when a call is read, with words for what cannot be written so; `ropeOptions()` (900), which
   * answers without waiting, though not in a bundle that does not import it; runners of subpaths that are kept once they are
   * loaded (100), since functions that return at once need them; names of other libraries, misspelt ones, and what to write in
   * place of what came (1,100), since errors are told at once; arrays in arrays (250); what consoles say (200); windows and
   * packed sequences written short (250); and of caches (4,400) whose rows a call has, trees of drafts, steps as they are read,
   * orders of beams, layers that change together and pages as they are saved: what is asked is read, and mostly done, by calls
   * that return at once; weights, chunks, listed blocks of keys and rotation without a promise (1,400), which are read likewise;
   * caches that are windows (1,300), which append, read and attend with what they have dropped in mind.
   */
  cpu: 73_550,
  threads: 3_200,
  /** 50 for functions of scores, 100 for those by values alone. */
  gradients: 6_150,
  /**
   * 100 for cutting calls where tiles end, 150 for functions that options say, too, 1,000 for where others come into shaders;
   * 300 for calls of which several are submitted together, as those of models are; 450 for what is
   * written to pages by the submission that reads it; 1,000 for tiles of several kinds, chosen by the device, whole tiles of
   * gradients, and gradients without terms; 150 for what windows keep.
   */
  gpu: 39_300,
  /** 500 for the softmax of short rows, eight at a time, and for passes that read ahead. 300 for knowing who has weights, which are loaded by themselves. */
  rows: 11_200,
  /** 200 for knowing who has weights, which are loaded by themselves. */
  gpuRows: 3_700,
  /** 500 for caches of bytes in whole words, read as they are. */
  integers: 15_200,
  gpuIntegers: 6_100,
  streams: 3_000,
  /** 200 for the softmax of one row, four keys abreast; 50 for pages of memory that are begun before they are copied. */
  narrow: 12_500,
  /**
   * 600 for functions of 4,096 operations in a row, or in cases within one another; 600 for gradients that read what the score
   * function kept; 250 for what they share with a GPU, being in scripts of its own.
   */
  functions: 27_400,
  gpuFunctions: 11_050,
  /** 250 for what configs ask of it, 500 for several axes of positions. */
  rope: 2_350,
  /**
   * Among no others: the subpath's, a program of attention more; 550 for gradients and bounded panels two at a time, and sums of
   * decoding that V8 joins.
   */
  wide: 20_650,
  /**
   * What who imports the subpath `nn` loads more, kernels included: 1,300 for those of gradients, and 1,200 for functions that
   * have these, which read a call before they wait for all else; 750 for small calls that are done at once.
   */
  layers: 25_700,
  /** The same on a GPU: nine shaders, and what dispatches them; 150 for what is in scripts by itself since gradients need it, too. */
  gpuLayers: 11_550,
  /** What gradients of layers load beside that. */
  layerGradients: 5_400,
  /**
   * Beside that, which shares scripts with it: all formats and architectures. 950 for passes whose calls may be waited for, on
   * a GPU; 5,100 for cutting it into what is loaded by itself, of which a program that embeds leaves out most; 1,000 for
   * sessions whose keys are on other machines.
   */
  models: 30_700,
  /**
   * What who imports the subpath `sharded` loads more than attention: coordinator, shard, messages; 2,300 for rotations in a step,
   * and for pages that move to groups that come later.
   */
  sharded: 20_400,
  /**
   * Of everything what is loaded to embed texts by a BERT, at most 100,000 in the end: a page's visitors wait for it. Windows of
   * caches and weights, which it does not use, brought 2,600: they are to be loaded by who does.
   */
  embedding: 101_600,
  single: 220_200,
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
  const gpuIntegers = chunk("gpu-int"), gpuFunctions = chunk("gpu-functions");
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
  print("more for functions there", sizeOf(gpuFunctions, gpu), bounds.gpuFunctions);
  print("everything", sizeOf(everything), bounds.everything);
  for (const { name } of single) {
    print(`${name}.js`, gzipped(readFileSync(join(folder, `${name}.js`))), bounds.single);
  }
  if (!hasShaders(gpu)) fail("no shaders are found, not even where they must be");
  if (hasShaders(start) || hasShaders(gradients)) fail("a program on the CPU loads shaders");
}

/** Prints and checks what `wide` loads beside the main entry, as esbuild alone minifies it. */
function checkWide(folder: string): void {
  const wide = entries.filter(({ name }) => name === "wide");
  bundle(folder, [...minified, ...wide], ["--minify"]);
  const start = loaded(join(folder, `${minified[0].name}.js`), false);
  const bytes = sizeOf(loaded(join(folder, `${wide[0].name}.js`), false), start);
  print("more for wide there", bytes, bounds.wide);
}

/**
 * Prints and checks what the subpath `nn` is beside all of the main entry, and `models` beside both, minified by one tool of
 * the two.
 */
function checkSubpaths(folder: string): void {
  const layers = { name: "nn", source: "src/nn/mod.ts" };
  const models = { name: "models", source: "src/models/mod.ts" };
  bundle(folder, [minified[0], layers, models], ["--minify"]);
  const scripts = (names: readonly string[], isAll: boolean): Scripts =>
    new Map(names.flatMap((name) => [...loaded(join(folder, `${name}.js`), isAll)]));
  const all = ({ name }: { readonly name: string }) => scripts([name], true);
  const later = (...names: string[]) => scripts(names.map((name) => `chunks/${name}`), false);
  const there = all(minified[0]), own = all(layers), onGpu = later("gpu-nn");
  const onCpu = new Map([...own].filter(([path]) => !onGpu.has(path) && !there.has(path)));
  const forward = new Map([...there, ...scripts([layers.name], false), ...later("nn-runners")]);
  const gradients = sizeOf(later("nn-backward", "nn-gradients"), forward);
  print("more for layers there", sizeOf(onCpu) - gradients, bounds.layers);
  print("more for their gradients", gradients, bounds.layerGradients);
  print("more for layers on a GPU", sizeOf(onGpu, there), bounds.gpuLayers);
  print("more for models there", sizeOf(all(models), new Map([...there, ...own])), bounds.models);
  if (hasShaders(onCpu)) fail("layers on the CPU load shaders");
}

/** Prints and checks what the subpath `sharded` is beside all of the main entry, as esbuild alone minifies it. */
function checkSharded(folder: string): void {
  const sharded = entries.filter(({ name }) => name === "sharded");
  bundle(folder, [minified[0], ...sharded], ["--minify"]);
  const all = (name: string) => loaded(join(folder, `${name}.js`), true);
  const bytes = sizeOf(all(sharded[0].name), all(minified[0].name));
  print("more for sharded there", bytes, bounds.sharded);
}

/** Prints and checks all that a program loads which embeds texts by a BERT, on the calling thread. */
function checkEmbedding(folder: string): void {
  bundleProgram(folder, { name: "embed", source: "tools/embed_program.ts" });
  const script = (name: string) => loaded(join(folder, name), false);
  const all = new Map([...script("embed.js"), ...script(`${chunks}/nn-runners.js`)]);
  print("a program that embeds", sizeOf(all), bounds.embedding);
}

const folder = mkdtempSync(join(tmpdir(), "flashtile-size-"));
try {
  bundleMinified(folder);
  check(folder);
  checkWide(join(folder, "wide"));
  checkSubpaths(join(folder, "subpaths"));
  checkSharded(join(folder, "sharded"));
  checkEmbedding(join(folder, "embedding"));
} finally {
  rmSync(folder, { recursive: true });
}
