/**
 * Documents of the repository as pages of the site, at the paths that they have.
 *
 * @module
 */

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, posix, relative } from "node:path";
import { filesOf } from "../bundle_tests.ts";

/** Every document, by its path in the repository. */
export function documentsIn(root: string): string[] {
  const below = (folder: string) => {
    const files = filesOf(join(root, folder), ".md");
    return files.map((file) => posix.join(folder, relative(join(root, folder), file)));
  };
  const examples = readdirSync(join(root, "examples")).map((name) => `examples/${name}/README.md`)
    .filter((path) => existsSync(join(root, path)));
  return [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    ...below("docs").sort(),
    ...examples.sort(),
  ];
}

/** Where a document is in the site: a folder's README is what the folder shows. */
export function sitePath(path: string): string {
  return path.replace(/(^|\/)README\.md$/, "$1index.md");
}

/** A document's title. */
export function titleOf(text: string): string {
  return text.match(/^# (.*)$/m)?.[1] ?? "Untitled";
}

/** A picture or a link. */
const reference = /(!?)\[([^\]]*)\]\(([^)#\s]+)(#[^)]*)?\)/g;

/** A document's text as the site has it: links to what is no page are words, and comments are gone. */
export function forSite(text: string, path: string, documents: readonly string[]): string {
  return text.replaceAll(/^<!--.*-->\n+/gm, "")
    .replaceAll(reference, (all, picture, words, target, anchor = "") => {
      if (/^https?:/.test(target)) return all;
      if (picture) return `![${words}](${relativePath(target)})`;
      const found = documentFor(posix.join(posix.dirname(path), target), documents);
      if (found === undefined) return words;
      const to = posix.relative(posix.dirname(sitePath(path)), sitePath(found));
      return `[${words}](${relativePath(to)}${anchor})`;
    });
}

/** Vite takes what has no dot before it for a package. */
function relativePath(path: string): string {
  return path.startsWith(".") ? path : `./${path}`;
}

/** The document that a link leads to: a file, or a folder's. */
function documentFor(path: string, documents: readonly string[]): string | undefined {
  const all = [path, posix.join(path, "README.md")];
  return all.find((one) => documents.includes(one));
}

/** The place in a page that a heading makes, as GitHub and VitePress name it where there is no symbol. */
const placeOf = (heading: string) =>
  heading.toLowerCase().replaceAll(/[^\p{L}\p{N}_ -]/gu, "").trim().replaceAll(" ", "-");

/** Links and pictures of a document that lead to no file of the repository, or to no heading of one. */
export function astray(path: string, root: string): string[] {
  const read = (path: string) => readFileSync(join(root, path), "utf8");
  const leads = (target: string, anchor: string): boolean => {
    const to = posix.join(posix.dirname(path), target);
    if (!existsSync(join(root, to))) return false;
    if (anchor === "") return true;
    const headings = Array.from(
      read(to).matchAll(/^#+ (.*)$/gm),
      ([, heading]) => placeOf(heading),
    );
    return headings.includes(anchor.slice(1));
  };
  return Array.from(read(path).matchAll(reference))
    .filter(([, , , target, anchor = ""]) => !/^https?:/.test(target) && !leads(target, anchor))
    .map(([, , , target, anchor = ""]) => target + anchor);
}

/** Pictures that documents show, by their paths. */
export function picturesIn(root: string, documents: readonly string[]): string[] {
  const all = documents.flatMap((path) =>
    Array.from(readFileSync(join(root, path), "utf8").matchAll(reference))
      .filter(([, picture, , target]) => picture === "!" && !/^https?:/.test(target))
      .map(([, , , target]) => posix.join(posix.dirname(path), target))
  );
  return [...new Set(all)];
}
