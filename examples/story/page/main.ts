/**
 * The page: connects sliders, algorithms, the picture, the chart and the code.
 *
 * @module
 */

import { blocksOf } from "../blocks.ts";
import { type Algorithm, type AlgorithmName, algorithmOf, filesOf } from "../chapters.ts";
import type { Traffic } from "../closed.ts";
import { partsOf } from "../decoding.ts";
import { sources } from "../figures.ts";
import { whole } from "../format.ts";
import { checkSizes } from "../limits.ts";
import type { Sizes } from "../problem.ts";
import { crossing } from "../report.ts";
import { AlgorithmList } from "./algorithms.ts";
import { chartOf } from "./chart.ts";
import { codeOf, showCode } from "./code.ts";
import { listenToSliders } from "./controls.ts";
import { type Film, record, wordsOf } from "./film.ts";
import { offerMeasurement } from "./own_measurement.ts";
import { type Moment, Player } from "./player.ts";
import { Stage } from "./stage.ts";
import { showPapers } from "./tables.ts";

/** An element of the page, which is there. */
function element<E extends HTMLElement = HTMLElement>(id: string): E {
  return document.getElementById(id) as E;
}

/** Sliders that are dragged come to rest before anything is run. */
const rest = 120;

const stage = new Stage(element<HTMLCanvasElement>("canvas"));
const position = element<HTMLInputElement>("position");
const buttons = ["play", "step", "restart"].map((id) => element<HTMLButtonElement>(id));
let chosen: AlgorithmName = "flash2", film: Film | undefined;
let waiting: ReturnType<typeof setTimeout> | undefined;
let sizes = listenToSliders((moved) => {
  sizes = moved;
  showSizes();
});

const list = new AlgorithmList(element("algorithms"), (name) => {
  chosen = name;
  void showAlgorithm();
  showSizes();
  rerun();
});
const player = new Player(showMoment);

function showText(id: string, text: string): void {
  element(id).textContent = text;
}

/** What the chosen algorithm has counted at a moment. */
function countedAt(done: number): Traffic {
  return done === 0 || film === undefined ? { reads: 0, writes: 0 } : film.steps[done - 1];
}

function showMoment(moment: Moment, playing: boolean): void {
  const counted = countedAt(moment.done);
  stage.show(moment);
  position.value = `${moment.done}`;
  buttons[0].textContent = playing ? "Pause" : "Play";
  if (film === undefined) return;
  // At rest, in full: what a bar is long by is what the list is for.
  const atRest = !playing && moment.done === 0;
  const shown = atRest ? algorithmOf(chosen).traffic(sizes) : counted;
  list.showProgress(chosen, sizes, shown);
  showText("reads", whole(counted.reads));
  showText("writes", whole(counted.writes));
  showText("caption", captionOf(film, moment.done, playing));
  position.setAttribute("aria-valuetext", `${moment.done} of ${film.steps.length} moves`);
}

function captionOf({ steps }: Film, done: number, playing: boolean): string {
  const count = steps.length.toLocaleString("en");
  if (playing) return `${count} moves`; // not each of them to be read out
  if (done === 0) return `${count} moves: play, or take one step`;
  return `Move ${done.toLocaleString("en")} of ${count}: ${wordsOf(steps[done - 1].move)}`;
}

/** Shows everything that depends on the sizes; says what cannot be. */
function showSizes(): void {
  clearTimeout(waiting);
  drawChart();
  showText("crossing", crossing(sizes));
  // The picture stays at its beginning until there is another one.
  film = undefined;
  player.insert(0);
  try {
    checkSizes(sizes);
    refuse("");
    list.show(sizes);
    showFormulas(algorithmOf(chosen), sizes);
    waiting = setTimeout(rerun, rest);
  } catch (error) {
    list.clear();
    for (const id of ofSizes) showText(id, "");
    withoutFilm((error as Error).message);
  }
}

/** Draws the chart as wide as there is room. */
function drawChart(): void {
  const chart = element("chart");
  if (chart.clientWidth > 0) chart.innerHTML = chartOf(sizes, chart.clientWidth);
}

function refuse(words: string): void {
  showText("refusal", words);
  for (const control of [...buttons, position]) control.disabled = words !== "";
}

/** What says nothing without a film. */
const ofFilm = ["reads", "writes", "caption"];

/** What says nothing without sizes. */
const ofSizes = ["formula-reads", "formula-writes", "tiles"];

function withoutFilm(words: string): void {
  film = undefined;
  stage.insert(undefined, sizes);
  for (const id of ofFilm) showText(id, "");
  refuse(words);
}

/** Runs the chosen algorithm, and puts the film in. */
function rerun(): void {
  clearTimeout(waiting);
  try {
    checkSizes(sizes);
    film = record(algorithmOf(chosen), sizes);
    refuse("");
  } catch (error) {
    return withoutFilm((error as Error).message);
  }
  position.max = `${film.steps.length}`;
  stage.insert(film, sizes);
  player.insert(film.steps.length);
}

async function showAlgorithm(): Promise<void> {
  const algorithm = algorithmOf(chosen);
  showText("title", algorithm.title);
  showText("words", algorithm.words);
  showText("file", filesOf(algorithm).map((file) => `examples/story/${file}`).join(", "));
  try {
    const code = await codeOf(algorithm);
    if (algorithm.name === chosen) showCode(element("code"), code);
  } catch (error) {
    showText("code", (error as Error).message);
  }
}

/** How the work is cut, in words. */
function tilesOf({ name, tiles }: Algorithm, { n, d, m }: Sizes): string {
  if (name === "decoding") {
    const parts = partsOf(n);
    return `Keys are cut into ${parts.length} parts of ${parts[0].count}.`;
  }
  const { outer, inner } = blocksOf(m, d, tiles);
  return `T = ${Math.ceil(n / outer)}: tiles have ${Math.min(n, outer)} rows in the outer loop ` +
    `and ${Math.min(n, inner)} in the inner one.`;
}

function showFormulas(algorithm: Algorithm, sizes: Sizes): void {
  const { traffic, formulas, order } = algorithm;
  const { reads, writes } = traffic(sizes);
  showText("formula-reads", whole(reads));
  showText("formula-writes", whole(writes));
  showText("reads-formula", formulas[0]);
  showText("writes-formula", formulas[1]);
  showText("order", `grows as ${order}`);
  showText("tiles", tilesOf(algorithm, sizes));
}

function listen(): void {
  const [play, step, restart] = buttons;
  play.addEventListener("click", () => player.toggle());
  step.addEventListener("click", () => player.step());
  restart.addEventListener("click", () => player.goTo(0));
  position.addEventListener("input", () => player.goTo(Number(position.value)));
  new ResizeObserver(() => stage.layOut()).observe(element("canvas"));
  new ResizeObserver(drawChart).observe(element("chart"));
  const colours = matchMedia("(prefers-color-scheme: dark)");
  colours.addEventListener("change", () => stage.layOut());
}

list.check(chosen);
showPapers(element("first-paper") as HTMLTableElement, element("second-paper") as HTMLTableElement);
showText("first-source", `${sources.firstPaper}: GPT-2 medium, N = 1024, d = 64, on an A100.`);
showText("second-source", `${sources.secondPaper}: training, per A100.`);
void showAlgorithm();
showSizes();
rerun();
listen();
offerMeasurement();
