// How the package's entries are cut: few scripts, since each that is loaded from the start takes time, and
// those apart that programs import without attention, so that bundlers leave out the rest. Run by cut.ts.

/** What has no part in computing attention: arrays and tensors, errors, slopes, block masks. */
const base =
  /\/\/ src\/(?:tensor\/arrays|tensor\/lending|check\/errors|operations\/attention\/alibi|masks\/\w+)\.ts/;

/** Patterns of block masks, which stay a namespace: made an object, it would always be whole. */
const patterns = /src\/masks\/patterns\/mod\.ts$/;

/** A binary, which lies beside the entry that imports it. */
const binary = /[\w-]+\.wasm(?:\?module)?$/;

function pathOf(id) {
  if (patterns.test(id)) return "./block-mask.js";
  const [name] = id.match(binary) ?? [];
  return name === undefined ? id : `./${name}`;
}

export default {
  external: (id) => /^(?:node:|webgpu$)/.test(id) || patterns.test(id) || binary.test(id),
  output: {
    entryFileNames: "[name].js",
    chunkFileNames: ({ name }) => `chunks/${name === "flashtile" ? "main" : name}.js`,
    manualChunks: (id, { getModuleInfo }) => base.test(getModuleInfo(id).code) ? "base" : undefined,
    paths: pathOf,
  },
};
