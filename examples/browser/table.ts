/**
 * The table of what was measured.
 *
 * @module
 */

import type { BackendName } from "@flashtile/attention";
import type { Measurement } from "./experiment.ts";
import { short, small } from "./format.ts";

/** The backends in the order of the columns. */
export const columns: readonly BackendName[] = ["wasm", "webgpu"];

/** The cells of a backend, in order. */
const figures = ["milliseconds", "gflops", "difference"] as const;

/** Has a row for each length. */
export class Table {
  readonly #body: HTMLTableSectionElement;

  constructor(body: HTMLTableSectionElement) {
    this.#body = body;
  }

  /** Makes empty rows. */
  reset(lengths: readonly number[]): void {
    this.#body.replaceChildren(...lengths.map(emptyRow));
  }

  /** Fills the cells of a measurement. */
  show(measurement: Measurement): void {
    const { backend, length } = measurement;
    const texts = {
      milliseconds: short(measurement.milliseconds),
      gflops: short(measurement.gflops),
      difference: small(measurement.difference),
    };
    for (const figure of figures) {
      const cell = this.#body.querySelector(`#${cellId(length, backend, figure)}`);
      cell!.textContent = texts[figure];
    }
  }
}

function cellId(length: number, backend: BackendName, figure: string): string {
  return `n${length}-${backend}-${figure}`;
}

function emptyRow(length: number): HTMLTableRowElement {
  const row = document.createElement("tr");
  const head = document.createElement("th");
  head.scope = "row";
  head.textContent = String(length);
  row.append(head);
  for (const backend of columns) {
    for (const figure of figures) {
      const cell = document.createElement("td");
      cell.id = cellId(length, backend, figure);
      cell.textContent = "–";
      row.append(cell);
    }
  }
  return row;
}
