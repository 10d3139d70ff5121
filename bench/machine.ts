/**
 * The machine and the runtime, for the head of a table.
 *
 * @module
 */

import { readFileSync } from "node:fs";
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

/**
 * The processor, with its family and model where Linux tells them: hosts that are rented out often say no more than
 * "AMD EPYC" of processors that differ by half.
 */
function processor(): string {
  const name = cpus()[0]?.model.trim() ?? "unknown";
  try {
    const text = readFileSync("/proc/cpuinfo", "utf8");
    const [family, model] = ["cpu family", "model"].map((field) =>
      text.match(new RegExp(`^${field}\\s*: (\\d+)$`, "m"))?.[1]
    );
    return family && model ? `${name} (family ${family}, model ${model})` : name;
  } catch {
    return name;
  }
}

/** Names this machine. */
export function machine(): Machine {
  const names = ["deno", "bun", "node"] as const;
  const runtime = names.find((name) => versions[name] !== undefined) ?? "node";
  return {
    cpu: processor(),
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    system: `${platform} ${arch}`,
    runtime: `${runtime} ${versions[runtime]}, ${
      versions.v8 ? `V8 ${versions.v8}` : "JavaScriptCore"
    }`,
  };
}
