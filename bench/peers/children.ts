/**
 * Runs children: each order in a process of its own, so that what crashes takes nothing along.
 *
 * @module
 */

import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { runtimeProgram, versions } from "../../tools/install.ts";
import type { Answer, Order } from "./orders.ts";

/** Milliseconds after which a child is ended. */
const longest = 150_000;

/** A runtime that children run in. */
export type RuntimeName = "deno" | "node";

const script = fileURLToPath(new URL("child.ts", import.meta.url));

function commandOf(runtime: RuntimeName): [command: string, ...args: string[]] {
  if (runtime === "node") {
    return [runtimeProgram("node", versions.node26), "--no-warnings", "--expose-gc", script];
  }
  const flags = ["-A", "--quiet", "--no-check", "--v8-flags=--expose-gc"];
  return [process.execPath, "run", ...flags, script];
}

/** Carries out one order; a crash becomes a failure of the peer at work. */
export function carryOut(order: Order, runtime: RuntimeName): Answer[] {
  const folder = mkdtempSync(join(tmpdir(), "flashtile-child-"));
  const file = join(folder, "answers");
  try {
    const [command, ...args] = commandOf(runtime);
    const { signal, status, stderr } = spawnSync(command, [...args, JSON.stringify(order), file], {
      encoding: "utf8",
      timeout: longest,
      killSignal: "SIGKILL",
      maxBuffer: 64 * 2 ** 20,
    });
    const answers = existsSync(file) ? parse(readFileSync(file, "utf8")) : [];
    if (answers.at(-1)?.kind === "done") return answers;
    const at = answers.findLast((answer) => answer.kind === "at");
    const ending = signal ? `ended by ${signal}` : `ended with ${status}`;
    if (at === undefined) throw new Error(`A child ${ending} before it began:\n${stderr}`);
    const reason = [`its process ${ending}`, lastWords(stderr)].filter(Boolean).join(": ");
    return [...answers, { kind: "failed", peer: at.peer, reason }];
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function parse(lines: string): Answer[] {
  return lines.trim().split("\n").map((line) => JSON.parse(line));
}

/** The line that says what went wrong, if one does. */
function lastWords(stderr: string): string {
  const lines = stderr.split("\n").map((line) => line.trim()).filter(Boolean);
  return (lines.find((line) => /fatal|error|abort|panic/i.test(line)) ?? "").slice(0, 200);
}
