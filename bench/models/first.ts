/**
 * From the start of a process to its first vector: library and weights are loaded, and one text of 16 tokens is embedded.
 * Whole processes in turn, on Deno and Node; ours from the npm package, with weights in f16 as they are published.
 *
 * @module
 */

import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { pathToFileURL } from "node:url";
import { buildPackage } from "../../tools/build_npm/build.ts";
import { runtimeCommands } from "../../tools/install.ts";
import { installPeers } from "../peers/install.ts";
import { compare, type Row, type Timed } from "./subject.ts";

const rounds = 7;

const quoted = (text: string) => JSON.stringify(text);

const ids = "Array.from({ length: 16 }, (_, at) => 1000 + at)";

/** Ours. */
function ourProgram(library: string, folder: string, options: object): string {
  return `import { readFileSync } from "node:fs";
import { loadEncoder } from ${quoted(library)};
const config = JSON.parse(readFileSync(${quoted(join(folder, "config.json"))}, "utf8"));
const weights = new Uint8Array(readFileSync(${quoted(join(folder, "model.safetensors"))}));
const encoder = await loadEncoder({ config, weights }, ${JSON.stringify(options)});
const [vector] = await encoder.embed([${ids}]);
if (vector.length !== 384) throw new Error("no vector");
process.exit(0);
`;
}

/** Theirs, up to the last states. */
function theirProgram(folder: string, graph: string): string {
  return `import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
const ort = createRequire(${quoted(join(folder, "x.cjs"))})("onnxruntime-web");
ort.env.wasm.numThreads = 1;
const data = readFileSync(${quoted(`${graph}_data`)});
const session = await ort.InferenceSession.create(readFileSync(${quoted(graph)}), {
  executionProviders: ["wasm"],
  externalData: [{ path: ${quoted(`${basename(graph)}_data`)}, data }],
});
const row = (of) => new ort.Tensor("int64", BigInt64Array.from(${ids}, (id) => BigInt(of(id))), [1, 16]);
await session.run({ input_ids: row((id) => id), attention_mask: row(() => 1), token_type_ids: row(() => 0) });
process.exit(0);
`;
}

function timed([program, ...given]: readonly string[]): number {
  const start = performance.now();
  const { status, stderr } = spawnSync(program, given, { encoding: "utf8" });
  const time = performance.now() - start;
  if (status !== 0) throw new Error(`${given.at(-1)} ended with ${status}:\n${stderr}`);
  return time;
}

/** Times all of them. */
export function first(folder: string, graph: string | undefined): Promise<Row[]> {
  const temporary = mkdtempSync(join(tmpdir(), "flashtile-first-"));
  try {
    buildPackage(join(temporary, "package"));
    const library = pathToFileURL(join(temporary, "package", "dist", "models.js")).href;
    const programs: Record<string, string> = {
      f32: ourProgram(library, folder, { dtype: "f32" }),
      f16: ourProgram(library, folder, {}),
      int16: ourProgram(library, folder, { precision: "int16" }),
    };
    if (graph !== undefined) {
      programs["onnxruntime-web f32"] = theirProgram(installPeers(), graph);
    }
    const all: (Timed & { command: readonly string[] })[] = [];
    for (const { name: group, command } of runtimeCommands()) {
      if (group === "Bun") continue;
      for (const [name, text] of Object.entries(programs)) {
        const path = join(temporary, `${name.replaceAll(" ", "-")}.mjs`);
        writeFileSync(path, text);
        const run = () => Promise.resolve();
        all.push({ group, name, turns: [], run, command: [...command, path] });
      }
    }
    for (let round = 0; round <= rounds; round++) {
      for (const { command, turns } of all) {
        const time = timed(command);
        if (round > 0) turns.push(time); // The first fills caches.
      }
    }
    return Promise.resolve(compare(all, (name) => name.startsWith("onnxruntime")));
  } finally {
    rmSync(temporary, { recursive: true });
  }
}
