import { loadDecoder } from "@flashtile/attention/models";
import { assertEquals } from "@std/assert";
import { Buffer } from "node:buffer";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import process from "node:process";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { root } from "../test_runs.ts";
import { likeliest } from "./model.ts";

/** Runs a script of the example. */
function run(name: string, ...given: readonly string[]): ChildProcess {
  const script = `examples/cluster/${name}.ts`;
  const command = ["run", "-A", "--no-check", "--lock=tools/deno.lock", script, ...given];
  return spawn(process.execPath, command, { cwd: root, stdio: ["ignore", "pipe", "inherit"] });
}

/** What the model says on one machine. */
async function sayAlone(prompt: string, tokens: number): Promise<string> {
  const read = async (name: string) => await readFile(`examples/llama/model/${name}`);
  const config = JSON.parse(String(await read("config.json")));
  const weights = new Uint8Array(await read("model.safetensors"));
  const decoder = await loadDecoder({ config, weights }), session = decoder.session();
  const ids = [...new TextEncoder().encode(prompt)];
  for (let token = 0; token < tokens; token++) {
    ids.push(likeliest(await session.prefill(ids.slice(session.lengths[0]))));
  }
  decoder.free();
  return new TextDecoder().decode(Uint8Array.from(ids));
}

test("the example's two commands start a cluster, and say what one machine says, twice", async () => {
  const prompt = "In the beginning", cluster = run("main"), lines: string[] = [];
  try {
    for await (const line of createInterface({ input: cluster.stdout! })) {
      lines.push(line);
      if (lines.length === 3) break;
    }
    const ready = [0, 1, 2].map((group) => `shard ${group}a of group ${group} is ready`);
    assertEquals(lines.toSorted(), ready);
    const expected = await sayAlone(prompt, 150);
    for (let time = 0; time < 2; time++) {
      const generating = run("generate", prompt), chunks: Uint8Array[] = [];
      generating.stdout!.on("data", (chunk) => chunks.push(chunk));
      const [code] = await once(generating, "close");
      assertEquals(code, 0);
      const said = String(Buffer.concat(chunks));
      assertEquals(said.slice(0, said.lastIndexOf("\n\n")), expected);
    }
  } finally {
    const ended = once(cluster, "exit");
    cluster.kill("SIGTERM");
    await ended;
  }
});
