/**
 * `deno task bench:search`: races shapes of the register tile on every engine and prints a table.
 * The winners go into `tools/microkernels.ts`, the table into `docs/PERFORMANCE.md`.
 *
 * @module
 */

import "../../tools/help.ts";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { compile, generatedSources } from "../../tools/build_wasm.ts";
import { runtimeCommands } from "../../tools/install.ts";
import { bundleInto } from "../elsewhere.ts";
import { dotFile, dotName, type Shape } from "../../tools/microkernels.ts";

const shapes: Shape[] = [
  ...[[4, 4], [4, 12], [4, 16], [8, 4], [8, 8]].flatMap(([rows, columns]) =>
    [0, 4].map((splats) => ({ rows, columns, splats, steps: 1 }))
  ),
  ...[0, 1, 2, 3, 4].map((splats) => ({ rows: 4, columns: 8, splats, steps: 1 })),
  ...[0, 2, 4].map((splats) => ({ rows: 4, columns: 8, splats, steps: 2 })),
];

/** What is raced: 48 keys and 48 queries of 64 elements, in L1. */
function source(shape: Shape): string {
  return `
import { ${dotName(shape)} } from "./asm/dot.gen";

export function race(base: usize, rounds: i32): void {
  const q = base, k = q + 48 * 256, s = k + 48 * 256;
  for (let round = 0; round < rounds; round++) {
    for (let query: usize = 0; query < 48; query += ${shape.columns}) {
      for (let key: usize = 0; key < 48; key += ${shape.rows}) {
        ${
    dotName(shape)
  }(k + key * 256, q + query * 256, s + (query * 48 + key * ${shape.columns}) * 4, 64);
      }
    }
  }
}
`;
}

function label({ rows, columns, splats, steps }: Shape): string {
  return `${rows}x${columns}, ${splats} of 4 splat${steps > 1 ? `, ${steps} steps` : ""}`;
}

/** One variant as it is handed to a runtime. */
export interface Variant {
  readonly name: string;
  readonly binary: string;
}

async function build(folder: string, relaxed: boolean): Promise<string> {
  const variants: Variant[] = [];
  for (const [index, shape] of shapes.entries()) {
    const sources = {
      ...generatedSources(),
      "asm/dot.gen.ts": dotFile(shape),
      "variant.ts": source(shape),
    };
    const features = relaxed ? "simd,relaxed-simd" : "simd";
    const binary = await compile("variant.ts", sources, [
      ...["--enable", features],
      ...["--initialMemory", "16"],
    ]);
    const file = join(folder, `${relaxed ? "relaxed" : "simd"}-${index}.wasm`);
    writeFileSync(file, binary);
    variants.push({ name: label(shape), binary: file });
  }
  const list = join(folder, relaxed ? "relaxed.json" : "simd.json");
  writeFileSync(list, JSON.stringify(variants));
  return list;
}

type Speeds = Record<string, string>;

function raceOn(command: readonly string[], child: string, list: string): Speeds {
  const [program, ...flags] = command;
  const { stdout, stderr, status } = spawnSync(program, [...flags, child, list], {
    encoding: "utf8",
  });
  if (status !== 0) throw new Error(`Cannot race on ${program}:\n${stderr}`);
  return JSON.parse(stdout.trim().split("\n").at(-1)!);
}

const folder = mkdtempSync(join(tmpdir(), "flashtile-search-"));
try {
  const lists = { simd: await build(folder, false), relaxed: await build(folder, true) };
  const child = bundleInto(folder, "bench/search/child.ts");
  const columns: [string, Speeds][] = [];
  for (const { name, command } of runtimeCommands()) {
    for (const [binary, list] of Object.entries(lists)) {
      columns.push([`${name}, ${binary}`, raceOn(command, child, list)]);
    }
  }
  console.log("GFLOPS of the tile alone, median / best; - where the binary is not accepted.\n");
  console.log(`| tile | ${columns.map(([name]) => name).join(" | ")} |`);
  console.log(`| --- |${" --- |".repeat(columns.length)}`);
  for (const shape of shapes) {
    const cells = columns.map(([, speeds]) => speeds[label(shape)] ?? "-");
    console.log(`| ${label(shape)} | ${cells.join(" | ")} |`);
  }
} finally {
  rmSync(folder, { recursive: true });
}
