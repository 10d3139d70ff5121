import { assertEquals } from "@std/assert";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { findGpu } from "../../src/webgpu/device/adapter.ts";

const skip = "Deno" in globalThis ? "Deno has `navigator.gpu` or none" : undefined;

type Found = GPU & { readonly options: readonly string[] };

/** Puts a package `webgpu` into a project. */
function installWebGpu(project: string): void {
  const folder = join(project, "node_modules", "webgpu");
  mkdirSync(folder, { recursive: true });
  const program = "export function create(options) { return { requestAdapter: null, options }; }";
  writeFileSync(join(folder, "index.js"), program);
  writeFileSync(join(folder, "package.json"), '{ "type": "module", "main": "index.js" }');
}

/** Runs something in a folder of its own, as a program that was started as `main`. */
async function inFolder(act: (folder: string, start: (main: string) => void) => Promise<void>) {
  const folder = mkdtempSync(join(tmpdir(), "flashtile-find-"));
  const here = process.cwd(), { argv } = process;
  try {
    await act(folder, (main) => process.argv = [argv[0], main]);
  } finally {
    process.chdir(here);
    process.argv = argv;
    rmSync(folder, { recursive: true, force: true });
  }
}

// First of all: what is found is kept.
test("findGpu() runs nothing that lies where the program was started", { skip }, async () => {
  await inFolder(async (folder, start) => {
    installWebGpu(folder);
    process.chdir(folder);
    start("[eval]");
    assertEquals(await findGpu(), undefined);
    start(".");
    assertEquals(await findGpu(), undefined);
  });
});

test(
  "findGpu() finds a package installed for the program, and fetches none",
  { skip },
  async () => {
    await inFolder(async (folder, start) => {
      const project = join(folder, "some"), program = join(project, "bin", "main.js");
      const link = join(folder, "linked");
      mkdirSync(join(project, "bin"), { recursive: true });
      writeFileSync(program, "");
      symlinkSync(program, link);
      start(link);
      assertEquals(await findGpu(), undefined);
      installWebGpu(project);
      const found = await findGpu() as Found;
      assertEquals(found.options, []);
      assertEquals(await findGpu() === found, true); // Made once: its adapters need it.
    });
  },
);
