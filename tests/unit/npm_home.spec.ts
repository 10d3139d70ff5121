import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { homeFields, withLinks } from "../../tools/build_npm/home.ts";

const text = "![Loss](../examples/loss.svg)\n\n[GPU](GPU.md#buffers), [tools](../tools), " +
  "[story](../examples/story/README.md#what-is-counted), [npm](https://www.npmjs.com)\n";
const links = { folder: "docs", packed: ["docs/GPU.md"] };

test("withLinks() leads to the repository from what the package has not", () => {
  const home = { repository: "https://host.example/a/b", version: "1.2.3" };
  assertEquals(
    withLinks(text, { ...links, home }),
    "![Loss](https://host.example/a/b/raw/v1.2.3/examples/loss.svg)\n\n" +
      "[GPU](GPU.md#buffers), [tools](https://host.example/a/b/blob/v1.2.3/tools), " +
      "[story](https://host.example/a/b/blob/v1.2.3/examples/story/README.md#what-is-counted), " +
      "[npm](https://www.npmjs.com)\n",
  );
});

test("withLinks() makes words of such links where there is no address, and leaves out pictures", () => {
  const words = "[GPU](GPU.md#buffers), tools, story, [npm](https://www.npmjs.com)\n";
  assertEquals(withLinks(text, links), words);
});

test("homeFields() are left out while there is no address", () => {
  assertEquals(homeFields(undefined), {});
  assertEquals(homeFields("https://host.example/a/b"), {
    homepage: "https://host.example/a/b#readme",
    repository: { type: "git", url: "git+https://host.example/a/b.git" },
    bugs: "https://host.example/a/b/issues",
  });
});
