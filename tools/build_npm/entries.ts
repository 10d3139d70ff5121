/**
 * What can be imported from the package, and what is loaded later by a name of its own.
 *
 * @module
 */

/** A script of `dist/`. */
export interface Entry {
  /** Its name there, without `.js`. */
  readonly name: string;
  /** The module that it is made of. */
  readonly source: string;
}

/** What `exports` of `package.json` points to. */
export const entries: readonly Entry[] = [
  { name: "flashtile", source: "mod.ts" },
  { name: "workerd", source: "src/engine/workerd.ts" },
  { name: "edge-light", source: "src/engine/edge_light.ts" },
  { name: "reference", source: "src/reference/mod.ts" },
  { name: "linear", source: "src/linear/mod.ts" },
  { name: "linear-workerd", source: "src/linear/workerd.ts" },
  { name: "linear-edge-light", source: "src/linear/edge_light.ts" },
  { name: "models", source: "src/models/mod.ts" },
  { name: "models-workerd", source: "src/models/workerd.ts" },
  { name: "models-edge-light", source: "src/models/edge_light.ts" },
  { name: "nn", source: "src/nn/mod.ts" },
  { name: "nn-workerd", source: "src/nn/workerd.ts" },
  { name: "nn-edge-light", source: "src/nn/edge_light.ts" },
  { name: "sharded", source: "src/sharded/mod.ts" },
  { name: "wide", source: "src/wide/mod.ts" },
];

/**
 * What the entries have as a namespace: a script of its own, of which bundlers take what is used. esbuild
 * does where it is imported as what it is, `flashtile/block-mask`.
 */
export const patterns: Entry = { name: "block-mask", source: "src/masks/patterns/mod.ts" };

/** What programs import by itself: apart here, so that it can be put where no more is taken along. */
export const slopes: Entry = { name: "chunks/alibi", source: "src/operations/attention/alibi.ts" };

/** What a script tag or a CDN takes: minified, with chunks of its own. */
export const minified: readonly Entry[] = [
  { name: "flashtile.min", source: "mod.ts" },
];

/** All of it in one script that loads nothing, in a form for each way to load a script. */
export const single = [
  { name: "single", format: "es" }, // `flashtile/single`
  { name: "flashtile.single", format: "iife" }, // For `importScripts()` and plain script tags.
] as const;

/** What a classic script of the library is called by others. */
export const globalName = "FlashTile";

/** What is imported later. Named here, or its name would be a hash. */
export const lazy: readonly Entry[] = [
  { name: "threads", source: "src/wasm/team/threads/team.ts" },
  { name: "gradients", source: "src/wasm/backward/backward.ts" },
  { name: "softmax", source: "src/operations/softmax/operation.ts" },
  { name: "softmax-gradients", source: "src/operations/softmax/backward.ts" },
  { name: "rows", source: "src/wasm/rows/runners.ts" },
  { name: "integers", source: "src/wasm/integer/runner.ts" },
  { name: "narrow", source: "src/wasm/narrow/runner.ts" },
  { name: "known", source: "src/operations/attention/known.ts" },
  { name: "functions", source: "src/wasm/scored/runner.ts" },
  { name: "functions-gradients", source: "src/wasm/scored/backward.ts" },
  { name: "linear-runners", source: "src/wasm/linear/runners.ts" },
  { name: "linear-attending", source: "src/wasm/linear/attending.ts" },
  { name: "nn-runners", source: "src/wasm/nn/runners.ts" },
  { name: "nn-backward", source: "src/operations/nn/backward/run.ts" },
  { name: "nn-gradients", source: "src/wasm/nn/backward/runners.ts" },
  { name: "models-decoders", source: "src/models/architectures/decoders.ts" },
  { name: "models-gguf", source: "src/models/files/gguf.ts" },
  { name: "models-gguf-config", source: "src/models/architectures/gguf_config.ts" },
  { name: "models-llama2c", source: "src/models/files/llama2c.ts" },
  { name: "models-modules", source: "src/models/architectures/modules.ts" },
  { name: "models-rotation", source: "src/models/architectures/rotation.ts" },
  { name: "models-rotations", source: "src/models/forward/rotations.ts" },
  { name: "models-shards", source: "src/models/files/shards.ts" },
  { name: "rope", source: "src/operations/rope/plan.ts" },
  { name: "step", source: "src/cache/stepping.ts" },
  { name: "weights", source: "src/operations/weights/operation.ts" },
  { name: "weights-runner", source: "src/wasm/weights/runner.ts" },
  { name: "save", source: "src/cache/encode.ts" },
  { name: "stream", source: "src/operations/stream/stream.ts" },
  { name: "gpu", source: "src/webgpu/open.ts" },
  { name: "webgpu", source: "src/webgpu/backend.ts" },
  { name: "gpu-step", source: "src/webgpu/step.ts" },
  { name: "gpu-int", source: "src/webgpu/integer/runner.ts" },
  { name: "gpu-functions", source: "src/webgpu/scored/runner.ts" },
  { name: "gpu-rows", source: "src/webgpu/rows/runners.ts" },
  { name: "gpu-nn", source: "src/webgpu/nn/runners.ts" },
  { name: "gpu-pass", source: "src/webgpu/pass.ts" },
  { name: "gpu-weights", source: "src/webgpu/weights/runner.ts" },
  { name: "gpu-linear", source: "src/webgpu/linear/runners.ts" },
  { name: "gpu-attending", source: "src/webgpu/linear/attending.ts" },
];
