/**
 * `deno task surface`: compares the types that users see, of each export of `deno.json`, with those
 * in `tests/surface/`, and fails where they differ. A change that is meant is accepted with
 *
 *     deno task surface --accept
 *
 * and committed with what makes it.
 *
 * @module
 */

import "../help.ts";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { emitTypes } from "../build_npm/types.ts";
import { surfaceOf } from "./declarations.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** Where what was accepted is, from the root. */
const accepted = "tests/surface";

const { exports } = JSON.parse(readFileSync(join(root, "deno.json"), "utf8")) as {
  exports: Record<string, string>;
};

/** Formats until nothing changes, as `deno fmt --check` wants it: once may not be enough. */
function format(text: string): string {
  const formatted = formatOnce(text);
  return formatted === text ? text : format(formatted);
}

/** As the project's sources are formatted, so that a line has no more in it than it must. */
function formatOnce(text: string): string {
  const { status, stdout, stderr } = spawnSync(process.execPath, ["fmt", "--ext", "ts", "-"], {
    cwd: root,
    encoding: "utf8",
    input: text,
  });
  if (status !== 0) throw new Error(`Cannot format declarations:\n${stderr}`);
  return stdout;
}

/** The surface as it is, in files of a folder. */
function writeSurface(folder: string): void {
  const types = join(folder, "types"), surface = join(folder, accepted);
  emitTypes(types);
  mkdirSync(surface, { recursive: true });
  for (const [name, source] of Object.entries(exports)) {
    const text = surfaceOf(join(types, source.replace(/\.ts$/, ".d.ts")));
    const head = `// What \`${name}\` exports, as \`deno task surface --accept\` writes it.\n\n`;
    const file = name === "." ? "main" : name.slice(2).replaceAll("/", "_");
    writeFileSync(join(surface, `${file}.d.ts`), format(head + text));
  }
  rmSync(types, { recursive: true });
}

/** Prints how the accepted files differ from those in a folder; whether they do. */
function differs(folder: string): boolean {
  const there = filesOf(join(root, accepted)), here = filesOf(join(folder, accepted));
  const names = [...new Set([...there.keys(), ...here.keys()])].sort();
  const different = names.filter((name) => there.get(name) !== here.get(name));
  if (different.length === 0) return false;
  const { error } = spawnSync("git", [
    ...["diff", "--no-index", "--no-ext-diff", "--src-prefix=accepted/", "--dst-prefix=here/"],
    ...[join(root, accepted), join(folder, accepted)],
  ], { stdio: "inherit" });
  // Without git, which lines differ is for the reader to see.
  if (error) console.error(`differing: ${different.join(", ")}`);
  return true;
}

function filesOf(folder: string): Map<string, string> {
  return new Map(
    readdirSync(folder).map((name) => [name, readFileSync(join(folder, name), "utf8")]),
  );
}

function accept(folder: string): void {
  rmSync(join(root, accepted), { recursive: true, force: true });
  mkdirSync(join(root, accepted), { recursive: true });
  for (const [name, text] of filesOf(join(folder, accepted))) {
    writeFileSync(join(root, accepted, name), text);
  }
  console.log(`${accepted} is what the source exports now`);
}

const { values } = parseArgs({ options: { accept: { type: "boolean", default: false } } });
const folder = mkdtempSync(join(tmpdir(), "flashtile-surface-"));
try {
  writeSurface(folder);
  if (values.accept) accept(folder);
  else if (differs(folder)) {
    console.error(
      `error: the public types are not those in ${accepted}: if that is meant, run ` +
        "`deno task surface --accept`, and tell it in CHANGELOG.md",
    );
    process.exitCode = 1;
  } else {
    console.log(`${Object.keys(exports).length} exports have the types in ${accepted}`);
  }
} finally {
  rmSync(folder, { recursive: true });
}
