/**
 * Many clients at a time.
 *
 * @module
 */

import { spawn } from "node:child_process";
import { join } from "node:path";
import { install, versions } from "./install.ts";

/** How many clients ask, what, and for how long. */
export interface Load {
  readonly url: string;
  readonly connections: number;
  readonly seconds: number;
  /** A body of JSON; each client asks again as soon as it is answered. */
  readonly body: unknown;
}

/** What autocannon counted. */
export interface Counted {
  /** Answers with a status of 2xx. */
  readonly answers: number;
  /** Answers with any other. */
  readonly refusals: number;
  /** Connections that failed, and answers that did not come. */
  readonly errors: number;
  /** Answers in a second, on average. */
  readonly perSecond: number;
  /** Milliseconds until an answer: of half of them, and of 99 in 100. */
  readonly latency: { readonly median: number; readonly most: number };
}

/** Asks one thing again and again. */
export async function load({ url, connections, seconds, body }: Load): Promise<Counted> {
  const modules = install("autocannon", [`autocannon@${versions.autocannon}`]);
  const report = JSON.parse(
    await printed(join(modules, ".bin", "autocannon"), [
      ...["--json", "--no-progress", "--method", "POST", "--connections", `${connections}`],
      ...["--duration", `${seconds}`, "--headers", "content-type=application/json"],
      ...["--body", JSON.stringify(body), url],
    ]),
  );
  return {
    answers: report["2xx"],
    refusals: report.non2xx,
    errors: report.errors + report.timeouts + report.mismatches,
    perSecond: report.requests.average,
    latency: { median: report.latency.p50, most: report.latency.p99 },
  };
}

/** What a program prints until it ends; this one goes on meanwhile. */
function printed(program: string, given: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, given, { stdio: ["ignore", "pipe", "ignore"] });
    let text = "";
    child.stdout.setEncoding("utf8").on("data", (part) => text += part);
    child.once("error", reject);
    child.once("close", (code) => {
      if (code === 0) resolve(text);
      else reject(new Error(`${program} ended with ${code}`));
    });
  });
}
