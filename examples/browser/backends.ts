/**
 * The backends of this browser: opening them, and what they are in words.
 *
 * @module
 */

import {
  type BackendName,
  type Capabilities,
  capabilities,
  createEngine,
} from "@flashtile/attention";
import type { Runner } from "./experiment.ts";

/** A backend, or why there is none. */
export interface OpenedBackend {
  readonly backend: BackendName;
  /** Absent where it cannot be used. */
  readonly runner?: Runner;
  /** What was found, or what is missing. */
  readonly words: string;
  /** What is to be known about it. */
  readonly note: string;
}

/** Opens both; one that cannot be had is no error. */
export async function openBackends(): Promise<OpenedBackend[]> {
  const offered = await capabilities();
  return await Promise.all((["wasm", "webgpu"] as const).map((name) => open(name, offered)));
}

async function open(backend: BackendName, offered: Capabilities): Promise<OpenedBackend> {
  try {
    const runner = backend === "webgpu"
      ? await createEngine({ backend })
      : await createEngine({ backend });
    return { backend, runner, words: runner.reason, note: notes[backend](offered) };
  } catch (error) {
    return { backend, words: (error as Error).message, note: "It is left out." };
  }
}

/** What is to be known about a backend that was opened. */
const notes: Readonly<Record<BackendName, (offered: Capabilities) => string>> = {
  webgpu: ({ webgpu }) =>
    webgpu.software
      ? "A software adapter: it computes on the CPU, and its times say nothing about a GPU."
      : "A GPU adapter.",
  wasm: ({ threads }) =>
    threads.available
      ? `This machine runs ${threads.count} threads at a time.`
      : `No further threads: ${threads.reason}.`,
};
