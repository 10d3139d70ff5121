/**
 * `--help` of whatever program imports this first: prints what its own first comment says of it, and
 * ends before anything else is begun.
 *
 * @module
 */

import { readFileSync } from "node:fs";
import process from "node:process";

/** What a program's source says first, without the marks of a comment. */
export function helpOf(source: string): string {
  const [, comment] = source.match(/^(?:#!.*\n)?\/\*\*\n([^]*?)\*\//) ?? [];
  if (comment === undefined) throw new Error("Expected a program that begins with a comment");
  const lines = comment.split("\n").map((line) => line.replace(/^ \* ?/, ""));
  return lines.filter((line) => line !== "@module").join("\n").replaceAll("`", "").trim();
}

const [, program, ...given] = process.argv;
if (given.includes("--help") || given.includes("-h")) {
  console.log(helpOf(readFileSync(program, "utf8")));
  process.exit();
}
