import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import process from "node:process";
import { astray, documentsIn, forSite, sitePath, titleOf } from "../../tools/site/documents.ts";
import { brokenLinks } from "../../tools/site/links.ts";

test("forSite() leads to pages of the site, and makes words of links to anything else", () => {
  const documents = [
    "README.md",
    "docs/GPU.md",
    "docs/recipes/README.md",
    "examples/story/README.md",
  ];
  const text = "# Title\n\n<!-- written by a tool -->\n\n[a](GPU.md#buffers) [b](../README.md) " +
    "[c](../tools/build.ts) [d](recipes) [e](../examples/story/README.md) [f](https://host.example) " +
    "![g](images/g.png)\n";
  assertEquals(
    forSite(text, "docs/CACHES.md", documents),
    "# Title\n\n[a](./GPU.md#buffers) [b](../index.md) c [d](./recipes/index.md) " +
      "[e](../examples/story/index.md) [f](https://host.example) ![g](./images/g.png)\n",
  );
  assertEquals(["README.md", "docs/GPU.md"].map(sitePath), ["index.md", "docs/GPU.md"]);
  assertEquals(titleOf(text), "Title");
});

test("documents lead to files, and to headings, that are there", () => {
  const root = process.cwd(), documents = documentsIn(root);
  assert(documents.length > 25, `${documents.length} documents`);
  const lost = documents.flatMap((path) => astray(path, root).map((link) => `${path}: ${link}`));
  assertEquals(lost, []);
});

test("brokenLinks() finds files and places that are not there, under any base", () => {
  for (const base of ["/", "/flash/"]) {
    const page = [
      ...["b.html", "b", "folder/", "#here", "b.html#there", "https://host.example/x", "style.css"]
        .map((link) => `<a href="${link}">`),
      `<h2 id="here"><img src="${base}picture.png">`,
      ...["c.html", "#nowhere", "b.html#here", "folder/b.html"].map((link) => `<a href="${link}">`),
    ].join("");
    const pages = new Map([
      ["a.html", page],
      ["b.html", '<p id="there">'],
      ["folder/index.html", '<a href="../a.html#here">'],
    ]);
    const files = new Set([...pages.keys(), "style.css", "picture.png"]);
    assertEquals(
      brokenLinks({ pages, files, base }),
      ["c.html", "#nowhere", "b.html#here", "folder/b.html"].map((link) => `a.html: ${link}`),
    );
  }
});
