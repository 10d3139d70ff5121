/**
 * The whole pipeline of `@huggingface/transformers`, from texts to vectors, on files that lie on this machine: its build for
 * browsers, which runs on onnxruntime-web, served its files on loopback.
 *
 * @module
 */

import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { install } from "../../tools/install.ts";
import { readJson } from "./ours.ts";

const manifest = fileURLToPath(new URL("manifest/package.json", import.meta.url));

/** Turns texts into vectors. */
export type Pipeline = (texts: readonly string[]) => Promise<unknown>;

/** What is used of it. */
interface Transformers {
  readonly env: {
    allowLocalModels: boolean;
    allowRemoteModels: boolean;
    remoteHost: string;
    remotePathTemplate: string;
    useBrowserCache: boolean;
    readonly backends: { readonly onnx: { readonly wasm: Record<string, unknown> } };
  };
  pipeline(
    task: "feature-extraction",
    model: string,
    options: object,
  ): Promise<(texts: readonly string[], options: object) => Promise<{ data: Float32Array }>>;
}

/** Where the library lies, and the folder of its packages. */
function installed(): { modules: string; version: string } {
  const { dependencies } = JSON.parse(readFileSync(manifest, "utf8"));
  const [[name, version]] = Object.entries<string>(dependencies);
  // Without scripts: onnxruntime-node's would download libraries for GPUs.
  return { modules: install("pipelines", [`${name}@${version}`], ["--ignore-scripts"]), version };
}

/** Serves files of a model by the paths that the library asks for, until the process ends. */
async function serve(files: (path: string) => string | undefined): Promise<string> {
  const server = createServer(({ url = "" }, answer) => {
    const file = files(new URL(url, "http://x").pathname);
    const data = file === undefined ? undefined : readFileSync(file);
    answer.writeHead(data === undefined ? 404 : 200, {
      "content-type": file?.endsWith("js") ? "text/javascript" : "application/octet-stream",
      ...(data && { "content-length": data.length }),
    });
    answer.end(data);
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  server.unref();
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}

/** Loads the pipeline of a model: its tokenizer and config of a folder, its weights of a graph. */
export async function loadPipeline(folder: string, graph: string, threads: number): Promise<{
  readonly name: string;
  readonly embed: Pipeline;
}> {
  const { modules, version } = installed(), own = join(modules, "@huggingface/transformers/dist");
  const runtime = join(modules, "onnxruntime-web/dist");
  const at = await serve((path) => {
    const [, kind, ...rest] = path.split("/"), name = rest.join("/");
    if (kind === "runtime") return join(runtime, name);
    if (name === "onnx/model.onnx") return graph;
    if (name === "onnx/model.onnx_data") return `${graph}_data`;
    const isThere = /^(?:config|tokenizer|tokenizer_config)\.json$/.test(name);
    return isThere ? join(folder, name) : undefined;
  });
  const library = await import(pathToFileURL(join(own, "transformers.js")).href) as Transformers;
  const { env } = library;
  env.allowLocalModels = false; // It finds no tokenizer where local files are served.
  env.allowRemoteModels = true;
  env.useBrowserCache = false; // It would hold the model of another run.
  env.remoteHost = at;
  env.remotePathTemplate = "{model}/";
  env.backends.onnx.wasm.numThreads = threads;
  env.backends.onnx.wasm.wasmPaths = {
    mjs: `${at}runtime/ort-wasm-simd-threaded.asyncify.mjs`,
    wasm: `${at}runtime/ort-wasm-simd-threaded.asyncify.wasm`,
  };
  const extract = await library.pipeline("feature-extraction", "model", {
    ...{ device: "wasm", dtype: "fp32", use_external_data_format: true },
  });
  return {
    name: `@huggingface/transformers ${version}`,
    embed: (texts) => extract(texts, { pooling: "mean", normalize: true }),
  };
}

/** What the library cuts texts with, by itself. */
export function loadTokenizer(folder: string) {
  const require = createRequire(join(installed().modules, "x.cjs"));
  const { Tokenizer } = require("@huggingface/tokenizers") as {
    Tokenizer: new (tokenizer: object, config: object) => {
      encode(text: string): { ids: number[] };
      decode(ids: number[]): string;
    };
  };
  return new Tokenizer(
    readJson(folder, "tokenizer.json"),
    readJson(folder, "tokenizer_config.json"),
  );
}
