/**
 * The package, installed once, and workers bundled with it.
 *
 * @module
 */

import { join } from "node:path";
import process from "node:process";
import { type BundleOptions, bundleWorker } from "../bundle_worker.ts";
import { makeProject } from "../package_tests/project.ts";
import { root } from "../test_runs.ts";

/** The project that the package is installed in. */
export const project = makeProject(`edge-${process.pid}`);

/** Bundles a worker of the repository; returns the folder with its modules and nothing else. */
export function bundled(name: string, worker: string, options: BundleOptions = {}): string {
  const folder = join(project, name);
  bundleWorker(join(root, worker), folder, join(project, "node_modules"), options);
  return folder;
}
