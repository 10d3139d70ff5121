/**
 * The package's models on every runtime, with the tokenizer that documents name, and the lines that documents show for
 * texts into vectors.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { existsSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { minilmFolder } from "../../tests/support/minilm.ts";
import { withShared } from "../../tests/support/shared.ts";
import { pinned } from "../bundle_tests.ts";
import { runtimeProgram, versions } from "../install.ts";
import { root } from "../test_runs.ts";
import { runIn } from "./child.ts";
import { makeProject, npmInstall } from "./project.ts";
import { writeProgram } from "./script.ts";
import { documented, type Snippet } from "./snippets.ts";

const project = makeProject("models", npmInstall, [pinned("@huggingface/tokenizers")]);
const program = writeProgram(project, "models");

const llama = join(root, "examples/llama/model"), minilm = join(root, "../shared", minilmFolder);

const deno = [process.execPath, "run", "--no-prompt", `--allow-read=.,${llama},${minilm}`];
const node = (version: string) => [runtimeProgram("node", version)];

const runtimes: Readonly<Record<string, readonly string[]>> = {
  [`Node ${versions.node20}`]: node(versions.node20),
  [`Node ${versions.node22}`]: node(versions.node22),
  [`Node ${versions.node26}`]: node(versions.node26),
  [`Bun ${versions.bun}`]: [runtimeProgram("bun", versions.bun), "run"],
  [`Deno ${Deno.version.deno}`]: deno,
};

/** Runs the program; gives what it found. */
function run(command: readonly string[], kind: "decoder" | "encoder", folder: string) {
  return JSON.parse(runIn(project, [...command, program, kind, folder]).stdout);
}

for (const [runtime, command] of Object.entries(runtimes)) {
  test(`the npm package's loadDecoder() goes on with texts as PyTorch on ${runtime}`, () => {
    const { difference, same } = run(command, "decoder", llama);
    assert(difference < 1e-4, `logits differ by ${difference}`);
    assert(same);
  });

  test(
    `the npm package's loadEncoder() embeds texts as all-MiniLM-L6-v2 on ${runtime}`,
    withShared(minilmFolder),
    () => {
      const { least, texts, alone } = run(command, "encoder", minilm);
      assertEquals([texts, alone], [24, true]);
      assert(least >= 0.99999, `the least cosine is ${least}`);
    },
  );
}

/** The programs of documents that embed texts by files of this name. */
const name = "all-MiniLM-L6-v2";
const snippets: readonly Snippet[] = [...documented.readme, ...documented.docs]
  .filter(({ code }) => code.includes(`${name}/`));

test("documents show how texts become vectors", () => {
  assertEquals(snippets.map(({ place }) => place.replace(/:.*/, "")), [
    "README.md",
    "docs/MODELS.md",
  ]);
});

for (const { place, code } of snippets) {
  test(`the lines of ${place} print what they say`, withShared(minilmFolder), () => {
    const file = `${place.replace(/\W+/g, "_")}.js`, folder = join(project, name);
    writeFileSync(join(project, file), code);
    if (!existsSync(folder)) symlinkSync(minilm, folder);
    const [, said] = code.match(/\/\/ (\d\.\d+), their cosine/)!;
    const { stdout } = runIn(project, [...runtimes[`Node ${versions.node20}`], file]);
    assertEquals(stdout.trim(), said);
  });
}
