/**
 * The peers' packages: pinned by a manifest of their own, installed outside the tree, so that nothing
 * here depends on them.
 *
 * @module
 */

import { readFileSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { install } from "../../tools/install.ts";

// In a folder without sources: Deno would take it for the configuration of those beside it.
const manifest = fileURLToPath(new URL("manifest/package.json", import.meta.url));

/** Package names and the versions that the manifest pins. */
export function pinnedVersions(): Record<string, string> {
  return JSON.parse(readFileSync(manifest, "utf8")).dependencies;
}

/** The folder that the peers are installed in. */
export function installPeers(): string {
  const packages = Object.entries(pinnedVersions()).map(([name, version]) => `${name}@${version}`);
  // Without scripts: onnxruntime-node's would download GPU libraries, and its CPU build is there.
  return dirname(install("peers", packages, ["--ignore-scripts"]));
}
