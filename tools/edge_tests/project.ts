/**
 * The package, installed, and workers bundled with it.
 *
 * @module
 */

import { join } from "node:path";
import { pinned } from "../bundle_tests.ts";
import { type BundleOptions, bundleWorker } from "../bundle_worker.ts";
import { makeProject, npmInstall } from "../package_tests/project.ts";
import { root } from "../test_runs.ts";

/** The project that the package and a tokenizer are installed in; each file of tests has its own. */
export const project = makeProject(`edge-${crypto.randomUUID()}`, npmInstall, [
  pinned("@huggingface/tokenizers"),
]);

/** Bundles a worker of the repository; returns the folder with its modules and nothing else. */
export function bundled(name: string, worker: string, options: BundleOptions = {}): string {
  const folder = join(project, name);
  bundleWorker(join(root, worker), folder, join(project, "node_modules"), options);
  return folder;
}
