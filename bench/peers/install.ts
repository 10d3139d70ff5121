/**
 * Installs the peers' packages into a folder of the system's temporary directory: nothing of them
 * enters the tree, and nothing here depends on them.
 *
 * @module
 */

import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

// In a folder without sources: Deno would take it for the configuration of those beside it.
const manifest = fileURLToPath(new URL("manifest/package.json", import.meta.url));

/** Package names and the versions that the manifest pins. */
export function pinnedVersions(): Record<string, string> {
  return JSON.parse(readFileSync(manifest, "utf8")).dependencies;
}

/** The folder that the manifest is installed in, once per content of it. */
export function installPeers(): string {
  const key = createHash("sha256").update(readFileSync(manifest)).digest("hex").slice(0, 12);
  const folder = join(tmpdir(), `flashtile-peers-${key}`);
  const complete = join(folder, "node_modules", ".complete");
  if (existsSync(complete)) return folder;
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  copyFileSync(manifest, join(folder, "package.json"));
  // Without scripts: onnxruntime-node's would download GPU libraries, and its CPU build is there.
  const { status, error } = spawnSync("npm", [
    ...["install", "--ignore-scripts", "--no-package-lock", "--no-audit", "--no-fund"],
    ...["--prefix", folder],
  ], { cwd: folder, stdio: "inherit" });
  if (status !== 0) throw new Error(`Cannot install the peers: npm ended with ${error ?? status}`);
  mkdirSync(complete);
  return folder;
}
