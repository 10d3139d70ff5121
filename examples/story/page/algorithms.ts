/**
 * The list of algorithms, each with a bar for what it moves; one of them is chosen.
 *
 * @module
 */

import { type Algorithm, type AlgorithmName, algorithms } from "../chapters.ts";
import type { Traffic } from "../closed.ts";
import { totalOf } from "../crossover.ts";
import { brief, whole } from "../format.ts";
import type { Sizes } from "../problem.ts";

interface Row {
  readonly algorithm: Algorithm;
  readonly input: HTMLInputElement;
  readonly total: HTMLElement;
  readonly whole: HTMLElement;
  readonly reads: HTMLElement;
  readonly writes: HTMLElement;
}

/** Shows them. */
export class AlgorithmList {
  readonly #rows: readonly Row[];
  #most = 1;

  constructor(parent: HTMLElement, choose: (name: AlgorithmName) => void) {
    this.#rows = algorithms.map(rowOf);
    parent.replaceChildren(...this.#rows.map(({ input }) => input.parentElement!));
    parent.addEventListener("change", (event) => {
      choose((event.target as HTMLInputElement).value as AlgorithmName);
    });
  }

  /** Marks one as chosen. */
  check(name: AlgorithmName): void {
    this.#rows.find(({ algorithm }) => algorithm.name === name)!.input.checked = true;
  }

  /** Draws every bar in full. */
  show(sizes: Sizes): void {
    const all = this.#rows.map(({ algorithm }) => algorithm.traffic(sizes));
    this.#most = Math.max(...all.map(totalOf));
    this.#rows.forEach((row, index) => this.#fill(row, all[index], all[index]));
  }

  /** Empties them, where sizes cannot be used. */
  clear(): void {
    for (const { whole, reads, writes, total } of this.#rows) {
      for (const part of [whole, reads, writes]) part.style.width = "0";
      total.textContent = "–";
    }
  }

  /** Draws how far one has got. */
  showProgress(name: AlgorithmName, sizes: Sizes, counted: Traffic): void {
    const row = this.#rows.find(({ algorithm }) => algorithm.name === name)!;
    this.#fill(row, row.algorithm.traffic(sizes), counted);
  }

  #fill({ whole: track, reads, writes, total, input }: Row, all: Traffic, counted: Traffic): void {
    const width = (numbers: number) => `${100 * numbers / this.#most}%`;
    track.style.width = width(totalOf(all));
    reads.style.width = width(counted.reads);
    writes.style.width = width(counted.writes);
    total.textContent = brief(totalOf(all));
    input.setAttribute("aria-description", `${whole(totalOf(all))} numbers moved`);
  }
}

function rowOf(algorithm: Algorithm, index: number): Row {
  const make = (tag: string, name: string) =>
    Object.assign(document.createElement(tag), { className: name });
  const [label, title, total, bar] = [
    make("label", "algorithm"),
    make("span", "name"),
    make("span", "total"),
    make("span", "bar"),
  ];
  const [track, reads, writes] = ["track", "reads", "writes"].map((name) => make("i", name));
  const input = Object.assign(document.createElement("input"), {
    ...{ type: "radio", name: "algorithm", value: algorithm.name },
  });
  title.textContent = `${index + 1}  ${algorithm.title}`;
  bar.append(track, reads, writes);
  label.append(input, title, total, bar);
  return { algorithm, input, total, whole: track, reads, writes };
}
