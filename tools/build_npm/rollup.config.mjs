// How the minified package is cut: what is loaded from the start is one script, with the binaries beside
// it, which as random text in its midst would make it compress worse. Run by minify.ts.

/** Whether a module is the one that esbuild makes of the binaries. */
function holdsBinaries(id, { getModuleInfo }) {
  return getModuleInfo(id).code.includes("src/wasm/binary/binaries.gen.ts");
}

const cut = {
  entryFileNames: "[name].js",
  chunkFileNames: "chunks.min/[name].js",
  manualChunks: (id, graph) => holdsBinaries(id, graph) ? "kernels" : undefined,
};

// With `--configSingle` one script is made of all, and what is imported later is a part of it.
export default ({ configSingle }) => ({
  output: {
    ...(configSingle ? { inlineDynamicImports: true } : cut),
    // A name for a module's exports as an object would be a property with a description, which breaks
    // where a script has given all objects a property `get`.
    generatedCode: { symbols: false },
  },
});
