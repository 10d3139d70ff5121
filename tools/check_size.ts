/**
 * Measures what a user downloads, minified and gzipped, and fails when it is past its bound.
 *
 * @module
 */

import { spawnSync } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { gzipSync } from "node:zlib";
import { binaryBytes, type BinaryName } from "../src/wasm/module.ts";

/** Everything gzipped: JavaScript, Wasm, WGSL. */
const mostBytes = 60 * 1024;

/** The library as one minified file. */
async function bundle(): Promise<Uint8Array> {
  const folder = await mkdtemp(join(tmpdir(), "flashtile-size-"));
  try {
    const file = join(folder, "flashtile.js");
    const { status, stderr } = spawnSync(process.execPath, [
      ...["bundle", "--quiet", "--minify", "--platform", "browser", "mod.ts", "-o", file],
    ], { encoding: "utf8" });
    if (status !== 0) throw new Error(`Cannot bundle mod.ts:\n${stderr}`);
    return await readFile(file);
  } finally {
    await rm(folder, { recursive: true });
  }
}

function print(name: string, bytes: Uint8Array): number {
  const gzipped = gzipSync(bytes, { level: 9 }).length;
  console.log(`${name.padEnd(30)} ${String(bytes.length).padStart(7)} bytes, ${gzipped} gzipped`);
  return gzipped;
}

for (const name of ["simd", "relaxed"] satisfies BinaryName[]) {
  print(`Wasm, ${name}`, await binaryBytes(name));
}
const total = print("everything, one file", await bundle());
if (total > mostBytes) {
  console.error(`error: ${total} bytes gzipped, at most ${mostBytes} are allowed`);
  process.exitCode = 1;
}
