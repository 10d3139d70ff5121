/**
 * The machine and the runtime, for the head of a table.
 *
 * @module
 */

import { cpus, totalmem } from "node:os";
import { arch, platform, versions } from "node:process";

/** What figures depend on. */
export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly system: string;
  readonly runtime: string;
}

/** Names this machine. */
export function machine(): Machine {
  const names = ["deno", "bun", "node"] as const;
  const runtime = names.find((name) => versions[name] !== undefined) ?? "node";
  return {
    cpu: cpus()[0]?.model.trim() ?? "unknown",
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    system: `${platform} ${arch}`,
    runtime: `${runtime} ${versions[runtime]}, ${
      versions.v8 ? `V8 ${versions.v8}` : "JavaScriptCore"
    }`,
  };
}
