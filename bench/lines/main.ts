/**
 * `deno task bench:lines [--processor] [--only WORD] [--json FILE]`: what was asked of speed on CPUs, line by line, beside what
 * is measured: medians of ratios within rounds, or of pairs of processes where that is what differs. `--only` takes the
 * lines that have a word in them.
 *
 * Meant for a machine with nothing beside, where it takes some ten minutes. With `--processor` the processor's time counts
 * wherever one thread computes, which moves less where others compute, too.
 *
 * @module
 */

import "../../tools/help.ts";
import { writeFile } from "node:fs/promises";
import process from "node:process";
import { parseArgs } from "node:util";
import { createEngine } from "../../mod.ts";
import { machine } from "../machine.ts";
import { errorsOf, kinds } from "../precision_errors.ts";
import { median } from "../spread.ts";
import {
  causalErrors,
  mostErrors,
  type Race,
  racesFor,
  type WidePairs,
  widePairsFor,
} from "./asked.ts";
import type { Answer } from "./orders.ts";
import { Processes } from "./processes.ts";
import { findProcessor, type Processor } from "./processor.ts";

/** A line of the table. */
interface Measured {
  readonly what: string;
  readonly asked: number;
  /** Or why there is none. */
  readonly measured: number | string;
  /** Whether it is asked to be no more than that; else no less. */
  readonly isMost?: boolean;
}

const found: Measured[] = [];

function digits(x: number): string {
  return x < 0.1 ? x.toExponential(1) : x.toFixed(2);
}

function verdict({ asked, measured, isMost = false }: Measured): string {
  if (typeof measured === "string") return `not measured: ${measured}`;
  const isThere = isMost ? measured <= asked : measured >= asked;
  return `${digits(measured).padStart(8)}${isThere ? "" : "  short"}`;
}

function tell(line: Measured): void {
  found.push(line);
  const asked = `${line.isMost ? "<=" : ">="} ${digits(line.asked)}`;
  console.log(`${line.what.padEnd(76)}${asked.padStart(10)}${verdict(line)}`);
}

function reasonOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split("\n")[0];
}

function ratioOf({ times }: Answer, faster: number, slower: number): number {
  return median(times[slower].map((time, round) => time / times[faster][round]));
}

async function runRace(processes: Processes, race: Race, only: string): Promise<void> {
  const { runtime, lines, ...asked } = race;
  if (!lines(false).some(({ what }) => what.includes(only))) return;
  try {
    const answer = await processes.run(runtime, asked);
    for (const { what, faster, slower, asked } of lines(answer.fused)) {
      tell({ what, asked, measured: ratioOf(answer, faster, slower) });
    }
  } catch (error) {
    for (const { what, asked } of lines(false)) tell({ what, asked, measured: reasonOf(error) });
  }
}

/** Pairs of processes, and rounds of each. */
const pairs = 5, rounds = 9;

async function runPairs(
  processes: Processes,
  { entrants, lines }: WidePairs,
  only: string,
): Promise<void> {
  const which = lines.map(({ what }, at) => what.includes(only) ? at : -1).filter((at) => at >= 0);
  if (which.length === 0) return;
  const ratios = which.map((): number[] => []), chosen = which.map((at) => entrants[at]);
  for (let pair = 0; pair < pairs; pair++) {
    const take = (wide: boolean) => processes.run("node26", { entrants: chosen, rounds, wide });
    // Which is first alternates.
    const isWideFirst = pair % 2 === 0,
      first = await take(isWideFirst),
      second = await take(!isWideFirst);
    const [wide, narrow] = isWideFirst ? [first, second] : [second, first];
    chosen.forEach((_, at) => ratios[at].push(median(narrow.times[at]) / median(wide.times[at])));
  }
  which.forEach((at, index) => tell({ ...lines[at], measured: median(ratios[index]) }));
}

async function runErrors(only: string): Promise<void> {
  if (!"relative error".includes(only)) return;
  const engine = await createEngine({ backend: "wasm", threads: 1 });
  await engine.warmup({ precision: "int8" });
  for (const [length, causal] of [[1024, false], [2048, false], [2048, true]] as const) {
    const { errors } = await errorsOf(engine, { length, dim: 64, causal }, kinds[0]);
    for (const [precision, most] of Object.entries(mostErrors)) {
      tell({
        what: `relative error of ${precision}, N=${length} D=64${causal ? " causal" : ""}`,
        asked: causal ? most * causalErrors : most,
        measured: errors[precision as keyof typeof mostErrors],
        isMost: true,
      });
    }
  }
  await engine.close();
}

async function measureAll(
  isProcessor: boolean,
  processor: Processor,
  only: string,
): Promise<void> {
  using processes = new Processes(isProcessor);
  for (const race of racesFor(processor)) await runRace(processes, race, only);
  await runPairs(processes, widePairsFor(processor), only);
  await runErrors(only);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      processor: { type: "boolean", default: false },
      only: { type: "string", default: "" },
      json: { type: "string" },
    },
  });
  const { processor: isProcessor, only, json } = values;
  const here = machine(), processor = findProcessor();
  const clock = isProcessor ? "time on the processor where one thread computes" : "time";
  console.log(`${here.cpu}, ${here.cores} cores, ${here.runtime}; ${clock}\n`);
  await measureAll(isProcessor, processor, only);
  if (json !== undefined) {
    const report = { machine: here, processor, isProcessor, lines: found };
    await writeFile(json, JSON.stringify(report, null, 2) + "\n");
  }
}

if (import.meta.main) {
  await main();
  process.exit();
}
