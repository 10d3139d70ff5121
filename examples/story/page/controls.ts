/**
 * The sliders for N, d and M.
 *
 * @module
 */

import { whole } from "../format.ts";
import type { Sizes } from "../problem.ts";

/** Where each slider can stand. */
const stops: Readonly<Record<keyof Sizes, readonly number[]>> = {
  n: [8, 16, 32, 48, 64, 96, 128, 192, 256, 384, 512],
  d: [4, 8, 16, 24, 32, 48, 64],
  m: Array.from({ length: 21 }, (_, at) => 2 ** (7 + (at >> 1)) * (at % 2 === 0 ? 1 : 1.5)),
};

/** Where they stand at first. */
const first: Sizes = { n: 128, d: 32, m: 4096 };

const names = ["n", "d", "m"] as const;

function slider(name: keyof Sizes): HTMLInputElement {
  return document.getElementById(name) as HTMLInputElement;
}

/** Sets the sliders up, and tells whenever one is moved. */
export function listenToSliders(moved: (sizes: Sizes) => void): Sizes {
  for (const name of names) {
    const input = slider(name);
    input.max = `${stops[name].length - 1}`;
    input.value = `${stops[name].indexOf(first[name])}`;
    input.addEventListener("input", () => {
      showValue(name);
      moved(sizesOfSliders());
    });
    showValue(name);
  }
  return sizesOfSliders();
}

function sizesOfSliders(): Sizes {
  const [n, d, m] = names.map((name) => stops[name][Number(slider(name).value)]);
  return { n, d, m };
}

function showValue(name: keyof Sizes): void {
  const text = whole(stops[name][Number(slider(name).value)]);
  slider(name).setAttribute("aria-valuetext", text);
  document.getElementById(`${name}-out`)!.textContent = text;
}
