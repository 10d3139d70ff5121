/**
 * What a chip's compiler makes of shaders.
 *
 * @module
 */

import { spawnSync } from "node:child_process";
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { install, runtimeProgram, versions } from "../install.ts";
import type { Chip } from "./chips.ts";
import { mesaFolder } from "./mesa.ts";

/** Seconds that a compiler may take for a shader. */
const patience = 300;

/** What a chip's compiler prints of a shader; one that it refuses is an error. */
export function compile(chip: Chip, code: string): string {
  const folder = mkdtempSync(join(tmpdir(), "flashtile-isa-"));
  try {
    return printedOf(chip, folder, code);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function printedOf(chip: Chip, folder: string, code: string): string {
  const shader = join(folder, "shader.wgsl"), listing = join(folder, "listing");
  writeFileSync(shader, code);
  const output = openSync(listing, "w"); // Listings have many megabytes.
  const [program, ...given] = commandOf(chip, shader);
  const { status, signal, error } = spawnSync(program, given, {
    stdio: ["ignore", output, output],
    env: { ...process.env, ...environmentOf(chip, folder) },
    timeout: patience * 1000,
  });
  closeSync(output);
  const printed = readFileSync(listing, "utf8");
  const refused = /^@@@ failed (.*)/m.exec(printed)?.[1];
  if (status === 0 && refused === undefined) return printed;
  throw new Error(`Cannot compile for ${chip.name}: ${refused ?? signal ?? error ?? status}`);
}

/** Node with Dawn, which finds this driver alone: both by the loader that the drivers are for. */
function commandOf({ shim }: Chip, shader: string): string[] {
  const root = mesaFolder(), libraries = join(root, "usr/lib/x86_64-linux-gnu");
  return [
    ...[join(root, "usr/lib64/ld-linux-x86-64.so.2"), "--library-path", libraries],
    ...["--preload", join(libraries, `lib${shim}_noop_drm_shim.so`)],
    runtimeProgram("node", versions.node20),
    ...[fileURLToPath(new URL("pipelines.mjs", import.meta.url)), shader],
  ];
}

function environmentOf({ driver, environment }: Chip, folder: string): Record<string, string> {
  const library_path = join(
    mesaFolder(),
    "usr/lib/x86_64-linux-gnu",
    `libvulkan_${driver}.so`,
  );
  const file = join(folder, `${driver}.json`), XDG_RUNTIME_DIR = join(folder, "xdg");
  const icd = { ICD: { api_version: "1.4.0", library_path }, file_format_version: "1.0.0" };
  writeFileSync(file, JSON.stringify(icd));
  mkdirSync(XDG_RUNTIME_DIR, { recursive: true, mode: 0o700 });
  return {
    ...{ ...environment, VK_DRIVER_FILES: file, XDG_RUNTIME_DIR },
    MESA_SHADER_CACHE_DISABLE: "true",
    WEBGPU: join(install("webgpu", [`webgpu@${versions.webgpu}`]), "webgpu/index.js"),
  };
}
