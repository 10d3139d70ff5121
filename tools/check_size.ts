/**
 * Measures what a user downloads, minified and gzipped, and fails when it is past its bound.
 *
 * @module
 */

import { spawnSync } from "node:child_process";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { gzipSync } from "node:zlib";
import { binaryBytes, type BinaryName } from "../src/wasm/module.ts";
import { shaders } from "../src/webgpu/shaders.gen.ts";

/**
 * Most bytes, gzipped: what a program on the CPU loads, Wasm included; and what it loads more when it
 * asks for gradients there, and when it takes a GPU.
 */
const bounds = { cpu: 60 * 1024, gradients: 8 * 1024, gpu: 30 * 1024 };

/** Minified files by name: `mod.js`, what it needs from the start, and what it imports later. */
async function bundle(): Promise<ReadonlyMap<string, Uint8Array>> {
  const folder = await mkdtemp(join(tmpdir(), "flashtile-size-"));
  try {
    const { status, stderr } = spawnSync(process.execPath, [
      ...["bundle", "--quiet", "--minify", "--platform", "browser", "--code-splitting"],
      ...["--outdir", folder, "mod.ts"],
    ], { encoding: "utf8" });
    if (status !== 0) throw new Error(`Cannot bundle mod.ts:\n${stderr}`);
    const names = await readdir(folder);
    const files = await Promise.all(names.map((name) => readFile(join(folder, name))));
    return new Map(names.map((name, at) => [name, files[at]]));
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** The files that a file needs before it runs, itself included. */
function needed(files: ReadonlyMap<string, Uint8Array>, name: string, found = new Set<string>()) {
  if (found.has(name)) return found;
  found.add(name);
  for (const [, other] of textOf(files.get(name)!).matchAll(/(?:from|import)\s*"\.\/([^"]+)"/g)) {
    needed(files, other, found);
  }
  return found;
}

function textOf(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}

function gzipped(bytes: Uint8Array): number {
  return gzipSync(bytes, { level: 9 }).length;
}

function print(name: string, bytes: number, most?: number): void {
  const bound = most === undefined ? "" : `, at most ${most}`;
  console.log(`${name.padEnd(24)} ${String(bytes).padStart(6)} bytes gzipped${bound}`);
  if (most !== undefined && bytes > most) {
    console.error(`error: ${bytes - most} bytes too many`);
    process.exitCode = 1;
  }
}

const files = await bundle(), start = needed(files, "mod.js");
// Of what is imported later, gradients alone have no shaders.
const later = [...files.keys()].filter((name) => !start.has(name));
const gpu = later.filter((name) => textOf(files.get(name)!).includes("GPU"));
const gradients = later.filter((name) => !gpu.includes(name));
const sizes = new Map(Array.from(files, ([name, bytes]) => [name, gzipped(bytes)]));
const sumOf = (names: Iterable<string>) => {
  let sum = 0;
  for (const name of names) sum += sizes.get(name)!;
  return sum;
};
for (const name of ["simd", "relaxed"] satisfies BinaryName[]) {
  print(`Wasm, ${name}`, gzipped(binaryBytes(name)));
}
print("WGSL", gzipped(new TextEncoder().encode(Object.values(shaders).join("\n"))));
print("on the CPU", sumOf(start), bounds.cpu);
print("more for gradients there", sumOf(gradients), bounds.gradients);
print("more on a GPU", sumOf(gpu), bounds.gpu);
print("everything", sumOf(sizes.keys()));
