/**
 * Mesa's compilers for GPUs that are not there: Debian's unstable has its drivers, and libraries that play a GPU's kernel driver
 * to them. They are unpacked into the system's temporary directory, never installed.
 *
 * @module
 */

import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";

/** The version that figures are of: another one allocates registers in another way. */
export const mesaVersion = "26.2.6-1";

/** What the drivers need, with all that it needs, and the version. */
const packages = [
  ...["mesa-vulkan-drivers", "mesa-drm-shim"].map((name) => `${name}=${mesaVersion}`),
  ...["libvulkan1", "libstdc++6"],
];

/** Why the compilers cannot be had here: no fault of the shaders. */
export class NoMesaError extends Error {
  override readonly name = "NoMesaError";
}

/** Runs a program to its end; gives what it printed. */
function run(program: string, given: readonly string[]): string {
  const { status, error, stdout, stderr } = spawnSync(program, given, { encoding: "utf8" });
  if (status === 0) return stdout;
  const last = stderr?.trim().split("\n").at(-1) ?? error?.message;
  throw new NoMesaError(`Cannot have Mesa ${mesaVersion}: ${program} ended with ${last ?? status}`);
}

/** Where apt has Debian from, as this machine is set up. */
function debianSite(): string {
  const targets = run("apt-get", ["indextargets", "--format", "$(SITE) $(ORIGIN)"]);
  const [site] = targets.split("\n").filter((line) => line.endsWith(" Debian"));
  if (site === undefined) throw new NoMesaError("Cannot have Mesa: apt has no source of Debian's");
  return site.split(" ")[0];
}

/** Unpacks Debian's packages below a folder, with apt's files beside them. */
function unpack(folder: string, root: string): void {
  for (const path of [root, "lists/partial", "cache/archives/partial"]) {
    mkdirSync(join(folder, path), { recursive: true });
  }
  const sources = join(folder, "sources.list"), status = join(folder, "status");
  writeFileSync(sources, `deb ${debianSite()} sid main\n`);
  writeFileSync(status, ""); // As if nothing were installed: all is fetched.
  const options = [
    ...[`Dir::Etc::sourcelist=${sources}`, "Dir::Etc::sourceparts=/dev/null"],
    ...[`Dir::State::Lists=${folder}/lists`, `Dir::State::status=${status}`],
    ...[`Dir::Cache=${folder}/cache`, "APT::Install-Recommends=false", "Debug::NoLocking=1"],
  ].flatMap((option) => ["-o", option]);
  run("apt-get", [...options, "-qq", "update"]);
  run("apt-get", [...options, "-qq", "-y", "-d", "install", ...packages]);
  const archives = join(folder, "cache/archives");
  for (const name of readdirSync(archives).filter((name) => name.endsWith(".deb"))) {
    run("dpkg", ["-x", join(archives, name), join(folder, root)]);
  }
  for (const path of ["lists", "cache"]) rmSync(join(folder, path), { recursive: true });
}

/** The folder that Mesa is in; unpacks it, unless it is there. */
export function mesaFolder(): string {
  if (process.platform !== "linux" || process.arch !== "x64") {
    throw new NoMesaError("Cannot have Mesa's compilers: they are Debian's for Linux on x86-64");
  }
  const folder = join(tmpdir(), `flashtile-mesa-${mesaVersion}`);
  const complete = join(folder, ".complete");
  if (existsSync(complete)) return join(folder, "root");
  rmSync(folder, { recursive: true, force: true });
  unpack(folder, "root");
  mkdirSync(complete);
  return join(folder, "root");
}
