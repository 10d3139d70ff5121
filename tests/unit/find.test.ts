import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { findGpu } from "../../src/webgpu/adapter.ts";

const skip = "Deno" in globalThis ? "Deno has `navigator.gpu` or none" : undefined;

test("findGpu() finds an installed package, and fetches none", { skip }, async () => {
  const folder = mkdtempSync(join(tmpdir(), "flashtile-find-"));
  const here = process.cwd();
  try {
    const inner = join(folder, "some", "project");
    const webgpu = join(folder, "node_modules", "webgpu");
    mkdirSync(inner, { recursive: true });
    process.chdir(inner);
    assertEquals(await findGpu(), undefined);
    mkdirSync(webgpu, { recursive: true });
    const program = "export function create(options) { return { requestAdapter: null, options }; }";
    writeFileSync(join(webgpu, "index.js"), program);
    writeFileSync(join(webgpu, "package.json"), '{ "type": "module" }');
    const found = await findGpu() as GPU & { options: string[] };
    assertEquals(found.options, []);
    assertEquals(await findGpu() === found, true); // Made once: its adapters need it.
  } finally {
    process.chdir(here);
    rmSync(folder, { recursive: true, force: true });
  }
});
