/**
 * The page: connects the form, the experiment, the chart and the table.
 *
 * @module
 */

import { openBackends, type OpenedBackend } from "./backends.ts";
import { MeasurementChart } from "./chart.ts";
import { displayNames, type Listener, runExperiment, type Runner } from "./experiment.ts";
import { short, small } from "./format.ts";
import { OwnMask } from "./own_mask.ts";
import { lengthsOf, readSettings, type Settings } from "./settings.ts";
import { Table } from "./table.ts";

/** An element of the page, which is there. */
function element<E extends HTMLElement = HTMLElement>(id: string): E {
  return document.getElementById(id) as E;
}

const form = element<HTMLFormElement>("settings");
const button = element<HTMLButtonElement>("run");
const progress = element<HTMLProgressElement>("progress");
const status = element("status");
const troubles = element("troubles");
const charts = [
  new MeasurementChart(element<HTMLCanvasElement>("times"), {
    title: "ms",
    range: [0.1, 100],
    of: ({ milliseconds }) => milliseconds,
    format: (value) => `${short(value)} ms`,
    formatTick: String,
  }),
  new MeasurementChart(element<HTMLCanvasElement>("errors"), {
    title: "error",
    range: [1e-8, 1e-5],
    of: ({ difference }) => difference,
    format: small,
    formatTick: (value) => value.toExponential(0),
  }),
];
const table = new Table(element<HTMLTableSectionElement>("rows"));

/** What the page is doing; its tests and its style sheet read it. */
type State = "opening" | "missing" | "ready" | "running" | "done" | "stopped" | "refused";

function enter(state: State, words: string): void {
  document.body.dataset.state = state;
  status.textContent = words;
  button.disabled = state === "opening" || state === "missing";
  button.textContent = state === "running" ? "Stop" : "Run";
}

function showTrouble(words: string): void {
  const item = document.createElement("li");
  item.textContent = words;
  troubles.append(item);
}

function showBackend({ backend, runner, words, note }: OpenedBackend): void {
  const card = element(`${backend}-card`);
  card.classList.toggle("missing", runner === undefined);
  card.querySelector(".words")!.textContent = words;
  card.querySelector(".note")!.textContent = note;
}

function settingsOfForm(): Settings {
  const fields = new FormData(form);
  const text = (name: string) => String(fields.get(name)).trim();
  return readSettings({
    heads: text("heads"),
    dim: text("dim"),
    causal: fields.has("causal"),
    largest: text("largest"),
  });
}

const listener: Listener = {
  progress(words, done) {
    status.textContent = words;
    progress.value = done;
  },
  measured(measurement) {
    for (const chart of charts) chart.show(measurement);
    table.show(measurement);
  },
  trouble: (backend, words) => showTrouble(`${displayNames[backend]}: ${words}`),
};

/** Empties what the last run has left. */
function reset(settings: Settings): void {
  troubles.replaceChildren();
  progress.value = 0;
  for (const view of [...charts, table]) view.reset(lengthsOf(settings));
}

async function run(runners: readonly Runner[], signal: AbortSignal): Promise<void> {
  try {
    const settings = settingsOfForm();
    reset(settings);
    enter("running", "Starting");
    const start = performance.now();
    await runExperiment(settings, runners, listener, signal);
    progress.value = 1;
    enter("done", `Done in ${((performance.now() - start) / 1000).toFixed(1)} s`);
  } catch (error) {
    if (signal.aborted) enter("stopped", "Stopped");
    else enter("refused", (error as Error).message);
  }
}

enter("opening", "Looking for backends");
reset(settingsOfForm());
const backends = await openBackends();
backends.forEach(showBackend);
const runners = backends.flatMap(({ runner }) => runner ?? []);
const ownMask = new OwnMask(element("own-mask"));
if (runners.length > 0) {
  enter("ready", "");
  void ownMask.show();
} else enter("missing", "This browser has neither backend: take a newer one");

let running: AbortController | undefined;
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (running !== undefined) return running.abort();
  running = new AbortController();
  await run(runners, running.signal);
  running = undefined;
});
