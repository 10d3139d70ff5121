/**
 * The npm package in a folder.
 *
 * @module
 */

import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { BinaryName } from "../../src/contract/capabilities.ts";
import { binaryBytes, unpack } from "../../src/wasm/binary/module.ts";
import * as integer from "../../src/wasm/binary/integer.gen.ts";
import * as scored from "../../src/wasm/binary/scored.gen.ts";
import * as linear from "../../src/wasm/binary/linear.gen.ts";
import * as nn from "../../src/wasm/binary/nn.gen.ts";
import * as rows from "../../src/wasm/binary/rows.gen.ts";
import { workerSource } from "../../src/wasm/team/threads/worker_source.ts";
import { bundleEntries } from "./cut.ts";
import { bundleDoctor } from "./doctor.ts";
import { writeDocuments } from "./documents.ts";
import { bundleMinified } from "./minify.ts";
import { packageJson, subpaths } from "./package_json.ts";
import { emitTypes } from "./types.ts";

/** Makes the package in a folder, whatever was there. */
export function buildPackage(folder: string): void {
  const dist = join(folder, "dist");
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(dist, { recursive: true });
  bundleEntries(dist);
  bundleMinified(dist);
  bundleDoctor(dist);
  emitTypes(join(dist, "types"));
  for (const name of ["simd", "relaxed"] satisfies BinaryName[]) {
    writeFileSync(join(dist, `${name}.wasm`), binaryBytes(name));
    for (const [program, binaries] of Object.entries({ rows, linear, integer, scored, nn })) {
      writeFileSync(join(dist, `${program}-${name}.wasm`), unpack(binaries, name));
    }
    writeFileSync(
      join(dist, `${name}.module.js`),
      `export { default } from "./${name}.wasm?module";\n`,
    );
  }
  for (const name of subpaths) {
    writeFileSync(join(folder, `${name}.js`), `export * from "./dist/${name}.js";\n`);
  }
  // As it is: workers tell by its text that it is of the same version.
  writeFileSync(join(dist, "worker.js"), workerSource);
  writeDocuments(folder);
  writeFileSync(join(folder, "package.json"), JSON.stringify(packageJson(), null, 2) + "\n");
}
