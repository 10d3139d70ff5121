/**
 * V8's flag.
 *
 * @module
 */

import { isServer } from "../runtime.ts";

/** The part of Node's `process` that is used. */
interface Process {
  readonly arch?: string;
  readonly versions: {
    readonly node?: string;
    readonly bun?: string;
    readonly electron?: string;
    readonly v8?: string;
  };
  getBuiltinModule(name: string): unknown;
}

/**
 * What a version of V8 calls it: an older name up to 15.0, as in Node 26, and another from 15.6 on, as in Chromium 156.
 * `undefined` between these, where nobody has looked: V8 prints that it does not know a name.
 */
export function nameOfFlag(v8 = ""): string | undefined {
  const [major, minor] = v8.split(".").map(Number), version = major * 100 + minor;
  if (version <= 1500) return "--experimental-wasm-revectorize";
  return version >= 1506 ? "--wasm-revectorize" : undefined;
}

/** Why it cannot be set here, in words. */
function obstacle(): string | undefined {
  if ("Deno" in globalThis || !isServer()) return "only Node lets programs ask V8 for it";
  const { arch, versions } = (globalThis as unknown as { process: Process }).process;
  if (versions.bun !== undefined) return "only Node lets programs ask V8 for it";
  if (versions.electron !== undefined) return "Electron takes V8's flags where it is started";
  // An older V8 would print that it does not know the flag.
  if (parseInt(versions.node ?? "0") < 24) return "it needs Node 24 or later";
  if (arch !== "x64") return "it needs a processor of x64";
  return nameOfFlag(versions.v8) === undefined
    ? `nobody has looked what V8 ${versions.v8} calls its flag`
    : undefined;
}

/**
 * Sets it for the process; returns why that cannot be done, if so.
 *
 * @throws {Error} Where it would change nothing, since a binary is compiled already.
 */
export function setFlag(isTooLate: () => boolean): string | undefined {
  const reason = obstacle();
  if (reason !== undefined) return reason;
  if (isTooLate()) {
    throw new Error(
      "Cannot widen: a binary is compiled already; import `wide` before the first engine is made " +
        "and the first function is called",
    );
  }
  try {
    const { process } = globalThis as unknown as { process: Process };
    const v8 = process.getBuiltinModule("node:v8") as { setFlagsFromString(flag: string): void };
    v8.setFlagsFromString(nameOfFlag(process.versions.v8)!);
  } catch {
    return "this process may not set V8's flags";
  }
}
