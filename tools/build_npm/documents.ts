/**
 * What of the documentation is in the package, and what it says there.
 *
 * @module
 */

import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { repository, withLinks } from "./home.ts";
import { version } from "./package_json.ts";
import { renamed } from "./rename.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** Documents of the package beside its README: what is read to use it. */
export const documents: readonly string[] = [
  "CHANGELOG.md",
  "LICENSE",
  "docs/ATTENTION.md",
  "docs/CACHES.md",
  "docs/COMING_FROM.md",
  "docs/ERRORS.md",
  "docs/FUNCTIONS.md",
  "docs/GPU.md",
  "docs/GRADIENTS.md",
  "docs/LAYERS.md",
  "docs/LINEAR.md",
  "docs/MODELS.md",
  "docs/NUMBERS.md",
  "docs/NUMERICS.md",
  "docs/PAGES.md",
  "docs/RUNTIMES.md",
  "docs/SEMANTICS.md",
  "docs/SHARDED.md",
  ...readdirSync(join(root, "docs/recipes")).sort().map((page) => `docs/recipes/${page}`),
];

/** Writes all of them into a folder. */
export function writeDocuments(folder: string): void {
  mkdirSync(join(folder, "docs", "recipes"), { recursive: true });
  for (const path of documents) {
    if (path.endsWith(".md")) writeDocument(folder, path);
    else copyFileSync(join(root, path), join(folder, path));
  }
  writeDocument(folder, "README.md");
}

function writeDocument(folder: string, path: string): void {
  const text = renamed(withoutCheckout(readFileSync(join(root, path), "utf8")));
  const home = repository === undefined ? undefined : { repository, version };
  // npm shows the README by itself.
  const packed = home !== undefined && path === "README.md" ? [] : documents;
  writeFileSync(join(folder, path), withLinks(text, { folder: dirname(path), packed, home }));
}

/** Sections that are about a checkout of the repository. */
const aboutCheckout = /^## (?:Try it|Contributing)\n[^]*?(?=^## |(?![^]))/gm;

/** A document without them. */
function withoutCheckout(text: string): string {
  return text.replaceAll(aboutCheckout, "");
}
