/**
 * Where the project can be read. The npm page has no files beside it: with an address, pictures and
 * links of documents are absolute, and `package.json` says where the source is; without one, all of
 * that is left out.
 *
 * @module
 */

import { posix } from "node:path";

/** The repository's address, as `https://HOST/OWNER/NAME`; none yet. */
export const repository: string | undefined = undefined;

/** A picture or a link, in a line of its own or not. */
const reference = /(!?)\[([^\]]*)\]\(([^)#]+)(#[^)]*)?\)(\n\n)?/g;

/** What a document's links are made of. */
export interface Links {
  /** The document's folder in the repository. */
  readonly folder: string;
  /** Files that are in the package: links to these stay. */
  readonly packed: readonly string[];
  /** The repository's address and the version, where there is an address. */
  readonly home?: { readonly repository: string; readonly version: string };
}

/**
 * A document for the package. Links to files that are not in it lead to the repository, and pictures
 * come from there; without an address such links are words, and there are no pictures.
 */
export function withLinks(text: string, { folder, packed, home }: Links): string {
  return text.replaceAll(reference, (all, picture, words, target, anchor = "", end = "") => {
    if (/^https?:/.test(target)) return all;
    const path = posix.join(folder, target);
    if (packed.includes(path)) return all;
    if (home === undefined) return picture ? "" : words + end;
    const kind = picture ? "raw" : "blob";
    return `${picture}[${words}](${home.repository}/${kind}/v${home.version}/${path}${anchor})${end}`;
  });
}

/** Fields of `package.json` that say where the project is. */
export function homeFields(address: string | undefined): Record<string, unknown> {
  if (address === undefined) return {};
  return {
    homepage: `${address}#readme`,
    repository: { type: "git", url: `git+${address}.git` },
    bugs: `${address}/issues`,
  };
}
