import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { DotRows, withoutDots } from "../../tools/dots.ts";

/** As Deno writes it. */
const grey = "\x1b[0m\x1b[38;5;245m", plain = "\x1b[0m";

test("withoutDots() leaves out lines of one dot or comma, coloured ones too, and nothing else", () => {
  const text = `one\n.\n${grey}.${plain}\n${plain},${plain}\n!\n..\n. .\n\nok | 3 passed\n`;
  assertEquals(withoutDots(text), "one\n!\n..\n. .\n\nok | 3 passed\n");
});

test("DotRows writes signs in rows, wherever pieces are cut, and other lines as they are", () => {
  const text = `first\n${`${grey}.${plain}\n`.repeat(83)},\n!\n\nerror: . is no sign\nlast`;
  const row = ".".repeat(80);
  for (const size of [1, 7, text.length]) {
    let written = "";
    const rows = new DotRows((piece) => void (written += piece));
    for (let at = 0; at < text.length; at += size) rows.push(text.slice(at, at + size));
    rows.end();
    assertEquals(written, `first\n${row}\n...,!\n\nerror: . is no sign\nlast`);
  }
});
