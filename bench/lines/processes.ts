/**
 * Where lines are measured: processes of each runtime, and a page of WebKit.
 *
 * @module
 */

import { spawnSync } from "node:child_process";
import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { serveFolder } from "../../tools/browser_package/server.ts";
import { runtimeProgram, versions } from "../../tools/install.ts";
import { visitWebKit } from "../../tools/webkit.ts";
import { bundleInto } from "../elsewhere.ts";
import { installPeers } from "../peers/install.ts";
import type { Entrant } from "./entrants.ts";
import { type Answer, mark, type Order } from "./orders.ts";

/** Where a line is measured. */
export type RuntimeName = "deno" | "node26" | "node20" | "bun" | "webkit";

/** Milliseconds after which a process is ended. */
const longest = 180_000;

function scriptAt(name: string): string {
  return fileURLToPath(new URL(name, import.meta.url));
}

/** The parts of an order that have a usual value. */
export type Asked =
  & { readonly entrants: readonly Entrant[] }
  & Partial<Omit<Order, "entrants" | "folder" | "processor">>;

/** Carries orders out. */
export class Processes implements Disposable {
  readonly #folder = mkdtempSync(join(tmpdir(), "flashtile-lines-"));
  readonly #peers = installPeers();
  readonly #processor: boolean;
  #bundle: string | undefined;

  /** @param processor Whether the processor's time counts where one thread computes. */
  constructor(processor: boolean) {
    this.#processor = processor;
  }

  [Symbol.dispose](): void {
    rmSync(this.#folder, { recursive: true });
  }

  #orderOf({ wide = false, threads = 1, rounds = 15, rest = 5, entrants }: Asked): Order {
    const isOne = threads === 1 && entrants.every((one) => !("threads" in one));
    const processor = this.#processor && isOne;
    return { wide, threads, rounds, rest, entrants, processor, folder: this.#peers };
  }

  #commandOf(runtime: Exclude<RuntimeName, "webkit">): string[] {
    if (runtime === "deno") {
      return [process.execPath, "run", "-A", "--quiet", "--no-check", scriptAt("child.ts")];
    }
    this.#bundle ??= bundleInto(this.#folder, scriptAt("child.ts"));
    const program = runtime === "bun"
      ? runtimeProgram("bun", versions.bun)
      : runtimeProgram("node", versions[runtime]);
    return [program, this.#bundle];
  }

  /** Has a process of a runtime, or a page, time what is asked. */
  run(runtime: RuntimeName, asked: Asked): Promise<Answer> {
    const order = this.#orderOf(asked);
    return runtime === "webkit" ? this.#visit(order) : Promise.resolve(this.#spawn(runtime, order));
  }

  #spawn(runtime: Exclude<RuntimeName, "webkit">, order: Order): Answer {
    const [command, ...args] = this.#commandOf(runtime);
    const { stdout, stderr } = spawnSync(command, [...args, JSON.stringify(order)], {
      encoding: "utf8",
      timeout: longest,
      killSignal: "SIGKILL",
    });
    const line = stdout?.split("\n").find((line) => line.startsWith(mark));
    if (line === undefined) throw new Error(`a process of ${runtime} gave no answer: ${stderr}`);
    return JSON.parse(line.slice(mark.length));
  }

  async #visit(order: Order): Promise<Answer> {
    const folder = mkdtempSync(join(this.#folder, "page-"));
    // Under a name that it is served as a script by.
    renameSync(bundleInto(folder, scriptAt("page.ts"), "browser"), join(folder, "page.js"));
    writeFileSync(join(folder, "index.html"), "<!doctype html>");
    let answer: Answer | undefined;
    await using server = serveFolder(folder, {});
    await visitWebKit(server.url, async ({ evaluate }) => {
      const call = `import("/page.js").then(({ time }) => time(${JSON.stringify(order)}))`;
      answer = await evaluate<Answer>(call);
    });
    return answer!;
  }
}
