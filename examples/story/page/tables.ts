/**
 * Tables of figures.
 *
 * @module
 */

import { compare, type pairs } from "../comparison.ts";
import { firstPaper, secondPaper } from "../figures.ts";
import type { Own } from "../own.ts";

/** Fills a table: names of columns, then rows, each with its name. */
function fill(
  table: HTMLTableElement,
  head: readonly string[],
  rows: readonly (readonly string[])[],
  groups: readonly string[] = [],
): void {
  const cell = (tag: "th" | "td", text: string, scope = "") => {
    const made = document.createElement(tag);
    made.textContent = text;
    if (scope !== "") made.setAttribute("scope", scope);
    return made;
  };
  const line = (cells: readonly HTMLElement[]) => {
    const row = document.createElement("tr");
    row.append(...cells);
    return row;
  };
  const thead = document.createElement("thead"), tbody = document.createElement("tbody");
  if (groups.length > 0) thead.append(line([cell("td", ""), ...groups.map(groupOf)]));
  thead.append(line(head.map((text) => cell(text === "" ? "td" : "th", text, text && "col"))));
  tbody.append(
    ...rows.map(([name, ...texts]) =>
      line([cell("th", name, "row"), ...texts.map((text) => cell("td", text))])
    ),
  );
  table.replaceChildren(thead, tbody);
}

/** What the papers measured. */
export function showPapers(first: HTMLTableElement, second: HTMLTableElement): void {
  fill(
    first,
    ["", "standard", "FlashAttention"],
    firstPaper.map(({ what, standard, flash }) => [what, `${standard}`, `${flash}`]),
  );
  fill(
    second,
    ["TFLOPs/s", "without", "Flash 1", "Flash 2"],
    secondPaper.map(({ what, without, flash1, flash2 }) => [
      what,
      ...[without, flash1, flash2].map(String),
    ]),
  );
}

/** The name of three columns. */
function groupOf(name: string): HTMLTableCellElement {
  return Object.assign(document.createElement("th"), {
    ...{ textContent: name, colSpan: 3, scope: "colgroup" },
  });
}

/** Shows a pair of times beside the introductions'; lengths not measured yet have dashes. */
export function showPair(
  table: HTMLTableElement,
  { of, names }: typeof pairs[keyof typeof pairs],
  all: readonly Own[],
): void {
  fill(
    table,
    ["N", ...names, "ratio", ...names, "ratio"],
    compare(of, all).map(({ length, here, there }) => [length, ...here, ...there]),
    ["your machine", "introductions"],
  );
}
