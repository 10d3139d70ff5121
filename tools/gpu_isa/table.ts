/**
 * The table of what compilers make of kernels, in docs/GPU_COMPILERS.md.
 *
 * @module
 */

import type { Judged, Judgement, Report } from "./judge.ts";

/** Between these lines of the document it stands. */
const begin = "<!-- What `deno task gpu:isa` writes begins here. -->";
const end = "<!-- And ends here. -->";

const percent = (share: number) => `${Math.round(100 * share)} %`;

function cellOf({ registers, spills, waves, instructions, tile }: Judgement): string {
  const all = `${registers}, ${spills}, ${waves}; ${instructions}`;
  return tile === undefined
    ? all
    : `${all}; ${percent(tile.fmaShare)}, ${tile.loadsPerFma.toFixed(3)}`;
}

function rowOf({ name, workgroupBytes, chips }: Judged, names: readonly string[]): string[] {
  return [
    name,
    String(workgroupBytes),
    ...names.map((chip) => chips[chip] ? cellOf(chips[chip]) : ""),
  ];
}

function tableOf({ mesa, kernels }: Report): string {
  const names = [...new Set(kernels.flatMap(({ chips }) => Object.keys(chips)))];
  const rows = [["kernel", "bytes", ...names], ...kernels.map((one) => rowOf(one, names))];
  const [head, ...body] = rows.map((row) => `| ${row.join(" | ")} |`);
  const line = `|${rows[0].map(() => " --- ").join("|")}|`;
  return [`Mesa ${mesa}.`, "", head, line, ...body].join("\n");
}

/** A document with its table as it is now. */
export function withTable(document: string, report: Report): string {
  const [before, rest] = document.split(begin), after = rest?.split(end)[1];
  if (after === undefined) throw new Error(`Cannot find ${begin} and ${end} in the document`);
  return `${before}${begin}\n\n${tableOf(report)}\n\n${end}${after}`;
}
