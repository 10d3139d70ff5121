/**
 * The programs of documents: README, `docs/`, and what the source says of itself.
 *
 * @module
 */

import { readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { renamed } from "../build_npm/rename.ts";
import { filesOf } from "../bundle_tests.ts";
import { root } from "../test_runs.ts";

/** A program as a document has it, with the package's name on npm. */
export interface Snippet {
  /** Its document and line. */
  readonly place: string;
  readonly code: string;
  /** Whether it needs what not every machine has, as a GPU. */
  readonly ignored: boolean;
}

/** A fenced block in a document, or in a comment whose lines all begin alike. */
const fenced =
  /^(?<margin> *(?:\* )?)```(?:js|ts|javascript|typescript)(?<ignored> ignore)?\n(?<text>[^]*?)^ *(?:\* )?```$/gm;

/** The programs of one document. */
export function snippetsOf(place: string, text: string): Snippet[] {
  return Array.from(text.matchAll(fenced), ({ index, groups }) => {
    const { margin, ignored, text: lines } = groups!;
    const line = text.slice(0, index).split("\n").length;
    const code = lines.split("\n").map((line) => line.slice(margin.length)).join("\n");
    return { place: `${place}:${line}`, code: renamed(code), ignored: ignored !== undefined };
  });
}

/** The programs of some files of the checkout. */
export function snippetsIn(files: readonly string[]): Snippet[] {
  return files.flatMap((file) => snippetsOf(relative(root, file), readFileSync(file, "utf8")));
}

const documents = {
  readme: [join(root, "README.md")],
  docs: filesOf(join(root, "docs"), ".md"),
  source: [join(root, "mod.ts"), ...filesOf(join(root, "src"), ".ts")],
};

/** The programs of all documents. */
export const documented = {
  readme: snippetsIn(documents.readme),
  docs: snippetsIn(documents.docs),
  source: snippetsIn(documents.source),
};

/** What a program says that it prints: the comments behind its lines, without blanks. */
export function printedBy(code: string): string {
  const comments = code.matchAll(/console\.log\(.*\); \/\/ (.*)$/gm);
  return withoutBlanks(Array.from(comments, ([, text]) => text).join(""));
}

/** A text without blanks, of which each runtime puts others into lists. */
export function withoutBlanks(text: string): string {
  return text.replaceAll(/\s/g, "");
}

/** How many fenced blocks documents have, but for those in some languages. */
export function blocks(but: readonly string[]): number {
  const texts = Object.values(documents).flat().map((file) => readFileSync(file, "utf8"));
  const languages = texts.flatMap((text) =>
    Array.from(text.matchAll(/^ *(?:\* )?```(\w+)/gm), ([, language]) => language)
  );
  return languages.filter((language) => !but.includes(language)).length;
}
