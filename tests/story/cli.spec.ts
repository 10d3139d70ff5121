import { test } from "node:test";
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { algorithms, filesOf } from "../../examples/story/chapters.ts";
import { run } from "../../examples/story/cli.ts";
import { usage } from "../../examples/story/options.ts";
import { inWholeRuns } from "../support/share.ts";

async function tell(args: string[]): Promise<{ code: number; out: string; err: string }> {
  let out = "", err = "";
  const code = await run(args, {
    serve: (port) => `http://127.0.0.1:${port}/`,
    write: (text) => void (out += text),
    writeError: (text) => void (err += text),
  });
  return { code, out, err };
}

test("run() shows how it is used", async () => {
  assertEquals(await tell(["--help"]), { code: 0, out: usage, err: "" });
});

test("run() says in one line what it cannot use", async () => {
  const { code, out, err } = await tell(["--m=1"]);
  assertEquals([code, out], [1, ""]);
  assertMatch(err, /^error: A fast memory of M = 1 .*take M >= 448\n$/);
});

test("run() says where the page is", async () => {
  const { code, out } = await tell(["--serve", "--port=9000"]);
  assertEquals(code, 0);
  assertEquals(out, "The page is at http://127.0.0.1:9000/ (end with Ctrl+C)\n");
});

test("run() tells every chapter, the papers' figures and its own", inWholeRuns, async () => {
  const { code, out, err } = await tell(["--n=64", "--d=8", "--m=256"]);
  assertEquals([code, err], [0, ""]);
  for (const algorithm of algorithms) {
    assertStringIncludes(out, `. ${algorithm.title}\n`);
    assertStringIncludes(out, `code: examples/story/${filesOf(algorithm).join(", ")}\n`);
  }
  for (const [, counted, formula] of out.matchAll(/counted +(.+)\n +by formula +(.+)\n/g)) {
    assertEquals(counted, formula);
  }
  for (const figure of ["40.3", "4.4", "arXiv 2205.14135", "arXiv 2307.08691"]) {
    assertStringIncludes(out, figure);
  }
  assertMatch(out, /\n {2}2048 +\d.*│ +178\.6 +87\.3/);
});
