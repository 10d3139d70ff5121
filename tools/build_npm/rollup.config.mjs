// How the minified package is cut: what is loaded from the start is one script, with the binaries beside
// it, which as random text in its midst would make it compress worse. Run by minify.ts.

/** Whether a module is the one that esbuild makes of the binaries. */
function holdsBinaries(id, { getModuleInfo }) {
  return getModuleInfo(id).code.includes("src/wasm/binaries.gen.ts");
}

export default {
  external: /^(?:node:|webgpu$)/,
  output: {
    entryFileNames: "[name].js",
    chunkFileNames: "chunks.min/[name].js",
    manualChunks: (id, graph) => holdsBinaries(id, graph) ? "kernels" : undefined,
  },
};
