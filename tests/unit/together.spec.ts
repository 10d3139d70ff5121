import { assert, assertEquals } from "@std/assert";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";

test("tests that share a process are all in what is run of their folder", () => {
  const folders = readdirSync("tests", { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => `tests/${name}`);
  let shared = 0;
  for (const folder of folders) {
    const specs = readdirSync(folder).filter((name) => name.endsWith(".spec.ts")).sort();
    if (specs.length === 0) continue;
    const text = readFileSync(`${folder}/all.test.ts`, "utf8");
    assertEquals(text, specs.map((name) => `import "./${name}";\n`).join(""), folder);
    shared += specs.length;
  }
  assert(shared > 70, `${shared} files`);
});
