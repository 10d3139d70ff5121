/**
 * The same by onnxruntime, in Wasm and native: a graph with the same weights, of which the last states are asked and no
 * vector is made.
 *
 * @module
 */

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, join } from "node:path";
import { installPeers } from "../peers/install.ts";
import { withWorker } from "../peers/peer.ts";
import type { Work } from "./ours.ts";
import type { Subject } from "./subject.ts";

/** The builds of it. */
export type Build = "onnxruntime-web" | "onnxruntime-node";

/** What is used of it. */
interface Onnxruntime {
  readonly env: { readonly wasm: { numThreads?: number } };
  readonly InferenceSession: {
    create(model: Uint8Array, options: object): Promise<Session>;
  };
  readonly Tensor: new (type: "int64", data: BigInt64Array, shape: readonly number[]) => unknown;
}

interface Session {
  run(inputs: Record<string, unknown>): Promise<unknown>;
}

/** A graph in a session. */
export interface Graph {
  readonly name: string;
  readonly library: Onnxruntime;
  readonly session: Session;
}

/** Loads a graph; weights in a file of their own lie beside it, `FILE_data`. */
export async function loadGraph(
  build: Build,
  file: string,
  form: string,
  threads: number,
): Promise<Graph> {
  const library = createRequire(join(installPeers(), "x.cjs"))(build) as Onnxruntime;
  const apart = form === "f32" && {
    externalData: [{ path: `${basename(file)}_data`, data: readFileSync(`${file}_data`) }],
  };
  const model = readFileSync(file), { InferenceSession } = library, name = `${build} ${form}`;
  if (build === "onnxruntime-node") {
    const options = { intraOpNumThreads: threads, interOpNumThreads: 1, ...apart };
    return { name, library, session: await InferenceSession.create(model, options) };
  }
  library.env.wasm.numThreads = threads;
  const options = { executionProviders: ["wasm"], ...apart };
  const create = () => InferenceSession.create(model, options);
  return { name, library, session: await withWorker(globalThis.Worker, create) };
}

/** Inputs of texts as one batch, the shorter ones padded. */
export function inputsOf(
  { library: { Tensor } }: Graph,
  texts: readonly (readonly number[])[],
): Record<string, unknown> {
  const length = Math.max(...texts.map(({ length }) => length)), shape = [texts.length, length];
  const fill = (of: (text: readonly number[], at: number) => number) =>
    new Tensor(
      "int64",
      BigInt64Array.from(
        { length: texts.length * length },
        (_, at) => BigInt(of(texts[Math.floor(at / length)], at % length)),
      ),
      shape,
    );
  return {
    input_ids: fill((text, at) => text[at] ?? 0),
    attention_mask: fill((text, at) => Number(at < text.length)),
    token_type_ids: fill(() => 0),
  };
}

/** The last states of texts, one after the other. */
export function graphSubjects(graph: Graph, work: readonly Work[]): Subject[] {
  return work.map(({ group, texts }) => {
    const inputs = texts.map(({ ids }) => inputsOf(graph, [ids]));
    return {
      group,
      name: graph.name,
      async run() {
        for (const each of inputs) await graph.session.run(each);
      },
    };
  });
}

/** The last states of texts in one batch. */
export function paddedSubject(graph: Graph, { group, texts }: Work): Subject {
  const inputs = inputsOf(graph, texts.map(({ ids }) => ids));
  return { group, name: `${graph.name}, one batch`, run: () => graph.session.run(inputs) };
}
