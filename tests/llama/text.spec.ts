import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { TextStream } from "../../examples/llama/text.ts";

test("TextStream.push() keeps the bytes of an unfinished character", () => {
  const text = new TextStream();
  const parts = [..."a\u00e9\u20ac\u{1f600}"].length;
  const pushed = Array.from(
    new TextEncoder().encode("a\u00e9\u20ac\u{1f600}"),
    (byte) => text.push(Uint8Array.of(byte)),
  );
  assertEquals(pushed.join(""), "a\u00e9\u20ac\u{1f600}");
  assertEquals(pushed.filter((part) => part !== "").length, parts);
  assertEquals(text.end(), "");
});

test("TextStream.end() replaces an unfinished character", () => {
  const text = new TextStream();
  assertEquals(text.push(Uint8Array.of(0xe2, 0x82)), "");
  assertEquals(text.end(), "\ufffd");
});

test("TextStream.push() lets no control character through but line feed and tab", () => {
  const pushed = new TextStream().push(new TextEncoder().encode("a\x1b[31m\n\t\r\0\x9bz"));
  assertEquals(pushed, "a\ufffd[31m\n\t\ufffd\ufffd\ufffdz");
});
