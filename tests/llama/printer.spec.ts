import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { Printer } from "../../examples/llama/printer.ts";

/** Prints continuations byte by byte in turn; gives what was written before the end, and in all. */
async function print(prompts: string[], continuations: string[]): Promise<[string, string]> {
  let written = "";
  const printer = new Printer(prompts, (text) => void (written += text));
  await printer.begin();
  const bytes = continuations.map((text) => new TextEncoder().encode(text));
  for (let step = 0; step < Math.max(...bytes.map(({ length }) => length)); step++) {
    for (const [prompt, all] of bytes.entries()) {
      if (step < all.length) await printer.push(all[step], prompt);
    }
  }
  const before = written;
  await printer.end();
  return [before, written];
}

test("Printer sets one prompt apart from its continuation", async () => {
  assertEquals(await print(["And it"], [" came"]), ["> And it\n came", "> And it\n came\n\n"]);
});

test("Printer writes each of several continuations under its prompt, the first at once", async () => {
  const [before, all] = await print(["one", "two", "three"], ["aaaa", "é", "c"]);
  assertEquals(before, "> one\naaaa");
  assertEquals(all, "> one\naaaa\n\n> two\né\n\n> three\nc\n\n");
});

test("Printer lets no control character of a prompt through", async () => {
  const [, all] = await print(["a\x1b[31m", "b"], ["", ""]);
  assertEquals(all, "> a\ufffd[31m\n\n\n> b\n\n\n");
});
