/**
 * `deno task gpu:isa [WORDS]`: what the compilers for GPUs of four vendors make of the kernels, without such a GPU, written to
 * `bench/results/isa.json` and to the table in docs/GPU_COMPILERS.md. Words choose among kernels and chips (`gpu:isa large f32 apple`):
 * what they choose takes the place of what was kept of it. All takes a quarter of an hour, most of it NVIDIA's.
 *
 * Needs Debian's apt on x86-64, for 69 MB of Mesa's drivers in the system's temporary directory.
 *
 * @module
 */

import "../help.ts";
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { type Chip, chips } from "./chips.ts";
import { judge, type Judged, type Report } from "./judge.ts";
import { type Kernel, kernels } from "./kernels.ts";
import { mesaVersion } from "./mesa.ts";
import { withTable } from "./table.ts";

const pathOf = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));

const results = pathOf("bench/results/isa.json"), document = pathOf("docs/GPU_COMPILERS.md");

/** Compiles a kernel for chips, and tells of each. */
function judgeAll(kernel: Kernel, chosen: readonly Chip[]): Judged {
  const { name, workgroupBytes } = kernel;
  const entries = chosen.map((chip) => {
    const judgement = judge(kernel, chip);
    console.log(`${name.padEnd(24)} ${chip.name.padEnd(14)} ${JSON.stringify(judgement)}`);
    return [chip.name, judgement] as const;
  });
  return { name, workgroupBytes, chips: Object.fromEntries(entries) };
}

/** What is kept, as far as it is of this Mesa and of kernels that there are. */
function keptReport(): Report {
  if (!existsSync(results)) return { mesa: mesaVersion, kernels: [] };
  const report: Report = JSON.parse(readFileSync(results, "utf8"));
  return report.mesa === mesaVersion ? report : { mesa: mesaVersion, kernels: [] };
}

/** What is kept with what was found now in its place. */
function withJudged({ mesa, kernels: kept }: Report, judged: readonly Judged[]): Report {
  const merged = kernels().flatMap(({ name, workgroupBytes }) => {
    const [before, now] = [kept, judged].map((all) => all.find((one) => one.name === name));
    const found = { ...before?.chips, ...now?.chips };
    const inOrder = chips.flatMap(({ name }) => found[name] ? [[name, found[name]] as const] : []);
    if (inOrder.length === 0) return [];
    return [{ name, workgroupBytes, chips: Object.fromEntries(inOrder) }];
  });
  return { mesa, kernels: merged };
}

function write(report: Report): void {
  writeFileSync(results, `${JSON.stringify(report, null, 2)}\n`);
  writeFileSync(document, withTable(readFileSync(document, "utf8"), report));
  spawnSync(process.execPath, ["fmt", "--quiet", document], { stdio: "inherit" });
}

function main(words: readonly string[]): void {
  const matches = (name: string) =>
    words.every((word) => name.toLowerCase().includes(word.toLowerCase()));
  let count = 0;
  for (const kernel of kernels()) {
    const chosen = chips.filter((chip) => matches(`${kernel.name} ${chip.name}`));
    if (chosen.length > 0) write(withJudged(keptReport(), [judgeAll(kernel, chosen)]));
    count += chosen.length;
  }
  if (count > 0) return;
  throw new Error(`Cannot find a kernel and a chip with ${words.join(" ")} in their names`);
}

if (import.meta.main) main(process.argv.slice(2));
