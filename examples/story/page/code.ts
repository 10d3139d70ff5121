/**
 * The code of an algorithm, with what is counted in colour.
 *
 * @module
 */

import type { Algorithm } from "../chapters.ts";

const sources = new Map<string, Promise<string>>();

/** A file of the example, as it is. */
function sourceOf(file: string): Promise<string> {
  const known = sources.get(file) ?? load(file);
  sources.set(file, known);
  return known;
}

async function load(file: string): Promise<string> {
  try {
    const response = await fetch(file);
    if (response.ok) return await response.text();
    throw new Error(`${response.status}`);
  } catch (error) {
    sources.delete(file);
    throw new Error(`Cannot load ${file} (${(error as Error).message}): is the page still served?`);
  }
}

/** The declarations that are the algorithm, each with its comment. */
export async function codeOf({ code }: Algorithm): Promise<string> {
  const parts = code.map(async ([file, ...names]) => declarationsOf(await sourceOf(file), names));
  return (await Promise.all(parts)).flat().join("\n\n");
}

/** Declarations of a source by their names. */
export function declarationsOf(source: string, names: readonly string[]): string[] {
  const parts = source.split(/\n\n(?=\/\*\*|export |function |const )/);
  return names.map((name) => {
    const declared = new RegExp(`^(export )?(const|function) ${name}\\b`, "m");
    return parts.find((part) => declared.test(part))!.trim();
  });
}

/** What is marked: comments, what reads, and what writes. */
const marks = new RegExp(
  [
    /(?<comment>\/\*\*[^]*?\*\/|\/\/.*)/,
    /(?<read>memory\.(?:load|read)\b)/,
    /(?<write>memory\.(?:store|write)\b)/,
  ].map(({ source }) => source).join("|"),
  "g",
);

/** Writes code into an element. */
export function showCode(parent: HTMLElement, code: string): void {
  const nodes: (Node | string)[] = [];
  let end = 0;
  for (const match of code.matchAll(marks)) {
    const [name] = Object.entries(match.groups!).find(([, text]) => text !== undefined)!;
    const span = Object.assign(document.createElement("span"), { className: name });
    span.textContent = match[0];
    nodes.push(code.slice(end, match.index), span);
    end = match.index + match[0].length;
  }
  parent.replaceChildren(...nodes, code.slice(end));
}
