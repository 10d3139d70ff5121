/**
 * The package's description for npm and for what resolves imports.
 *
 * @module
 */

import { readFileSync } from "node:fs";
import { homeFields, repository } from "./home.ts";

/**
 * What can be imported beside the package itself, and for tools that do not read `exports` is a script
 * in its folder: Parcel, if it is not told to.
 */
export const subpaths = [
  "single",
  "block-mask",
  "linear",
  "models",
  "nn",
  "reference",
  "sharded",
  "wide",
] as const;

/** What `deno.json` says of every package. */
const { version, license } = JSON.parse(
  readFileSync(new URL("../../deno.json", import.meta.url), "utf8"),
) as { version: string; license: string };

export { version };

/** The contents of `package.json`; version and licence are those of `deno.json`. */
export function packageJson(): Record<string, unknown> {
  return {
    name: "flashtile",
    version,
    license,
    ...homeFields(repository),
    description: "Exact FlashAttention for JavaScript: Wasm SIMD, threads and WebGPU",
    keywords: [
      ...["attention", "flash-attention", "transformer", "llm", "kv-cache"],
      ...["wasm", "simd", "webgpu", "autograd"],
    ],
    type: "module",
    main: "./dist/flashtile.js", // For the same tools.
    types: "./dist/types/mod.d.ts",
    exports: {
      ".": {
        types: "./dist/types/mod.d.ts",
        workerd: "./dist/workerd.js",
        "edge-light": "./dist/edge-light.js",
        default: "./dist/flashtile.js",
      },
      "./single": { types: "./dist/types/mod.d.ts", default: "./dist/single.js" },
      "./block-mask": {
        types: "./dist/types/src/masks/patterns/mod.d.ts",
        default: "./dist/block-mask.js",
      },
      "./reference": {
        types: "./dist/types/src/reference/mod.d.ts",
        default: "./dist/reference.js",
      },
      "./linear": {
        types: "./dist/types/src/linear/mod.d.ts",
        workerd: "./dist/linear-workerd.js",
        "edge-light": "./dist/linear-edge-light.js",
        default: "./dist/linear.js",
      },
      "./models": {
        types: "./dist/types/src/models/mod.d.ts",
        workerd: "./dist/models-workerd.js",
        "edge-light": "./dist/models-edge-light.js",
        default: "./dist/models.js",
      },
      "./nn": {
        types: "./dist/types/src/nn/mod.d.ts",
        workerd: "./dist/nn-workerd.js",
        "edge-light": "./dist/nn-edge-light.js",
        default: "./dist/nn.js",
      },
      "./sharded": {
        types: "./dist/types/src/sharded/mod.d.ts",
        default: "./dist/sharded.js",
      },
      "./wide": { types: "./dist/types/src/wide/mod.d.ts", default: "./dist/wide.js" },
      "./simd.wasm": { types: "./dist/types/binary.d.ts", default: "./dist/simd.wasm" },
      "./relaxed.wasm": { types: "./dist/types/binary.d.ts", default: "./dist/relaxed.wasm" },
      "./worker.js": { types: "./dist/types/worker.d.ts", default: "./dist/worker.js" },
      // As Next's edge runtime asks for them. Scripts, since a file's name cannot have the question mark.
      "./simd.wasm?module": {
        types: "./dist/types/binary.d.ts",
        default: "./dist/simd.module.js",
      },
      "./relaxed.wasm?module": {
        types: "./dist/types/binary.d.ts",
        default: "./dist/relaxed.module.js",
      },
      "./package.json": "./package.json",
    },
    bin: { flashtile: "./dist/doctor.js" },
    unpkg: "./dist/flashtile.min.js",
    jsdelivr: "./dist/flashtile.min.js",
    // Eight provide binaries, three say who runs their functions, one sets a flag, one waits for messages; the rest is exports.
    sideEffects: [
      ...["./dist/workerd.js", "./dist/edge-light.js", "./dist/worker.js"],
      ...["./dist/linear.js", "./dist/linear-workerd.js", "./dist/linear-edge-light.js"],
      ...["./dist/models.js", "./dist/models-workerd.js", "./dist/models-edge-light.js"],
      ...["./dist/nn.js", "./dist/nn-workerd.js", "./dist/nn-edge-light.js"],
      ...["./linear.js", "./models.js", "./nn.js", "./dist/wide.js", "./wide.js"],
    ],
    engines: { node: ">=20" },
    files: ["dist", "docs", "CHANGELOG.md", ...subpaths.map((name) => `${name}.js`)],
    peerDependencies: { webgpu: ">=0.6.2" },
    peerDependenciesMeta: { webgpu: { optional: true } },
  };
}
