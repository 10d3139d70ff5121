/**
 * The measurement of the library in the reader's browser: its button, progress and tables.
 *
 * @module
 */

import { createEngine } from "@flashtile/attention";
import { pairs } from "../comparison.ts";
import { measureOwn, type Own } from "../own.ts";
import { ownNote } from "../report.ts";
import { showPair } from "./tables.ts";

function element<E extends HTMLElement = HTMLElement>(id: string): E {
  return document.getElementById(id) as E;
}

/** What is going on; the page's tests read it. */
type State = "ready" | "running" | "done" | "stopped" | "refused";

function enter(state: State, words: string): void {
  document.body.dataset.state = state;
  element("status").textContent = words;
  element("run").textContent = state === "running" ? "Stop" : "Measure";
}

/** Makes the button work. */
export function offerMeasurement(): void {
  let running: AbortController | undefined;
  element("own-note").textContent = ownNote;
  show([]);
  enter("ready", "");
  element("run").addEventListener("click", async () => {
    if (running !== undefined) return running.abort();
    running = new AbortController();
    await run(running.signal);
    running = undefined;
  });
}

function show(all: readonly Own[]): void {
  showPair(element<HTMLTableElement>("own-attention"), pairs.attention, all);
  showPair(element<HTMLTableElement>("own-decoding"), pairs.decoding, all);
}

async function run(signal: AbortSignal): Promise<void> {
  const all: Own[] = [], progress = element<HTMLProgressElement>("progress");
  progress.value = 0;
  show(all);
  enter("running", "Starting");
  try {
    const reason = await measureWith(all, progress, signal);
    progress.value = 1;
    enter("done", `Done by ${reason}`);
  } catch (error) {
    if (signal.aborted) enter("stopped", "Stopped");
    else enter("refused", (error as Error).message);
  }
}

/** Measures on an engine of its own; answers what that runs on. */
async function measureWith(
  all: Own[],
  progress: HTMLProgressElement,
  signal: AbortSignal,
): Promise<string> {
  const engine = await createEngine({ backend: "wasm" });
  try {
    await measureOwn(engine, {
      progress: (words, done) => {
        progress.value = done;
        element("status").textContent = words;
      },
      measured: (own) => {
        all.push(own);
        show(all);
      },
    }, signal);
    return engine.reason;
  } finally {
    await engine.close();
  }
}
