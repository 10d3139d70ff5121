/**
 * A chart: something measured over N, both axes logarithmic, a line for each backend.
 *
 * @module
 */

import type { BackendName } from "@flashtile/attention";
import {
  Chart,
  Legend,
  LinearScale,
  LineController,
  LineElement,
  LogarithmicScale,
  PointElement,
  type Scale,
  Tooltip,
  type TooltipItem,
} from "chart.js";
import { displayNames, type Measurement } from "./experiment.ts";
import { columns } from "./table.ts";

Chart.register(
  ...[LineController, LineElement, PointElement, LogarithmicScale, LinearScale, Legend, Tooltip],
);

Chart.defaults.font.family = "system-ui, sans-serif";

/** A second sign beside the colour. */
const pointStyles = { wasm: "circle", webgpu: "rectRot" } as const;

type Point = { x: number; y: number };

/** What a chart shows. */
export interface Quantity {
  /** Beside its axis. */
  readonly title: string;
  /** The axis has at least this range. */
  readonly range: readonly [least: number, most: number];
  /** Takes it from a measurement; what is not above 0 has no place on the axis and is left out. */
  readonly of: (measurement: Measurement) => number;
  /** Writes it into a tooltip. */
  readonly format: (value: number) => string;
  /** Writes a power of ten beside the axis. */
  readonly formatTick: (value: number) => string;
}

/** A colour of the style sheet. */
function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function lineOf(backend: BackendName) {
  return {
    label: displayNames[backend],
    data: [] as Point[],
    pointStyle: pointStyles[backend],
    pointRadius: 5,
    pointHoverRadius: 7,
    borderWidth: 2.5,
  };
}

/** Replaces the ticks that a logarithmic axis takes by itself. */
function setTicks(scale: Scale, values: readonly number[]): void {
  scale.ticks = values.map((value) => ({ value }));
}

/** The powers of ten on an axis. */
function powersOfTen({ min, max }: Scale): number[] {
  const powers: number[] = [];
  // By its digits: a product of tenths is not quite a power of ten.
  for (let power = Math.ceil(Math.log10(min)); power <= Math.log10(max); power++) {
    powers.push(Number(`1e${power}`));
  }
  return powers;
}

function tooltipOf({ format }: Quantity) {
  return {
    usePointStyle: true,
    callbacks: {
      title: ([item]: TooltipItem<"line">[]) => `N = ${item.parsed.x}`,
      label: ({ dataset, parsed }: TooltipItem<"line">) =>
        `${dataset.label}: ${format(parsed.y ?? NaN)}`,
    },
  };
}

/** Draws what is measured as it comes. */
export class MeasurementChart {
  readonly #chart: Chart<"line", Point[]>;
  readonly #quantity: Quantity;
  #lengths: readonly number[] = [];

  constructor(canvas: HTMLCanvasElement, quantity: Quantity) {
    this.#quantity = quantity;
    this.#chart = new Chart<"line", Point[]>(canvas, {
      type: "line",
      data: { datasets: columns.map(lineOf) },
      options: {
        animation: false,
        maintainAspectRatio: false,
        interaction: { mode: "index", intersect: false },
        plugins: {
          legend: { labels: { usePointStyle: true, boxWidth: 8, boxHeight: 8, padding: 16 } },
          tooltip: tooltipOf(quantity),
        },
        scales: this.#axes(),
      },
    });
    this.#paint();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#paint());
  }

  /** Empties the chart for these lengths. */
  reset(lengths: readonly number[]): void {
    this.#lengths = lengths;
    const { datasets } = this.#chart.data, { x } = this.#chart.options.scales!;
    for (const dataset of datasets) dataset.data = [];
    // Some room on both sides.
    x!.min = lengths[0] / 1.1;
    x!.max = lengths.at(-1)! * 1.1;
    this.#chart.update();
  }

  /** Adds a point. */
  show(measurement: Measurement): void {
    const x = measurement.length, y = this.#quantity.of(measurement);
    if (y > 0) this.#chart.data.datasets[columns.indexOf(measurement.backend)].data.push({ x, y });
    this.#chart.update();
  }

  #axes() {
    const { title, range: [suggestedMin, suggestedMax], formatTick } = this.#quantity;
    return {
      x: {
        type: "logarithmic" as const,
        title: { display: true, text: "N" },
        afterBuildTicks: (scale: Scale) => setTicks(scale, this.#lengths),
        ticks: { callback: (value: string | number) => String(value) },
      },
      y: {
        type: "logarithmic" as const,
        title: { display: true, text: title },
        ...{ suggestedMin, suggestedMax },
        afterBuildTicks: (scale: Scale) => setTicks(scale, powersOfTen(scale)),
        ticks: { callback: (value: string | number) => formatTick(Number(value)) },
      },
    };
  }

  /** Takes the colours as the style sheet has them now. */
  #paint(): void {
    const { datasets } = this.#chart.data, { scales, plugins } = this.#chart.options;
    datasets.forEach((dataset, index) => {
      dataset.borderColor = dataset.backgroundColor = colour(columns[index]);
    });
    for (const axis of Object.values(scales!)) {
      axis!.grid!.color = axis!.border!.color = colour("line");
      axis!.ticks!.color = colour("faint");
      (axis as { title: { color: string } }).title.color = colour("faint");
    }
    plugins!.legend!.labels!.color = colour("text");
    this.#chart.update();
  }
}
